// A job: a request inside the engine, from submit to the last step that has it in flight.
#ifndef NB_JOB_H
#define NB_JOB_H

#include "engine/engine.h"
#include "engine/sequence.h"
#include "engine/tally.h"

typedef struct nb_job {
    nb_sequence seq;     // first member: the scheduler's view
    struct nb_job *next; // in the mailbox
    int place;           // in the engine's list of jobs
    nb_sampling sampling;
    int32_t n_bias, n_stop, min_new, n_top, n_prompt_top;
    nb_bias *bias; // [n_bias]
    int32_t stop_tok[NB_STOP_TOKEN_MAX];
    nb_constraint constraint;
    bool constrained;
    bool penalized;   // the tally is kept
    bool want_logits; // rows of raw logits go with the tokens
    nb_tally tally;
    nb_row_result *prompt_detail; // [n_prompt_row]
    nb_event_fn on_event;
    void *user;
    int64_t accepted_us, scheduled_us, first_us; // 0: not yet
    int n_flight;                                // steps under way that have it
    bool finished;                               // its last event was sent; it only waits for n_flight = 0
} nb_job;

// Refuses what could never run. `context` is the longest possible sequence.
int nb_job_check(const nb_request *request, int vocab_size, int64_t context, nb_error *err);

// Of a checked request. n_propose: drafts that the engine asks for in each step; a constrained request, whose next
// token depends on more than the tokens so far, asks only so that the device's drafting module sees its tokens.
nb_job *nb_job_open(const nb_request *request, int64_t context, int n_propose, int64_t now_us);
void nb_job_close(nb_job *job);

static inline nb_job *nb_job_of(nb_sequence *seq)
{
    return (nb_job *)seq;
}
static inline int32_t nb_job_n_output(const nb_job *job)
{
    return job->seq.n_tok - job->seq.n_prompt;
}
bool nb_job_stops(const nb_job *job, int32_t tok);

#endif
