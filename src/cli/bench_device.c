// Steps of fixed shape against a device. See bench_device.h.
//
// Tokens of a decode are different in each sequence and step, so that routing touches as many experts as real traffic
// does. Only the first sequence's KV pages are written by a prefill; the others' hold what the decode adds, which costs
// the same to read. States are real in all: they are copied.
#include "cli/bench_device.h"

#include <stdlib.h>

#include "base/clock.h"
#include "cuda/cuda_device.h"

enum { WARM_STEPS = 20 };

struct nb_bench_device {
    nb_bench_options o;
    nb_plan plan;
    int max_page; // of one sequence
    int32_t *page, *tok;
    nb_seq *seq;
    nb_row *row;
    nb_slot_copy *copy;
    nb_batch last; // what nb_bench_kernels runs once more
};

static nb_row greedy_row(int tok, int seq)
{
    return (nb_row){.tok = tok,
                    .seq = seq,
                    .flags = NB_ROW_SAMPLE,
                    .target = -1,
                    .mask_first = -1,
                    .sampling = {.top_p = 1, .repetition_penalty = 1}};
}

static int submit(nb_bench_device *b, const nb_batch *batch, nb_error *err)
{
    return b->o.device->ops->submit(b->o.device, batch, err);
}

static int wait(nb_bench_device *b, nb_error *err)
{
    nb_result result;
    return b->o.device->ops->wait(b->o.device, &result, err);
}

