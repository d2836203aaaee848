// Speed of the matrix products of every set of kernels, format and kind of input on this machine: bytes of weights a
// second for one row (decode; the weights do not fit into the caches), operations a second for 64 rows (prefill).
//
//   bench_kernels [THREADS]
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/threads.h"
#include "cpu/cpu_kernels.h"
#include "numeric/bf16.h"
#include "numeric/random.h"

enum { N_IN = 2048, N_ROW = 64, WEIGHT_BYTES = 128 << 20, BLOCK = 64, REPEAT_US = 300000 };

typedef struct job {
    const nb_cpu_kernel_set *set;
    nb_cpu_matmul matmul;
} job;

static void run_block(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    const job *j = user;
    j->set->matmul(&j->matmul, i_task * BLOCK, (i_task + 1) * BLOCK);
}

// Best wall time of one product, in microseconds. (Processor time would hide threads that wait, and counts those that
// still run too late.) On a machine with other work the figures are too low, never too high.
static double best_us(nb_threads *team, job *j)
{
    int64_t best = INT64_MAX, start = nb_clock_us();
    for (int i = 0; i < 3 || nb_clock_us() - start < REPEAT_US; i++) {
        int64_t before = nb_clock_us();
        nb_threads_run(team, run_block, j, j->matmul.linear->n_out / BLOCK);
        int64_t took = nb_clock_us() - before;
        if (took < best) best = took;
    }
    return (double)best;
}

static int64_t row_bytes(nb_format format)
{
    nb_linear one = {.format = format, .n_out = 1, .n_in = N_IN, .block_out = 1, .block_in = N_IN};
    return nb_linear_bytes(&one);
}

static void bench_format(nb_threads *team, const nb_cpu_kernel_set *set, nb_linear l, const float *x,
                         const uint16_t *x_bf16, float *y)
{
    int n_out_all = (int)(WEIGHT_BYTES / row_bytes(l.format)) / BLOCK * BLOCK;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        l.n_out = n_out_all;
        job j = {set, {&l, bf16 ? (const void *)x_bf16 : x, bf16, 1, N_IN, 1, y, n_out_all, false}};
        double decode_us = best_us(team, &j);
        double bytes = (double)row_bytes(l.format) * l.n_out;
        l.n_out = 16 * BLOCK;
        j.matmul.n_row = N_ROW;
        j.matmul.y_stride = l.n_out;
        double prefill_us = best_us(team, &j);
        printf("%-7s %-6s %-5s %8.1f %8.1f\n", set->name, nb_format_name(l.format), bf16 ? "bf16" : "f32",
               bytes / decode_us / 1e3, 2.0 * N_ROW * l.n_out * N_IN / prefill_us / 1e3);
    }
}

int main(int argc, char **argv)
{
    nb_threads *team = nb_threads_open(argc > 1 ? atoi(argv[1]) : 1);
    uint32_t *data = nb_alloc(WEIGHT_BYTES);
    uint8_t *scale = nb_alloc(WEIGHT_BYTES / 8);
    float *block_scale = nb_alloc(sizeof(float) * WEIGHT_BYTES / 128), *x = nb_alloc(sizeof(float) * N_ROW * N_IN);
    float *y = nb_alloc(sizeof(float) * WEIGHT_BYTES / N_IN * N_ROW);
    uint16_t *x_bf16 = nb_alloc(sizeof(uint16_t) * N_ROW * N_IN);
    for (int64_t i = 0; i < WEIGHT_BYTES / 4; i++) data[i] = nb_random_philox(1, (uint64_t)i, 0).v[0] & 0x3f7f3f7fu;
    for (int i = 0; i < WEIGHT_BYTES / 8; i++) scale[i] = (uint8_t)(0x30 + i % 16);
    for (int i = 0; i < WEIGHT_BYTES / 128; i++) block_scale[i] = 0.01f;
    for (int i = 0; i < N_ROW * N_IN; i++) x_bf16[i] = nb_bf16_from_f32(x[i] = (float)(i % 17) / 17 - 0.5f);
    printf("%d threads; inputs; GB/s of weights for 1 row; GFLOP/s for %d rows\n", nb_threads_count(team), N_ROW);
    for (nb_cpu_kernels which = NB_CPU_AVX512; which >= NB_CPU_AVX2; which--) {
        const nb_cpu_kernel_set *set;
        if (nb_cpu_kernels_find(which, &set, NULL) != NB_OK) continue;
        for (nb_format format = 0; format < NB_FORMAT_COUNT; format++) {
            nb_linear l = {.format = format,
                           .n_in = N_IN,
                           .data = data,
                           .scale = scale,
                           .scale_2 = 1,
                           .block_scale = block_scale,
                           .block_out = 128,
                           .block_in = 128};
            bench_format(team, set, l, x, x_bf16, y);
        }
    }
    nb_threads_close(team);
    free(data), free(scale), free(block_scale), free(x), free(y), free(x_bf16);
    return 0;
}
