// nb_batch_check: every rule of batch.h, broken one at a time.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>

#include "model/batch.h"

enum { VOCAB = 100, N_SLOT = 4, N_PAGE = 8, N_HISTORY = 1, N_BIAS = 1, N_MASK = 4 };

// Two sequences: a chunk of 3 tokens from the start, and a decode with a draft at 70 tokens that shares no page.
typedef struct sample {
    nb_batch batch;
    int32_t tok[5], page[3];
    nb_seq seq[2];
    nb_row row[2];
    nb_history history[N_HISTORY];
    nb_bias bias[N_BIAS];
    uint32_t mask[N_MASK];
    nb_slot_copy copy[1];
} sample;

static sample *make(void)
{
    static sample s;
    nb_sampling greedy = {.top_p = 1, .repetition_penalty = 1};
    s = (sample){
        .tok = {1, 2, 3, NB_TOKEN_LAST, 99},
        .page = {7, 0, 5},
        .seq = {{.slot = 3, .n_new = 3, .page_first = 0, .n_page = 1},
                {.slot = 0,
                 .n_past = 70,
                 .n_new = 2,
                 .n_draft = 1,
                 .tok_first = 3,
                 .page_first = 1,
                 .n_page = 2,
                 .n_propose = 8}},
        .row =
            {{.tok = 2,
              .seq = 0,
              .flags = NB_ROW_SAMPLE,
              .target = 99,
              .n_top = 20,
              .mask_first = 0,
              .sampling = greedy},
             {.tok = 4, .seq = 1, .flags = NB_ROW_LOGITS, .target = -1, .mask_first = -1, .n_history = 1, .n_bias = 1}},
        .history = {{99, 1}},
        .bias = {{0, -INFINITY}},
        .copy = {{1, 2}},
    };
    s.batch = (nb_batch){.n_tok = 5,
                         .n_seq = 2,
                         .n_page = 3,
                         .n_row = 2,
                         .n_history = N_HISTORY,
                         .n_bias = N_BIAS,
                         .n_copy = 1,
                         .n_mask = N_MASK,
                         .tok = s.tok,
                         .seq = s.seq,
                         .page = s.page,
                         .row = s.row,
                         .history = s.history,
                         .bias = s.bias,
                         .mask = s.mask,
                         .copy = s.copy};
    return &s;
}

static int check(const sample *s, nb_error *err)
{
    return nb_batch_check(&s->batch, VOCAB, N_SLOT, N_PAGE, err);
}

static void test_a_good_batch_passes(void **state)
{
    (void)state;
    nb_error err;
    nb_test_ok(check(make(), &err), &err);
}

// Each BREAK spoils a fresh good batch and names a part of the message it must give.
#define BREAK(part, ...)                           \
    do {                                           \
        nb_error err;                              \
        sample *s = make();                        \
        __VA_ARGS__;                               \
        nb_test_fails(check(s, &err), &err, part); \
    } while (0)

static void test_counts_and_arrays(void **state)
{
    (void)state;
    BREAK("at least one", s->batch.n_tok = 0);
    BREAK("at least one", s->batch.n_seq = 0);
    BREAK("negative", s->batch.n_row = -1);
    BREAK("negative", s->batch.n_mask = -1);
    BREAK("NULL", s->batch.page = NULL);
    BREAK("NULL", s->batch.row = NULL);
    BREAK("sequences end at", s->batch.n_tok = 5, s->seq[1].n_new = 1, s->seq[1].n_draft = 0);
}

static void test_sequences(void **state)
{
    (void)state;
    BREAK("slot", s->seq[0].slot = N_SLOT);
    BREAK("slot", s->seq[0].slot = -1);
    BREAK("two sequences", s->seq[0].slot = 0);
    BREAK("past", s->seq[1].n_past = -1);
    BREAK("new", s->seq[0].n_new = 0);
    BREAK("starts at token", s->seq[1].tok_first = 2);
    BREAK("starts at token", s->seq[1].n_new = INT32_MAX);
    BREAK("drafts", s->seq[1].n_draft = 2);
    BREAK("drafts", s->seq[1].n_draft = -1);
    BREAK("drafts", s->seq[1].n_propose = NB_DRAFT_MAX + 1);
}

static void test_tokens(void **state)
{
    (void)state;
    BREAK("vocabulary", s->tok[0] = VOCAB);
    BREAK("vocabulary", s->tok[1] = -2);
    BREAK("NB_TOKEN_LAST", s->tok[0] = NB_TOKEN_LAST); // nothing was sampled before the first token
    BREAK("NB_TOKEN_LAST", s->tok[4] = NB_TOKEN_LAST);
}

static void test_pages(void **state)
{
    (void)state;
    BREAK("need 2", s->seq[1].n_page = 1);
    BREAK("outside", s->seq[1].page_first = 2);
    BREAK("outside", s->seq[1].page_first = -1);
    BREAK("there are 8", s->page[1] = N_PAGE);
    BREAK("there are 8", s->page[1] = -1);
    BREAK("used twice", s->page[2] = 7);
    BREAK("used twice", s->page[1] = 5);
    BREAK("used twice", s->page[1] = 7); // full, but written by the other sequence
}

static void test_full_pages_may_be_shared(void **state)
{
    (void)state;
    nb_error err;
    sample *s = make();
    const int32_t shared[4] = {6, 7, 6, 5};
    s->seq[0].n_past = 64;
    s->seq[0].n_page = 2;
    s->seq[1].page_first = 2;
    s->batch.page = shared;
    s->batch.n_page = 4;
    nb_test_ok(check(s, &err), &err);
}

static void test_rows(void **state)
{
    (void)state;
    BREAK("sequence", s->row[0].seq = 2);
    BREAK("not in sequence", s->row[0].tok = 3);
    BREAK("ascend", s->row[0] = s->row[1], s->row[1] = (nb_row){.tok = 2, .target = -1, .mask_first = -1});
    BREAK("flags", s->row[0].flags = 4);
    BREAK("target", s->row[0].target = VOCAB);
    BREAK("target", s->row[0].target = -2);
    BREAK("most likely", s->row[0].n_top = NB_TOP_LOGPROBS_MAX + 1);
    BREAK("history", s->row[1].n_history = 2);
    BREAK("history", s->row[1].history_first = -1);
    BREAK("history", s->history[0].tok = VOCAB);
    BREAK("bias", s->row[1].bias_first = 1);
    BREAK("bias", s->bias[0].bias = NAN);
    BREAK("mask", s->row[0].mask_first = 1);
    BREAK("mask", s->row[0].mask_first = -2);
}

static void test_sampling(void **state)
{
    (void)state;
    BREAK("sampling", s->row[0].sampling.temperature = -1);
    BREAK("sampling", s->row[0].sampling.temperature = INFINITY);
    BREAK("sampling", s->row[0].sampling.top_p = 0);
    BREAK("sampling", s->row[0].sampling.top_p = NAN);
    BREAK("sampling", s->row[0].sampling.top_k = -1);
    BREAK("sampling", s->row[0].sampling.min_p = 1.5f);
    BREAK("sampling", s->row[0].sampling.repetition_penalty = 0);
    BREAK("sampling", s->row[0].sampling.presence_penalty = NAN);
}

static void test_copies(void **state)
{
    (void)state;
    BREAK("copy", s->copy[0].from = N_SLOT);
    BREAK("copy", s->copy[0].to = -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_batch_passes),
        cmocka_unit_test(test_counts_and_arrays),
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_full_pages_may_be_shared),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_copies),
    };
    return nb_test_run("batch", tests);
}
