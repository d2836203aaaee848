// The engine: one thread that owns the device, the page pool, the state slots and the prefix index. It speaks token ids
// only. Other threads put requests into its mailbox and get events by callback; a callback runs on the engine's thread,
// must not block, and must not call the engine except nb_engine_cancel.
//
// A request's life: waiting -> running (-> preempted -> waiting)* -> finished. Exactly one event with `finish` other
// than NB_FINISH_NONE ends it, whatever happens.
#ifndef NB_ENGINE_H
#define NB_ENGINE_H

#include "base/constraint.h"
#include "model/device.h"

enum { NB_STOP_TOKEN_MAX = 16, NB_STEP_SIZES = 20 };

typedef enum nb_finish {
    NB_FINISH_NONE,   // more events follow
    NB_FINISH_STOP,   // a stop token (it is not part of the output), or a constraint that is complete
    NB_FINISH_LENGTH, // max_new reached, or the context is full
    NB_FINISH_CANCELLED,
    NB_FINISH_ERROR, // `message` says why
} nb_finish;

typedef struct nb_event {
    uint64_t request;
    int32_t n_tok;               // tokens of this event (0 or more; several after speculation)
    const int32_t *tok;          // [n_tok]; the stop token is not among them
    const nb_row_result *detail; // [n_tok] log-probabilities, or NULL if the request did not ask
    int32_t n_prompt_detail;     // prompt_logprobs: rows for prompt tokens 1..n, in the first event only
    const nb_row_result *prompt_detail;
    nb_finish finish;
    int32_t stop_tok;           // with NB_FINISH_STOP; -1: none was drawn
    const char *message;        // with NB_FINISH_ERROR
    int32_t n_prompt, n_cached; // prompt tokens, and how many came from the prefix cache
    int64_t queued_us;          // when it was accepted
    int64_t scheduled_us;       // when the first step with it was submitted; 0: not yet
    int64_t first_us;           // when its first token came; 0: not yet
    int64_t now_us;
    int32_t n_preempted;
} nb_event;
typedef void (*nb_event_fn)(void *user, const nb_event *event);

typedef struct nb_request {
    const int32_t *prompt; // copied
    int32_t n_prompt;
    int32_t max_new; // tokens at most; the context may end it earlier; 0: the prompt is only absorbed
    int32_t min_new; // stop tokens are masked before that many
    nb_sampling sampling;
    int32_t n_bias;
    const nb_bias *bias; // copied
    int32_t n_stop;
    int32_t stop_tok[NB_STOP_TOKEN_MAX];
    int32_t n_top;        // log-probabilities of the drawn and the n_top likeliest tokens; -1: none
    int32_t n_prompt_top; // the same for the prompt; -1: none
    int32_t priority;     // lower runs first, by age within a priority; a level is worth NB_AGING_US of waiting
    bool want_logits;     // detail[].logits is set: the raw rows that the tokens were drawn from
    const nb_constraint *constraint; // NULL: none; must live until the finish event
    nb_event_fn on_event;
    void *user;
} nb_request;

typedef struct nb_engine_options {
    nb_kv_format kv;
    int64_t max_model_len;      // tokens of one sequence, prompt and output
    int max_num_seqs;           // running at once
    int max_num_batched_tokens; // of one step; raised to what max_num_seqs decodes and a page take, so that prefill
                                // goes on
    int max_waiting;            // queue; over max_num_seqs + max_waiting requests are refused with NB_ERR_LIMIT
    int n_draft;                // tokens drafted per sequence and step, where the device drafts; 0: none
    int n_page;                 // 0: as many as the device can
    int n_snapshot;             // state slots for the prefix cache; negative: as many as the device's memory suggests
                                // (nb_plan_saved_states); 0 turns the cache off where there are DeltaNet layers;
                                // ignored where there are none
    int snapshot_grid;          // tokens between snapshots inside long prompts, a multiple of NB_PAGE_TOKENS
    bool enable_prefix_caching;
} nb_engine_options;

typedef struct nb_engine nb_engine;

// Reserves the device's memory and starts the thread. The device and model stay the caller's and must outlive the
// engine.
int nb_engine_open(nb_device *device, const nb_model *model, const nb_engine_options *options, nb_engine **out,
                   nb_error *err);

// Any thread. Refuses (with a reason for people) what could never run: empty or too long prompts, bad ids, bad
// sampling.
int nb_engine_submit(nb_engine *engine, const nb_request *request, uint64_t *id, nb_error *err);
// Several at once: all of them are taken or none is. NB_ERR_LIMIT: there is no room for all now. id: [n].
int nb_engine_submit_all(nb_engine *engine, const nb_request *request, int n, uint64_t *id, nb_error *err);
void nb_engine_cancel(nb_engine *engine, uint64_t id); // any thread; the finish event still comes

// Finishes what runs and waits (drain) or cancels everything, then stops the thread.
void nb_engine_close(nb_engine *engine, bool drain);

typedef struct nb_engine_stats { // a snapshot; counters only grow
    int n_running, n_waiting;
    int n_page, n_page_free, n_page_indexed; // free + indexed + held by sequences = all
    int n_slot, n_slot_free, n_slot_saved;
    int n_slot_saved_most;               // slots that sequences never need
    uint64_t n_step, n_step_tok;         // steps, and the tokens they computed
    uint64_t step_by_tok[NB_STEP_SIZES]; // steps of at most 2^i tokens and more than 2^(i-1)
    uint64_t n_prompt_tok, n_cached_tok; // of prompts that are done; how many of them the prefix cache had
    uint64_t n_output_tok, n_preempted;
    uint64_t prefix_queries_tok, prefix_hits_tok;
    int n_draft;                            // as in the options
    uint64_t n_draft_step, n_draft_tok;     // steps of a sequence with drafts, and the drafts
    uint64_t n_accepted[NB_DRAFT_MAX];      // drafts that were right, by their place
    uint64_t finished[NB_FINISH_ERROR + 1]; // by nb_finish
    int64_t max_model_len;
    bool prefix_caching;
    bool failed; // the device is lost
} nb_engine_stats;
void nb_engine_stats_read(nb_engine *engine, nb_engine_stats *out); // any thread

#endif
