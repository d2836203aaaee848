// Drawing on the GPU against the CPU's sampler, which is the definition, on the same logits: the GPU's own. Every
// option of nb_sampling alone and mixed, history, bias and masks, also where nothing can be drawn; log-probabilities,
// ranks and the likeliest tokens. The demo's logits; skipped where there is no GPU.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_sample.h"
#include "cuda/cuda_device.h"
#include "numeric/random.h"
#include "support/check.h"
#include "support/demo.h"

enum { ROWS = 192, HISTORY = 24, BIAS = 6, VOCAB_MAX = 4096, MASK_WORDS = VOCAB_MAX / 32, STEPS = 16 };

typedef struct sampled {
    nb_device *device;
    int vocab, n_mask_word;
    nb_batch batch;
    nb_seq seq;
    int32_t tok[ROWS], page[ROWS / NB_PAGE_TOKENS + 2];
    nb_row row[ROWS];
    nb_history history[ROWS * HISTORY];
    nb_bias bias[ROWS * BIAS];
    uint32_t mask[ROWS * MASK_WORDS];
    uint64_t n_random;
    int n_draw, n_other, n_none;
} sampled;

static uint32_t any(sampled *s, uint32_t n)
{
    return nb_random_philox(11, s->n_random++, 0).v[0] % n;
}

static float unit(sampled *s)
{
    return nb_random_unit(nb_random_philox(12, s->n_random++, 0).v[0]);
}

static sampled *open_sampled(void)
{
    nb_error err;
    nb_device *device;
    if (nb_cuda_open(&(nb_cuda_options){.gpu_memory_utilization = 0.5}, &device, &err)) skip();
    sampled *s = nb_alloc(sizeof *s);
    s->device = device;
    s->vocab = nb_demo_get()->vocab, s->n_mask_word = (s->vocab + 31) / 32;
    nb_reserve r = {.kv = NB_KV_BF16, .n_slot = 2, .n_page = 64, .max_tok = ROWS, .max_seq = 2, .max_row = ROWS};
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    for (int i = 0; i < ROWS / NB_PAGE_TOKENS + 2; i++) s->page[i] = i;
    return s;
}

static void close_sampled(sampled *s)
{
    s->device->ops->close(s->device);
    free(s);
}