// A batch of n_seq sequences of n_new tokens each behind n_past. Sequence i has slot i and pages of its own.
static nb_batch make_batch(nb_bench_device *b, int n_seq, int n_past, int n_new)
{
    int n_page = (n_past + n_new + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS, vocab = b->o.model->config.vocab_size;
    for (int i = 0; i < n_seq; i++) {
        b->seq[i] = (nb_seq){.slot = i,
                             .n_past = n_past,
                             .n_new = n_new,
                             .tok_first = i * n_new,
                             .page_first = i * n_page,
                             .n_page = n_page};
        b->row[i] = greedy_row((i + 1) * n_new - 1, i);
        for (int j = 0; j < n_page; j++) b->page[i * n_page + j] = i * b->max_page + j;
    }
    for (int i = 0; i < n_seq * n_new; i++) {
        int64_t position = n_past + i % n_new;
        b->tok[i] = (int32_t)((position * 7919 + i / n_new * INT64_C(104729) + 11) % vocab);
    }
    return (nb_batch){.n_tok = n_seq * n_new,
                      .n_seq = n_seq,
                      .n_page = n_seq * n_page,
                      .n_row = n_seq,
                      .tok = b->tok,
                      .seq = b->seq,
                      .page = b->page,
                      .row = b->row};
}

static int run_alone(nb_bench_device *b, const nb_batch *batch, nb_error *err)
{
    NB_TRY(submit(b, batch, err));
    return wait(b, err);
}

// One prompt in slot 0, a step ahead; rows are asked for at the end only.
static int prefill(nb_bench_device *b, int n, nb_error *err)
{
    int n_ahead = 0;
    for (int at = 0; at < n; at += b->o.chunk) {
        int k = n - at < b->o.chunk ? n - at : b->o.chunk;
        nb_batch batch = make_batch(b, 1, at, k);
        batch.n_row = at + k == n;
        b->last = batch;
        NB_TRY(submit(b, &batch, err));
        if (++n_ahead < NB_IN_FLIGHT) continue;
        NB_TRY(wait(b, err));
        n_ahead--;
    }
    while (n_ahead-- > 0) NB_TRY(wait(b, err));
    return NB_OK;
}

// Every slot becomes a copy of slot 0, before a step of a slot behind them.
static int spread(nb_bench_device *b, int n_seq, nb_error *err)
{
    for (int i = 1; i < n_seq; i++) b->copy[i - 1] = (nb_slot_copy){.from = 0, .to = i};
    nb_batch batch = make_batch(b, 1, 0, 1);
    b->seq[0].slot = b->o.max_seq;
    b->page[0] = b->o.max_seq * b->max_page;
    batch.copy = b->copy, batch.n_copy = n_seq - 1;
    return run_alone(b, &batch, err);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double median(int64_t *value, int n)
{
    qsort(value, (size_t)n, sizeof *value, by_value);
    return (double)value[n / 2];
}

static void add_work(const nb_bench_device *b, int n_seq, int n_new, int context, nb_bench_result *out)
{
    nb_plan_step step;
    nb_plan_step_make(&b->plan, b->o.model, b->o.kv, n_seq, n_new, context, &step);
    double n_byte = step.weight_bytes + step.state_bytes + step.kv_bytes;
    double read_us = n_byte / b->o.read_rate * 1e6, flop_us = b->o.flop_rate > 0 ? step.flop / b->o.flop_rate * 1e6 : 0;
    out->n_tok += (double)n_seq * n_new;
    out->n_byte += n_byte, out->n_flop += step.flop;
    out->roof_us += read_us > flop_us ? read_us : flop_us;
}

// interval[i]: from the end of step i - 1 to the end of step i, a step being under way all the time.
static int time_steps(nb_bench_device *b, int n_seq, int context, int64_t *interval, nb_error *err)
{
    int n = WARM_STEPS + b->o.n_step;
    int64_t then = nb_clock_us();
    for (int s = 0; s <= n; s++) {
        if (s < n) {
            b->last = make_batch(b, n_seq, context + s, 1);
            NB_TRY(submit(b, &b->last, err));
        }
        if (s == 0) continue;
        NB_TRY(wait(b, err));
        int64_t now = nb_clock_us();
        interval[s - 1] = now - then, then = now;
    }
    return NB_OK;
}

int nb_bench_decode(nb_bench_device *b, int n_seq, int context, nb_bench_result *out, nb_error *err)
{
    *out = (nb_bench_result){0};
    NB_TRY(prefill(b, context, err));
    NB_TRY(spread(b, n_seq, err));
    int64_t *interval = nb_alloc(sizeof *interval * (size_t)(WARM_STEPS + b->o.n_step));
    int code = time_steps(b, n_seq, context, interval, err);
    out->us = median(interval + WARM_STEPS, b->o.n_step);
    add_work(b, n_seq, 1, context + WARM_STEPS + b->o.n_step / 2, out);
    free(interval);
    return code;
}

int nb_bench_prefill(nb_bench_device *b, int n, nb_bench_result *out, nb_error *err)
{
    *out = (nb_bench_result){0};
    int64_t us[32];
    NB_TRY(prefill(b, n, err));
    int n_run = b->o.n_prompt < 32 ? b->o.n_prompt : 32;
    for (int i = 0; i < n_run; i++) {
        int64_t begin = nb_clock_us();
        NB_TRY(prefill(b, n, err));
        us[i] = nb_clock_us() - begin;
    }
    out->us = median(us, n_run);
    for (int at = 0; at < n; at += b->o.chunk) add_work(b, 1, n - at < b->o.chunk ? n - at : b->o.chunk, at, out);
    return NB_OK;
}

// The step is repeated where it stands: a step that begins at the same n_past drops what the last one absorbed only if
// those were drafts, so decodes go on by one token and a prefill starts again.
int nb_bench_kernels(nb_bench_device *b, nb_bench_kernel_fn fn, void *user, nb_plan_step *work, nb_error *err)
{
    int n_new = b->seq[0].n_new, n_seq = b->last.n_seq, decodes = n_new == 1;
    int n_past = decodes ? b->seq[0].n_past + 1 : 0;
    nb_batch batch = make_batch(b, n_seq, n_past, n_new);
    nb_plan_step_make(&b->plan, b->o.model, b->o.kv, n_seq, n_new, n_past, work);
    NB_TRY(nb_cuda_time_kernels(b->o.device, fn, user, err));
    int code = run_alone(b, &batch, err);
    if (code == NB_OK) NB_TRY(nb_cuda_time_kernels(b->o.device, NULL, NULL, err));
    b->last = batch;
    return code;
}

int nb_bench_device_open(const nb_bench_options *options, nb_bench_device **out, nb_error *err)
{
    nb_bench_device *b = nb_alloc(sizeof *b);
    *out = b;
    b->o = *options;
    NB_TRY(nb_plan_make(options->model, options->kv, &b->plan, err));
    enum { KERNEL_STEPS = 2 };
    int n_tok = options->max_context + WARM_STEPS + options->n_step + KERNEL_STEPS;
    b->max_page = n_tok / NB_PAGE_TOKENS + 1;
    int64_t n_page = (int64_t)options->max_seq * b->max_page + 1;
    int max_tok = options->chunk > options->max_seq ? options->chunk : options->max_seq;
    if (n_page > INT32_MAX)
        return nb_error_set(err, NB_ERR_LIMIT, "%d sequences of %d tokens are too many to address", options->max_seq,
                            n_tok);
    b->page = nb_alloc(sizeof *b->page * (size_t)n_page);
    b->tok = nb_alloc(sizeof *b->tok * (size_t)max_tok);
    b->seq = nb_alloc(sizeof *b->seq * (size_t)(options->max_seq + 1));
    b->row = nb_alloc(sizeof *b->row * (size_t)(options->max_seq + 1));
    b->copy = nb_alloc(sizeof *b->copy * (size_t)(options->max_seq + 1));
    nb_reserve reserve = {.kv = options->kv,
                          .n_slot = options->max_seq + 1,
                          .n_page = (int)n_page,
                          .max_tok = max_tok,
                          .max_seq = options->max_seq + 1,
                          .max_row = options->max_seq + 1};
    if (reserve.max_seq > reserve.max_tok) reserve.max_tok = reserve.max_seq;
    return options->device->ops->reserve(options->device, &reserve, err);
}

void nb_bench_device_close(nb_bench_device *b)
{
    if (!b) return;
    free(b->page), free(b->tok), free(b->seq), free(b->row), free(b->copy);
    free(b);
}
