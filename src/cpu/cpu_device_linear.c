// Jobs of one stage are cut into tasks of about equal cost, so that a team finishes together. See cpu_device_linear.h.
#include "cpu/cpu_device_linear.h"

#include <assert.h>
#include <stdlib.h>

#include "cpu/cpu_device_internal.h"
#include "numeric/bf16.h"

// Multiply-adds of one task: enough to outweigh handing it out, little enough to balance the team.
enum { TASK_COST = 1 << 17 };

static bool rounds_e4m3(const nb_linear *linear)
{
    return linear->format == NB_FORMAT_FP8 && linear->input_scale > 0;
}

static bool same_rounding(const nb_cpu_linear_job *a, const nb_cpu_linear_job *b)
{
    return a->rounded && a->x == b->x && a->matmul.n_row == b->matmul.n_row &&
           a->matmul.linear->n_in == b->matmul.linear->n_in && a->matmul.x_scale == b->matmul.x_scale &&
           rounds_e4m3(a->matmul.linear) == rounds_e4m3(b->matmul.linear);
}

static uint16_t *take_words(nb_cpu_linears *l, int64_t n)
{
    assert(l->n_word + n <= l->cap_word);
    uint16_t *words = l->word + l->n_word;
    l->n_word += (n + 31) / 32 * 32;
    return words;
}

void nb_cpu_linear_add(nb_cpu *cpu, const nb_linear *linear, const float *x, int n_row, float *y, bool add)
{
    nb_cpu_linears *l = &cpu->linears;
    if (n_row == 0 || linear->n_out == 0) return;
    assert(l->n_job < l->cap_job);
    nb_cpu_linear_job *job = &l->job[l->n_job];
    *job = (nb_cpu_linear_job){.x = x,
                               .matmul = {.linear = linear,
                                          .x = x,
                                          .x_scale = rounds_e4m3(linear) ? linear->input_scale : 1,
                                          .x_stride = linear->n_in,
                                          .n_row = n_row,
                                          .y = y,
                                          .y_stride = linear->n_out,
                                          .add = add}};
    if (rounds_e4m3(linear) || cpu->options.bf16_activations) {
        job->shares = l->n_job > 0 && same_rounding(job - 1, job);
        job->rounded = job->shares ? job[-1].rounded : take_words(l, (int64_t)n_row * linear->n_in);
        job->matmul.x = job->rounded;
        job->matmul.x_bf16 = true;
    }
    l->n_job++;
}

typedef struct nb_rounding {
    nb_cpu *cpu;
    const nb_cpu_linear_job *job;
} nb_rounding;

// y = e4m3(bf16(x) / scale). One value in 75 becomes another than e4m3(x / scale), which is enough to change a
// product by a hundredth of its norm.
static void quantize_bf16(const nb_cpu_kernel_set *kernels, const float *x, int64_t n, float scale, uint16_t *y)
{
    enum { PIECE = 512 };
    float wide[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t n_piece = n - at < PIECE ? n - at : PIECE;
        kernels->round_bf16(x + at, n_piece, y + at);
        for (int64_t i = 0; i < n_piece; i++) wide[i] = nb_bf16_to_f32(y[at + i]);
        kernels->quantize_e4m3(wide, n_piece, scale, y + at);
    }
}

static void round_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_rounding *r = user;
    const nb_cpu_matmul *m = &r->job->matmul;
    int64_t at = (int64_t)from * m->x_stride, n = (int64_t)(to - from) * m->x_stride;
    if (!rounds_e4m3(m->linear))
        r->cpu->kernels->round_bf16(r->job->x + at, n, r->job->rounded + at);
    else if (r->cpu->options.bf16_activations)
        quantize_bf16(r->cpu->kernels, r->job->x + at, n, m->x_scale, r->job->rounded + at);
    else
        r->cpu->kernels->quantize_e4m3(r->job->x + at, n, m->x_scale, r->job->rounded + at);
}

static void round_inputs(nb_cpu *cpu)
{
    for (int i = 0; i < cpu->linears.n_job; i++) {
        nb_rounding r = {cpu, &cpu->linears.job[i]};
        if (r.job->rounded && !r.job->shares)
            nb_cpu_split(cpu, round_rows, &r, r.job->matmul.n_row, r.job->matmul.x_stride);
    }
}

// Taps may be slow: the kernel's view of the input is widened into memory of its own.
static void tap_inputs(nb_cpu *cpu)
{
    for (int i = 0; i < cpu->linears.n_job; i++) {
        const nb_cpu_linear_job *job = &cpu->linears.job[i];
        const nb_cpu_matmul *m = &job->matmul;
        nb_tap tap = {.site = NB_TAP_LINEAR_INPUT,
                      .layer = -1,
                      .seq = -1,
                      .linear = m->linear,
                      .n_row = m->n_row,
                      .n_col = m->x_stride,
                      .data = job->x};
        int64_t n = tap.n_row * tap.n_col;
        float *wide = job->rounded ? nb_alloc(sizeof(float) * (size_t)n) : NULL;
        for (int64_t k = 0; wide && k < n; k++) wide[k] = nb_bf16_to_f32(job->rounded[k]) * m->x_scale;
        if (wide) tap.data = wide;
        cpu->tap(cpu->tap_user, &tap);
        free(wide);
    }
}

// The number of tasks; *total is their cost.
static int lay_tasks(nb_cpu_linears *l, int64_t *total)
{
    int n_task = 0;
    *total = 0;
    for (int i = 0; i < l->n_job; i++) {
        nb_cpu_linear_job *job = &l->job[i];
        int64_t cost = (int64_t)job->matmul.n_row * job->matmul.linear->n_in;
        int64_t block = TASK_COST / cost / NB_CPU_OUT_STEP * NB_CPU_OUT_STEP;
        int n_out = job->matmul.linear->n_out;
        *total += cost * n_out;
        job->block = block < 4 * NB_CPU_OUT_STEP ? 4 * NB_CPU_OUT_STEP : block > n_out ? n_out : (int)block;
        job->first_task = n_task;
        n_task += (n_out + job->block - 1) / job->block;
    }
    return n_task;
}

static const nb_cpu_linear_job *find_job(const nb_cpu_linears *l, int i_task)
{
    int low = 0, high = l->n_job; // job[low].first_task <= i_task < job[high].first_task
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (l->job[middle].first_task <= i_task)
            low = middle;
        else
            high = middle;
    }
    return &l->job[low];
}

static void run_task(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    nb_cpu *cpu = user;
    const nb_cpu_linear_job *job = find_job(&cpu->linears, i_task);
    int from = (i_task - job->first_task) * job->block, n_out = job->matmul.linear->n_out;
    int to = from + job->block < n_out ? from + job->block : n_out;
    cpu->kernels->matmul(&job->matmul, from, to);
}

void nb_cpu_linear_run(nb_cpu *cpu)
{
    nb_cpu_linears *l = &cpu->linears;
    round_inputs(cpu);
    if (cpu->tap) tap_inputs(cpu);
    int64_t total;
    int n_task = lay_tasks(l, &total);
    if (total < NB_CPU_TEAM_COST)
        for (int i = 0; i < n_task; i++) run_task(cpu, i, 0);
    else
        nb_threads_run(cpu->team, run_task, cpu, n_task);
    l->n_job = 0;
    l->n_word = 0;
}