// n tokens of one sequence behind n_past, a plain greedy row for each.
static void begin(sampled *s, int n_past, int n)
{
    s->seq = (nb_seq){.n_past = n_past, .n_new = n, .n_page = (n_past + n + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS};
    s->batch = (nb_batch){.n_tok = n,
                          .n_seq = 1,
                          .n_page = s->seq.n_page,
                          .n_row = n,
                          .tok = s->tok,
                          .seq = &s->seq,
                          .page = s->page,
                          .row = s->row,
                          .history = s->history,
                          .bias = s->bias,
                          .mask = s->mask};
    for (int i = 0; i < n; i++) {
        s->tok[i] = (int32_t)any(s, (uint32_t)s->vocab);
        s->row[i] = (nb_row){.tok = i,
                             .flags = NB_ROW_SAMPLE | NB_ROW_LOGITS,
                             .target = -1,
                             .mask_first = -1,
                             .sampling = {.top_p = 1, .repetition_penalty = 1}};
    }
}

static void set_truncation(sampled *s, nb_sampling *to)
{
    static const float temperature[] = {0, 0.05f, 0.7f, 1, 1.5f, 5};
    static const int32_t top_k[] = {0, 1, 2, 20, 500, 2047};
    static const float top_p[] = {1, 1e-6f, 0.1f, 0.5f, 0.95f, 0.999f}, min_p[] = {0, 0, 0.02f, 0.2f, 1};
    to->temperature = temperature[any(s, 6)];
    to->top_k = any(s, 2) ? top_k[any(s, 6)] : 0;
    to->top_p = any(s, 2) ? top_p[any(s, 6)] : 1;
    to->min_p = any(s, 3) ? 0 : min_p[any(s, 5)];
    to->seed = any(s, 1000);
}

// Distinct tokens, some of which the output has had.
static void add_history(sampled *s, nb_row *row)
{
    row->history_first = s->batch.n_history, row->n_history = HISTORY;
    int32_t tok = (int32_t)any(s, 50);
    for (int i = 0; i < HISTORY; i++, tok += 1 + (int32_t)any(s, 60))
        s->history[s->batch.n_history++] = (nb_history){.tok = tok, .n_output = (int32_t)any(s, 4)};
    row->sampling.repetition_penalty = any(s, 2) ? 0.6f + unit(s) : 1;
    row->sampling.presence_penalty = any(s, 2) ? 4 * unit(s) - 2 : 0;
    row->sampling.frequency_penalty = any(s, 2) ? 4 * unit(s) - 2 : 0;
}

static void add_bias(sampled *s, nb_row *row)
{
    row->bias_first = s->batch.n_bias, row->n_bias = BIAS;
    for (int i = 0; i < BIAS; i++)
        s->bias[s->batch.n_bias++] =
            (nb_bias){.tok = (int32_t)(i * 300 + (int)any(s, 300)), .bias = i ? 20 * unit(s) - 10 : 100 * unit(s) - 50};
}

// Few tokens, one, none, or all but some.
static void add_mask(sampled *s, nb_row *row)
{
    uint32_t kind = any(s, 4), *word = s->mask + s->batch.n_mask;
    row->mask_first = (int32_t)s->batch.n_mask;
    for (int i = 0; i < s->n_mask_word; i++) {
        uint32_t random = nb_random_philox(13, s->n_random++, 0).v[0];
        word[i] = kind == 0 ? random & random >> 7 & random << 9 : kind == 1 ? ~random : 0;
    }
    if (kind == 2) word[any(s, (uint32_t)s->n_mask_word - 1)] = 1u << any(s, 32);
    s->batch.n_mask += s->n_mask_word;
}

static bool near(float a, float b)
{
    return fabsf(a - b) <= 1e-3f * (1 + fabsf(b) / 16);
}

static void compare_top(const nb_row_result *want, const nb_row_result *got)
{
    assert_int_equal(got->n_top, want->n_top);
    for (int i = 0; i < want->n_top; i++) {
        assert_true(near(got->top_logprob[i], want->top_logprob[i]));
        assert_int_equal(got->top_tok[i], want->top_tok[i]);
    }
}

// A draw may fall to the neighbour where two cumulative sums agree to rounding; everything else must be the same.
static void compare(sampled *s, int i, const nb_row_result *got, int n_extra)
{
    static nb_sample_candidate scratch[VOCAB_MAX];
    int32_t extra = 0;
    nb_row_result want;
    nb_sample_input input = {.logits = got->logits,
                             .vocab = s->vocab,
                             .batch = &s->batch,
                             .row = &s->row[i],
                             .position = s->seq.n_past + i + 1,
                             .extra = &extra,
                             .n_extra = n_extra};
    nb_cpu_sample_row(&input, scratch, &want);
    s->n_draw++, s->n_none += want.tok < 0, s->n_other += want.tok != got->tok;
    assert_true((want.tok < 0) == (got->tok < 0));
    if (want.tok == got->tok) {
        assert_true(near(got->logprob, want.logprob));
        assert_int_equal(got->rank, want.rank);
    } else {
        print_message("row %d: %d instead of %d (t %g, k %d, p %g, min %g)\n", i, got->tok, want.tok,
                      (double)s->row[i].sampling.temperature, s->row[i].sampling.top_k,
                      (double)s->row[i].sampling.top_p, (double)s->row[i].sampling.min_p);
        assert_true(s->row[i].sampling.temperature > 0);
    }
    assert_int_equal(got->target_rank, want.target_rank);
    assert_true(near(got->target_logprob, want.target_logprob));
    compare_top(&want, got);
}

static void run_and_compare(sampled *s)
{
    nb_error err;
    nb_result r;
    nb_test_ok(s->device->ops->submit(s->device, &s->batch, &err), &err);
    nb_test_ok(s->device->ops->wait(s->device, &r, &err), &err);
    assert_int_equal(r.n_row, s->batch.n_row);
    for (int i = 0; i < r.n_row; i++) compare(s, i, &r.row[i], 0);
}

static void check_draws(sampled *s)
{
    print_message("%d draws, %d of them none, %d other than the CPU's\n", s->n_draw, s->n_none, s->n_other);
    assert_true(s->n_other * 250 <= s->n_draw);
}

static void draws_follow_the_definition(void **state)
{
    (void)state;
    sampled *s = open_sampled();
    for (int step = 0; step < STEPS; step++) {
        begin(s, 0, ROWS);
        for (int i = 0; i < ROWS; i++) {
            nb_row *row = &s->row[i];
            set_truncation(s, &row->sampling);
            row->target = any(s, 2) ? (int32_t)any(s, (uint32_t)s->vocab) : -1;
            row->n_top = any(s, 2) ? (int)any(s, NB_TOP_LOGPROBS_MAX + 1) : 0;
        }
        run_and_compare(s);
    }
    check_draws(s);
    close_sampled(s);
}

static void shaped_draws_follow_the_definition(void **state)
{
    (void)state;
    sampled *s = open_sampled();
    for (int step = 0; step < STEPS; step++) {
        begin(s, 0, ROWS);
        for (int i = 0; i < ROWS; i++) {
            set_truncation(s, &s->row[i].sampling);
            if (any(s, 2)) add_history(s, &s->row[i]);
            if (any(s, 3) == 0) add_bias(s, &s->row[i]);
            if (any(s, 3) == 0) add_mask(s, &s->row[i]);
            s->row[i].n_top = (int)any(s, 4);
        }
        run_and_compare(s);
    }
    assert_true(s->n_none > 0);
    check_draws(s);
    close_sampled(s);
}

static void rows_that_want_no_token_get_none(void **state)
{
    (void)state;
    sampled *s = open_sampled();
    nb_error err;
    nb_result r;
    begin(s, 0, 8);
    for (int i = 0; i < 8; i++) s->row[i].flags = i % 2 ? 0 : NB_ROW_LOGITS, s->row[i].target = 7;
    nb_test_ok(s->device->ops->submit(s->device, &s->batch, &err), &err);
    nb_test_ok(s->device->ops->wait(s->device, &r, &err), &err);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(r.row[i].tok, -1);
        assert_true(r.row[i].target_rank > 0 && r.row[i].target_logprob < 0);
        assert_true((r.row[i].logits != NULL) == (i % 2 == 0));
    }
    close_sampled(s);
}

