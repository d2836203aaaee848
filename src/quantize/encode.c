// One linear at a time through the encoders, its rows split over the threads. Sums are kept by task and added in order,
// so the figures do not depend on the number of threads.
#include <math.h>
#include <stdlib.h>

#include "numeric/fp8.h"
#include "quantize/quantize_internal.h"

enum { ROWS_PER_TASK = 32 };

typedef struct job {
    const nb_linear *linear;
    float scale; // NVFP4: scale_2; FP8: weight_scale
    nb_nvfp4_method method;
    uint8_t *weight, *block_scale;
    float *row;    // [n_thread][n_in]
    double *error; // [n_task]
    double *energy;
    float *amax; // [n_task]
    void (*encode)(const struct job *job, int64_t i_out, const float *w, int i_task);
} job;

static void amax_row(const job *j, int64_t i_out, const float *w, int i_task)
{
    (void)i_out;
    for (int i = 0; i < j->linear->n_in; i++) j->amax[i_task] = fmaxf(j->amax[i_task], fabsf(w[i]));
}

static void nvfp4_row(const job *j, int64_t i_out, const float *w, int i_task)
{
    int64_t n = j->linear->n_in;
    j->error[i_task] += nb_nvfp4_encode_row(w, n, j->scale, j->method, j->weight + i_out * n / 2,
                                            j->block_scale + i_out * n / NB_NVFP4_BLOCK);
    for (int64_t i = 0; i < n; i++) j->energy[i_task] += (double)w[i] * w[i];
}

static void fp8_row(const job *j, int64_t i_out, const float *w, int i_task)
{
    int64_t n = j->linear->n_in;
    for (int64_t i = 0; i < n; i++) {
        uint8_t code = nb_e4m3_from_f32(w[i] / j->scale);
        double off = (double)w[i] - (double)(nb_e4m3_to_f32(code) * j->scale);
        j->weight[i_out * n + i] = code;
        j->error[i_task] += off * off;
        j->energy[i_task] += (double)w[i] * w[i];
    }
}

static void run_task(void *user, int i_task, int i_thread)
{
    const job *j = user;
    float *row = j->row + (int64_t)i_thread * j->linear->n_in;
    int64_t to = (int64_t)(i_task + 1) * ROWS_PER_TASK;
    if (to > j->linear->n_out) to = j->linear->n_out;
    for (int64_t i = (int64_t)i_task * ROWS_PER_TASK; i < to; i++) {
        nb_linear_decode_row(j->linear, i, row);
        j->encode(j, i, row, i_task);
    }
}

// Runs the job over all rows; gives back the sums over its tasks.
static void run_job(nb_threads *threads, job *j, double *error, double *energy, float *amax)
{
    int n_task = (j->linear->n_out + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
    j->row = nb_alloc(sizeof(float) * (size_t)j->linear->n_in * (size_t)nb_threads_count(threads));
    j->error = nb_alloc(sizeof(double) * (size_t)n_task);
    j->energy = nb_alloc(sizeof(double) * (size_t)n_task);
    j->amax = nb_alloc(sizeof(float) * (size_t)n_task);
    nb_threads_run(threads, run_task, j, n_task);
    *error = *energy = 0;
    *amax = 0;
    for (int i = 0; i < n_task; i++) {
        *error += j->error[i];
        *energy += j->energy[i];
        *amax = fmaxf(*amax, j->amax[i]);
    }
    free(j->row);
    free(j->error);
    free(j->energy);
    free(j->amax);
}

static void resize(nb_buf *buf, int64_t n_byte)
{
    nb_buf_clear(buf);
    nb_buf_reserve(buf, (size_t)n_byte);
    buf->len = (size_t)n_byte;
}

float nb_encode_amax(nb_threads *threads, const nb_linear *linear)
{
    job j = {.linear = linear, .encode = amax_row};
    double error, energy;
    float amax;
    run_job(threads, &j, &error, &energy, &amax);
    return amax;
}

void nb_encode_nvfp4(nb_threads *threads, const nb_linear *linear, float scale_2, nb_nvfp4_method method,
                     nb_encoded *out)
{
    int64_t n = (int64_t)linear->n_out * linear->n_in;
    resize(&out->weight, n / 2);
    resize(&out->scale, n / NB_NVFP4_BLOCK);
    job j = {.linear = linear,
             .scale = scale_2,
             .method = method,
             .weight = (uint8_t *)out->weight.ptr,
             .block_scale = (uint8_t *)out->scale.ptr,
             .encode = nvfp4_row};
    float amax;
    run_job(threads, &j, &out->error, &out->energy, &amax);
}

void nb_encode_fp8(nb_threads *threads, const nb_linear *linear, float weight_scale, nb_encoded *out)
{
    resize(&out->weight, (int64_t)linear->n_out * linear->n_in);
    job j = {.linear = linear, .scale = weight_scale, .weight = (uint8_t *)out->weight.ptr, .encode = fp8_row};
    float amax;
    run_job(threads, &j, &out->error, &out->energy, &amax);
}
