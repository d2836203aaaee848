// A sequence: a list of tokens, a list of KV pages, one state slot, and how far the device has come with it. Only the
// scheduler changes it.
//
//        add                admit                 token: stop or limit
//   (new) ---> WAITING ---------------> RUNNING ------------------------> (removed)
//                 ^                        |
//                 +------- preempt --------+        remove (a cancel) is possible from both
//
// A step is planned while the one before it still runs, so n_past counts what was given to the device and n_tok what is
// known here. n_pending tokens are drawn but not known yet; the device finds the newest as NB_TOKEN_LAST.
#ifndef NB_SEQUENCE_H
#define NB_SEQUENCE_H

#include "model/batch.h"

enum {
    NB_PRIORITY_MAX = 10,          // priorities are clamped to -NB_PRIORITY_MAX .. NB_PRIORITY_MAX
    NB_AGING_US = 5 * 1000 * 1000, // a level of priority is worth this much waiting
};

typedef struct nb_sequence {
    uint64_t id;     // ascending by arrival
    int64_t rank_us; // arrival + priority * NB_AGING_US: the order in which sequences are served
    int32_t priority;
    bool running;
    bool known_input; // constrained or speculating: the next step needs the tokens of this one
    bool scheduled;   // in the plan being made

    int32_t n_prompt, n_tok; // n_tok: prompt and output tokens known
    int32_t n_pending;       // 0, 1 or, between commit and the result of the step before, 2
    int32_t limit;           // output tokens at most
    int32_t *tok;            // [n_tok], room for n_prompt + limit once it ran

    int32_t n_propose;           // drafts that the device shall propose in each step
    int32_t n_draft;             // proposed behind the last token and not tried yet
    int32_t draft[NB_DRAFT_MAX]; // [n_draft], then those of the step under way

    int32_t n_past; // tokens given to the device, this step's included after commit
    int32_t fill;   // tokens known when it was admitted: up to here it prefills, from here on it decodes
    int32_t slot;   // -1 while waiting
    int32_t n_page;
    int32_t *page;     // [n_page], cover n_past and, while it prefills, fill
    int32_t n_indexed; // leading pages that are nodes of the prefix index
    int32_t n_saved;   // prefix length at which the state was last saved (or found saved)
    int32_t n_reply;   // the same of the last state saved while decoding, 0: none

    int32_t n_prompt_row;      // prompt rows wanted: n_prompt - 1 with prompt_logprobs, else 0
    int32_t n_prompt_row_done; // of these, how many came back
    int32_t n_cached;          // prompt tokens found in the prefix index at the first admission, -1 before
    int32_t n_preempted;
} nb_sequence;

int64_t nb_sequence_rank_us(int64_t accepted_us, int32_t priority);
bool nb_sequence_before(const nb_sequence *a, const nb_sequence *b); // a total order: rank, then id
int32_t nb_sequence_page_count(int64_t n_tok);

// Sequences in that order; the capacity is fixed.
typedef struct nb_queue {
    nb_sequence **at; // [n]
    int n, cap;
} nb_queue;

void nb_queue_open(nb_queue *queue, int cap);
void nb_queue_close(nb_queue *queue);
void nb_queue_add(nb_queue *queue, nb_sequence *seq);
void nb_queue_remove(nb_queue *queue, const nb_sequence *seq);
nb_sequence *nb_queue_last(const nb_queue *queue); // NULL when empty

#endif