// A token given as NB_TOKEN_LAST counts as output for the penalties, though the host's history lacks it.
static void the_last_token_is_penalised(void **state)
{
    (void)state;
    sampled *s = open_sampled();
    nb_error err;
    nb_result r;
    begin(s, 0, 40);
    s->batch.n_row = 1, s->row[0] = s->row[39];
    nb_test_ok(s->device->ops->submit(s->device, &s->batch, &err), &err);
    nb_test_ok(s->device->ops->wait(s->device, &r, &err), &err);
    int32_t last = r.row[0].tok;
    for (int listed = 0; listed < 2; listed++) {
        begin(s, 40 + listed, 1);
        s->tok[0] = NB_TOKEN_LAST;
        s->row[0].sampling.presence_penalty = 1000, s->row[0].sampling.frequency_penalty = 1;
        s->row[0].n_history = 1, s->batch.n_history = 1;
        s->history[0] = (nb_history){.tok = listed ? last : (last + 1) % s->vocab, .n_output = 2};
        nb_test_ok(s->device->ops->submit(s->device, &s->batch, &err), &err);
        nb_test_ok(s->device->ops->wait(s->device, &r, &err), &err);
        static nb_sample_candidate scratch[VOCAB_MAX];
        nb_row_result want;
        nb_sample_input input = {.logits = r.row[0].logits,
                                 .vocab = s->vocab,
                                 .batch = &s->batch,
                                 .row = &s->row[0],
                                 .position = s->seq.n_past + 1,
                                 .extra = &last,
                                 .n_extra = 1};
        nb_cpu_sample_row(&input, scratch, &want);
        assert_int_equal(r.row[0].tok, want.tok);
        assert_true(r.row[0].tok != last);
        last = r.row[0].tok;
    }
    close_sampled(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_definition),
        cmocka_unit_test(shaped_draws_follow_the_definition),
        cmocka_unit_test(rows_that_want_no_token_get_none),
        cmocka_unit_test(the_last_token_is_penalised),
    };
    return nb_test_run("cuda_sample", tests);
}
