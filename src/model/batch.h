// A batch: everything a device needs for one step, as plain flat data that can be printed, saved and replayed. A decode
// is a sequence with one new token, a prefill chunk one with many, a speculative step one with 1 + n_draft: the device
// sees no other difference. The engine writes it, the device copies what it needs during submit.
//
// Rules
//  1. Sequences are independent: the result of one does not depend on which others are in the batch.
//  2. n_past says how much of the sequence the device has absorbed. n_past = 0 starts the slot afresh. If the slot has
//     absorbed more than n_past, the surplus are draft tokens that were rejected: their journal rows are dropped. At
//     most n_draft of the last step can be dropped.
//  3. Pages are NB_PAGE_TOKENS tokens of all attention layers. A sequence's pages cover n_past + n_new tokens, in
//  order.
//     Full pages may be shared by sequences; the last, partly filled one may not.
//  4. Copies are done before the step, in order.
//  5. Proposals follow the last confirmed token of the step: a draft is confirmed if the row before it drew it
//     (NB_ROW_SAMPLE), so the row of the last definitive token must draw. Nothing drawn there: nothing proposed. The
//     MTP module must have seen the whole sequence: a step with n_propose = 0 ends proposals until the slot starts
//     afresh, so prefill chunks of a sequence that will speculate ask for some too (1 is enough).
#ifndef NB_BATCH_H
#define NB_BATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
    NB_PAGE_TOKENS = 64,  // tokens of one KV page; also the grid on which non-final prefill chunks should end
    NB_JOURNAL_ROWS = 16, // rows a state slot's journal can hold; n_draft is less than this
    NB_TOP_LOGPROBS_MAX = 20,
    NB_DRAFT_MAX = 8,
    NB_TOKEN_LAST = -1, // in tok[]: the token the device sampled for this slot in the previous step (not yet seen by
                        // the host when steps are submitted ahead)
};

typedef struct nb_seq {
    int32_t slot;       // state slot, 0 <= slot < reserved slots
    int32_t n_past;     // tokens absorbed before this step
    int32_t n_new;      // tokens of this step, >= 1
    int32_t n_draft;    // of these, how many at the end are drafts that may be rejected later; < n_new
    int32_t tok_first;  // tok[tok_first .. tok_first + n_new)
    int32_t page_first; // page[page_first .. page_first + n_page)
    int32_t n_page;     // = ceil((n_past + n_new) / NB_PAGE_TOKENS)
    int32_t n_propose;  // drafts the device shall propose after this step (MTP, rule 5); 0: none
} nb_seq;

// How a token is drawn. Order of operations, as vLLM: penalties, logit bias, mask; temperature; top-k; top-p; min-p;
// draw.
typedef struct nb_sampling {
    float temperature;        // 0: the largest logit, lowest id on ties
    int32_t top_k;            // 0: all
    float top_p;              // 1: all
    float min_p;              // 0: all
    float repetition_penalty; // 1: none; over prompt and output
    float presence_penalty;   // 0: none; over output
    float frequency_penalty;  // 0: none; over output
    uint64_t seed;            // the draw is nb_random_philox(seed, position of the new token, 0)
} nb_sampling;

typedef struct nb_history { // a token the penalties must know of
    int32_t tok;
    int32_t n_output; // times it occurs in the output; 0: in the prompt only
} nb_history;

typedef struct nb_bias {
    int32_t tok;
    float bias;
} nb_bias;

enum {
    NB_ROW_SAMPLE = 1, // draw a token; becomes the slot's NB_TOKEN_LAST
    NB_ROW_LOGITS = 2, // give back the whole row of raw logits
};

typedef struct nb_row {               // an output that is wanted
    int32_t tok;                      // index into tok[]: the position whose successor is asked for
    int32_t seq;                      // index into seq[]
    int32_t flags;                    // NB_ROW_*
    int32_t target;                   // token whose log-probability is wanted, or -1
    int32_t n_top;                    // most likely tokens wanted, <= NB_TOP_LOGPROBS_MAX
    int32_t history_first, n_history; // into history[]; a token given as NB_TOKEN_LAST is added by the device
    int32_t bias_first, n_bias;       // into bias[]
    int32_t mask_first;               // into mask[]: ceil(vocab / 32) words, bit set = allowed; -1: all allowed
    nb_sampling sampling;
} nb_row;

typedef struct nb_slot_copy {
    int32_t from, to; // state slots; `to` becomes equal to `from`, journal included
} nb_slot_copy;

typedef struct nb_batch {
    int32_t n_tok, n_seq, n_page, n_row, n_history, n_bias, n_copy;
    int64_t n_mask;      // words
    const int32_t *tok;  // [n_tok] token ids, or NB_TOKEN_LAST
    const nb_seq *seq;   // [n_seq]; tokens of a sequence are contiguous, sequences in ascending tok_first
    const int32_t *page; // [n_page]
    const nb_row *row;   // [n_row] in ascending tok
    const nb_history *history;
    const nb_bias *bias;
    const uint32_t *mask;
    const nb_slot_copy *copy;
} nb_batch;

// Log-probabilities are of the raw logits (before penalties, bias and temperature), as vLLM's default.
typedef struct nb_row_result {
    int32_t tok;   // drawn token, or -1
    float logprob; // of tok
    int32_t rank;  // of tok: 1 = most likely
    float target_logprob;
    int32_t target_rank;
    int32_t n_top;
    int32_t top_tok[NB_TOP_LOGPROBS_MAX]; // by falling probability, lower id first on ties
    float top_logprob[NB_TOP_LOGPROBS_MAX];
    const float *logits; // [vocab] if asked for, else NULL
} nb_row_result;

typedef struct nb_result { // the device's memory, valid until the next wait
    int32_t n_row, n_seq;
    const nb_row_result *row;                // [n_row]
    const int32_t (*proposal)[NB_DRAFT_MAX]; // [n_seq] drafts by sequence, -1 behind the last
    int64_t device_us;                       // time of the step on the device
} nb_result;

// Checks every rule that a batch must keep (indices, ranges, order). For devices in debug builds and for replayed
// files.
struct nb_error;
int nb_batch_check(const nb_batch *batch, int vocab_size, int n_slot, int n_page, struct nb_error *err);

#endif
