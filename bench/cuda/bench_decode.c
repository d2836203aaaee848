// Times the CUDA device alone, without engine and server: dummy weights of a config.json's true shape, decode steps of
// a batch at a context, and prefill. Prints medians, the bytes a step must read and the share of the roof.
//
//   bench_decode CONFIG_FOLDER [--batch 1,16] [--context 1024] [--prefill 8192] [--chunk N] [--layers N] [--steps N]
//   [--kv fp8|bf16] [--kernels] [--portable]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cuda/cuda_device.h"
#include "model/plan.h"
#include "model/synth.h"

enum { LIST_MAX = 16, CHUNK = 8192, WARM_STEPS = 20, PREFILLS = 5 };
#define READ_BYTES_PER_S 3.09e12 // of one H100, measured by a streaming read

typedef struct options {
    const char *folder;
    int batch[LIST_MAX], context[LIST_MAX], prefill[LIST_MAX];
    int n_batch, n_context, n_prefill, n_layer, n_step, chunk;
    nb_kv_format kv;
    bool kernels, portable;
} options;

typedef struct bench {
    nb_device *device;
    nb_model *model;
    nb_plan plan;
    const options *o;
    int max_page; // of one sequence
    int32_t *page, *tok;
    nb_seq *seq;
    nb_row *row;
} bench;

static void die(const nb_error *err)
{
    fprintf(stderr, "bench_decode: %s\n", err->text);
    exit(1);
}

static int list(const char *text, int *out)
{
    int n = 0;
    for (const char *p = text; *p && n < LIST_MAX;) {
        out[n++] = atoi(p);
        p = strchr(p, ',');
        if (!p) break;
        p++;
    }
    return n;
}

static int largest(const int *v, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++) m = v[i] > m ? v[i] : m;
    return m;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static nb_row greedy_row(int tok, int seq)
{
    return (nb_row){.tok = tok,
                    .seq = seq,
                    .flags = NB_ROW_SAMPLE,
                    .target = -1,
                    .mask_first = -1,
                    .sampling = {.top_p = 1, .repetition_penalty = 1}};
}

// One step; submits and, behind it, waits for the one before if two are under way. Returns its device time, or -1.
static void step(bench *b, const nb_batch *batch)
{
    nb_error err;
    if (b->device->ops->submit(b->device, batch, &err)) die(&err);
}

static int64_t finish(bench *b)
{
    nb_error err;
    nb_result r;
    if (b->device->ops->wait(b->device, &r, &err)) die(&err);
    return r.device_us;
}

