// The scheduler: which sequences do how many tokens in the next step. It is a pure function of the sequences, the pools
// and the times it was given: no clock, no thread, no device. The caller's loop is
//
//   plan -> (write the batch, submit it) -> commit -> ... wait for the step before ... -> token for each token drawn
//
// and one step may be planned and committed while the one before runs.
//
// Order. Sequences are served by rank: arrival time + priority * NB_AGING_US, ties by arrival. So a lower priority
// number goes first, equals go by age, and a sequence is overtaken only by those that arrive less than (difference of
// priority)
// * NB_AGING_US after it.
//
// A plan: every running decode gets its token; the rest of the token budget goes to prefill chunks in order of rank,
// those that run and those that wait alike. The first waiting sequence that does not fit ends admission, so small ones
// never pass a large one. Prefill chunks that do not finish end on the page grid.
//
// Pages. Admission takes the pages of all known tokens at once and leaves one page per running sequence untouched. A
// decode that needs a page when there is none preempts the last sequence in rank, itself at worst: its pages and slot
// go back, its tokens stay, and later it is prefilled again. A waiting sequence of a strictly better priority preempts
// the last running one as well.
//
// Nothing starves. The first in rank is never preempted, and each step brings it on by at least one decode token or one
// page of prefill; a sequence that fits alone is admitted at the latest when nothing else runs. Hence a sequence
// finishes after at most the sum, over itself and all sequences before it in rank or running when it arrived, of
// (pages to prefill + tokens to draw + NB_STEP_SLACK) * (1 + its preemptions) steps; those with known_input count
// twice.
//
// Speculation. A decode takes the drafts that were proposed behind its last token along, as far as its page goes: so
// no page is taken for what may be rejected, and states are saved at the same places as without. The step's tokens are
// those that confirm each other; for the rejected rest n_past goes back, and the device drops it (model/batch.h).
//
// Saved states (models with DeltaNet layers). A chunk is cut to end at the grid and at the last page end of the prompt
// that leaves NB_PROMPT_TAIL tokens over, and the state is copied there before the sequence goes on. While it decodes,
// one saved state per sequence follows it from page end to page end: one copy of a slot per NB_PAGE_TOKENS tokens (on
// the 35B model 60 MiB read and written, about 1 % of a decode step's traffic). A sequence that leaves at a page end
// gives its own slot to the index.
#ifndef NB_SCHEDULER_H
#define NB_SCHEDULER_H

#include "engine/engine.h"
#include "engine/prefix.h"
#include "engine/sequence.h"

enum {
    NB_PROMPT_TAIL = 8, // a template opens the reply with a few tokens that the next turn may write otherwise
    NB_STEP_SLACK = 6,  // steps of overlap and cut chunks in the bound above
};

typedef struct nb_scheduler_options {
    int max_seq;   // running at once
    int max_alive; // running and waiting
    int n_draft;   // of a sequence in a step, at most
    int max_tok;   // of a step; at least max_seq * (1 + n_draft) + NB_PAGE_TOKENS
    int n_page, n_slot;
    int snapshot_grid; // tokens, a multiple of NB_PAGE_TOKENS
    bool prefix_caching;
    bool needs_state; // the model has DeltaNet layers; n_slot > max_seq then, if prefix_caching
} nb_scheduler_options;

typedef struct nb_plan_item {
    nb_sequence *seq;
    int32_t n_past, n_new;
    int32_t n_draft;    // of n_new, at the end
    int32_t prompt_row; // first prompt row of this chunk
    int32_t n_prompt_row;
    bool draw; // the step draws a token, and one behind each draft
    bool last; // with limit 0: nothing is drawn, the prompt ends here
} nb_plan_item;

typedef struct nb_plan {
    int n_item, n_copy, n_tok;
    nb_plan_item *item; // [n_item], decodes first
    nb_slot_copy *copy; // [n_copy], before the step, in order
} nb_plan;

typedef struct nb_scheduler {
    nb_scheduler_options options;
    nb_pages pages;
    nb_slots slots;
    nb_prefix prefix;
    nb_queue running, waiting;
    nb_plan plan;
    int blocked_pages; // pages that were available when the first waiting sequence did not fit; -1: not blocked
    uint64_t n_preempted, prefix_queries_tok, prefix_hits_tok;
} nb_scheduler;

void nb_scheduler_open(nb_scheduler *scheduler, const nb_scheduler_options *options);
void nb_scheduler_close(nb_scheduler *scheduler);

// The sequence brings id, rank_us, priority, tok, n_prompt = n_tok, limit, known_input, n_prompt_row; the rest is zero.
void nb_scheduler_add(nb_scheduler *scheduler, nb_sequence *seq);
// Takes it out, in whatever state it is; what is known of it goes to the prefix index. Its tok and page stay the
// caller's.
void nb_scheduler_remove(nb_scheduler *scheduler, nb_sequence *seq);

const nb_plan *nb_scheduler_plan(nb_scheduler *scheduler); // valid until the next plan; n_item = 0: nothing to do
void nb_scheduler_commit(nb_scheduler *scheduler);         // the plan was submitted

// The n drawn tokens that count came back, of a step with n_draft drafts: 1 <= n <= 1 + n_draft.
void nb_scheduler_tokens(nb_scheduler *scheduler, nb_sequence *seq, const int32_t *tok, int n, int n_draft);

bool nb_scheduler_balanced(const nb_scheduler *scheduler); // free + idle + held = all, from counters: O(1)
bool nb_scheduler_check(const nb_scheduler *scheduler);    // everything, O(pages + slots + pages of sequences)

#endif