// Sequence i's pages are its own, so that no two read the same KV.
static void set_pages(bench *b, int n_seq, int n_tok)
{
    int n = (n_tok + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS;
    for (int i = 0; i < n_seq; i++) {
        b->seq[i].page_first = i * n, b->seq[i].n_page = n;
        for (int j = 0; j < n; j++) b->page[i * n + j] = i * b->max_page + j;
    }
}

static void sum_kernels(bench *b, const nb_batch *batch);

// Prefills slot 0 with n random tokens in chunks; returns the time in us. kernels: of the last chunk.
static int64_t prefill(bench *b, int n, bool kernels)
{
    int chunk = b->o->chunk;
    int64_t t = nb_clock_us();
    for (int at = 0; at < n; at += chunk) {
        int k = n - at < chunk ? n - at : chunk;
        for (int i = 0; i < k; i++) b->tok[i] = (int)((at + i) * 7919LL % b->model->config.vocab_size);
        b->seq[0] = (nb_seq){.n_past = at, .n_new = k};
        set_pages(b, 1, at + k);
        b->row[0] = greedy_row(k - 1, 0);
        nb_batch batch = {.n_tok = k,
                          .n_seq = 1,
                          .n_page = b->seq[0].n_page,
                          .n_row = at + k == n,
                          .tok = b->tok,
                          .seq = b->seq,
                          .page = b->page,
                          .row = b->row};
        if (kernels && at + k == n) {
            sum_kernels(b, &batch);
            break;
        }
        step(b, &batch);
        finish(b);
    }
    return nb_clock_us() - t;
}

// All slots become copies of slot 0, in a step of a slot behind them.
static void spread(bench *b, int n_seq)
{
    nb_slot_copy *copy = calloc((size_t)n_seq, sizeof *copy);
    for (int i = 1; i < n_seq; i++) copy[i - 1] = (nb_slot_copy){.from = 0, .to = i};
    b->seq[0] = (nb_seq){.slot = n_seq, .n_past = 0, .n_new = 1};
    b->tok[0] = 1;
    set_pages(b, 1, 1);
    b->row[0] = greedy_row(0, 0);
    nb_batch batch = {.n_tok = 1,
                      .n_seq = 1,
                      .n_page = 1,
                      .n_row = 1,
                      .n_copy = n_seq - 1,
                      .tok = b->tok,
                      .seq = b->seq,
                      .page = b->page,
                      .row = b->row,
                      .copy = copy};
    step(b, &batch);
    finish(b);
    free(copy);
}

typedef struct kernel_time {
    const char *name;
    double us;
    int n;
} kernel_time;

enum { KERNEL_MAX = 64 };

static void add_time(void *user, const char *name, double us)
{
    kernel_time *k = user;
    while (k->name && strcmp(k->name, name) != 0) k++;
    if (k - (kernel_time *)user < KERNEL_MAX - 1) k->name = name, k->us += us, k->n++;
}

// Only for looking at the code: one launch by another, in the order of a layer.
static void print_time(void *user, const char *name, double us)
{
    int *n = user;
    if (++*n <= 40) printf("  %2d %-60.60s %7.1f us\n", *n, name, us);
}

// One more step, the times of each kernel added up.
static void sum_kernels(bench *b, const nb_batch *batch)
{
    nb_error err;
    kernel_time k[KERNEL_MAX] = {0};
    if (nb_cuda_time_kernels(b->device, add_time, k, &err)) die(&err);
    step(b, batch);
    finish(b);
    nb_cuda_time_kernels(b->device, NULL, NULL, &err);
    for (int i = 0; k[i].name; i++)
        printf("  %-60.60s %4d x %7.1f us = %8.1f us\n", k[i].name, k[i].n, k[i].us / k[i].n, k[i].us);
}

// The same after one whose first kernels are listed.
static void time_kernels(bench *b, const nb_batch *batch)
{
    nb_error err;
    int n = 0;
    if (nb_cuda_time_kernels(b->device, print_time, &n, &err)) die(&err);
    step(b, batch);
    finish(b);
    for (int i = 0; i < batch->n_seq; i++) b->seq[i].n_past++;
    set_pages(b, batch->n_seq, b->seq[0].n_past + 1);
    sum_kernels(b, batch);
}

static void decode(bench *b, int n_seq, int context)
{
    prefill(b, context, false);
    spread(b, n_seq);
    int n = b->o->n_step;
    int64_t *us = calloc((size_t)n, sizeof *us), begin = 0, sum = 0;
    for (int s = 0; s < n + WARM_STEPS; s++) {
        int past = context + s;
        for (int i = 0; i < n_seq; i++) {
            b->tok[i] =
                s ? NB_TOKEN_LAST : (i * 977 + 11) % b->model->config.vocab_size; // different tokens, different experts
            b->seq[i] = (nb_seq){.slot = i, .n_past = past, .n_new = 1, .tok_first = i};
            b->row[i] = greedy_row(i, i);
        }
        set_pages(b, n_seq, past + 1);
        nb_batch batch = {.n_tok = n_seq,
                          .n_seq = n_seq,
                          .n_page = n_seq * b->seq[0].n_page,
                          .n_row = n_seq,
                          .tok = b->tok,
                          .seq = b->seq,
                          .page = b->page,
                          .row = b->row};
        if (s == WARM_STEPS) begin = nb_clock_us();
        step(b, &batch);
        if (s == 0) continue; // two steps are under way from here on
        int64_t t = finish(b);
        if (s > WARM_STEPS) us[s - WARM_STEPS - 1] = t, sum += t;
    }
    us[n - 1] = finish(b), sum += us[n - 1];
    double wall = (double)(nb_clock_us() - begin) / n, mean = (double)sum / n;
    qsort(us, (size_t)n, sizeof *us, by_value);
    nb_plan_step roof;
    nb_plan_step_make(&b->plan, b->model, b->o->kv, n_seq, 1, context, &roof);
    double bytes = roof.weight_bytes + roof.state_bytes + roof.kv_bytes, least_us = bytes / READ_BYTES_PER_S * 1e6;
    printf("decode,%d,%d,median %lld us,mean %.0f us,wall %.0f us,%.0f tok/s,%.3f GB,%.2f TB/s,%.0f %% of roof\n",
           n_seq, context, (long long)us[n / 2], mean, wall, n_seq / wall * 1e6, bytes / 1e9, bytes / wall / 1e6,
           100 * least_us / wall);
    if (b->o->kernels) {
        for (int i = 0; i < n_seq; i++) b->seq[i].n_past++;
        set_pages(b, n_seq, context + n + WARM_STEPS + 1);
        nb_batch batch = {.n_tok = n_seq,
                          .n_seq = n_seq,
                          .n_page = n_seq * b->seq[0].n_page,
                          .n_row = n_seq,
                          .tok = b->tok,
                          .seq = b->seq,
                          .page = b->page,
                          .row = b->row};
        time_kernels(b, &batch);
    }
    fflush(stdout);
    free(us);
}

static void run_all(bench *b)
{
    const options *o = b->o;
    for (int c = 0; c < o->n_context; c++)
        for (int i = 0; i < o->n_batch; i++) decode(b, o->batch[i], o->context[c]);
    for (int i = 0; i < o->n_prefill; i++) {
        int64_t us[PREFILLS];
        prefill(b, o->prefill[i], false);
        for (int j = 0; j < PREFILLS; j++) us[j] = prefill(b, o->prefill[i], false);
        qsort(us, PREFILLS, sizeof us[0], by_value);
        int64_t t = us[PREFILLS / 2];
        printf("prefill,%d,%.1f ms,%.0f tok/s\n", o->prefill[i], (double)t / 1e3, o->prefill[i] / (double)t * 1e6);
        if (o->kernels) prefill(b, o->prefill[i], true);
        fflush(stdout);
    }
}

static void open_bench(bench *b, const options *o)
{
    nb_error err;
    nb_checkpoint *ckpt;
    int64_t t = nb_clock_us();
    if (nb_checkpoint_open_config(o->folder, &ckpt, &err)) die(&err);
    if (nb_synth_model(nb_checkpoint_config(ckpt), NB_MIX_PUBLISHED, 1, o->n_layer, &b->model, &err)) die(&err);
    if (nb_plan_make(b->model, o->kv, &b->plan, &err)) die(&err);
    nb_cuda_options c = {.ordinal = 0, .gpu_memory_utilization = 0.95, .portable = o->portable};
    if (nb_cuda_open(&c, &b->device, &err) || b->device->ops->load(b->device, b->model, &err)) die(&err);
    int n_seq = o->n_batch ? largest(o->batch, o->n_batch) : 1, tokens = largest(o->context, o->n_context),
        p = largest(o->prefill, o->n_prefill);
    tokens = (tokens > p ? tokens : p) + o->n_step + WARM_STEPS + NB_PAGE_TOKENS;
    b->max_page = tokens / NB_PAGE_TOKENS + 1;
    int64_t n_page = (int64_t)n_seq * b->max_page;
    nb_reserve r = {.kv = o->kv,
                    .n_slot = n_seq + 1,
                    .n_page = (int)n_page,
                    .max_tok = o->chunk > n_seq + 1 ? o->chunk : n_seq + 1,
                    .max_seq = n_seq + 1,
                    .max_row = n_seq + 1};
    if (b->device->ops->reserve(b->device, &r, &err)) die(&err);
    nb_memory m;
    b->device->ops->memory(b->device, &m);
    printf("open,%.2f s,weights %.2f GB,states %.2f GB,kv %.2f GB,scratch %.2f GB,free %.2f GB\n",
           (double)(nb_clock_us() - t) / 1e6, (double)m.weight_bytes / 1e9, (double)m.state_bytes / 1e9,
           (double)m.kv_bytes / 1e9, (double)m.scratch_bytes / 1e9, (double)m.free_bytes / 1e9);
    fflush(stdout);
    b->page = calloc((size_t)n_page + 64, sizeof *b->page), b->tok = calloc((size_t)o->chunk + 1024, sizeof *b->tok);
    b->seq = calloc((size_t)n_seq + 1, sizeof *b->seq), b->row = calloc((size_t)n_seq + 1, sizeof *b->row);
}

int main(int argc, char **argv)
{
    options o = {.kv = NB_KV_FP8, .n_step = 100, .chunk = CHUNK};
    bench b = {.o = &o};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--batch"))
            o.n_batch = list(value, o.batch), i++;
        else if (!strcmp(argv[i], "--context"))
            o.n_context = list(value, o.context), i++;
        else if (!strcmp(argv[i], "--prefill"))
            o.n_prefill = list(value, o.prefill), i++;
        else if (!strcmp(argv[i], "--chunk"))
            o.chunk = atoi(value), i++;
        else if (!strcmp(argv[i], "--layers"))
            o.n_layer = atoi(value), i++;
        else if (!strcmp(argv[i], "--steps"))
            o.n_step = atoi(value), i++;
        else if (!strcmp(argv[i], "--kv"))
            o.kv = strcmp(value, "bf16") ? NB_KV_FP8 : NB_KV_BF16, i++;
        else if (!strcmp(argv[i], "--portable"))
            o.portable = true;
        else if (!strcmp(argv[i], "--kernels"))
            o.kernels = true;
        else
            o.folder = argv[i];
    }
    if (!o.folder)
        return fprintf(stderr, "usage: bench_decode CONFIG_FOLDER [--batch 1,16] [--context 1024] [--prefill 8192]\n"),
               1;
    if (!o.n_batch && !o.n_prefill) o.batch[o.n_batch++] = 1;
    if (!o.n_context) o.context[o.n_context++] = 1024;
    open_bench(&b, &o);
    run_all(&b);
    b.device->ops->close(b.device);
    return 0;
}
