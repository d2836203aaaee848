// What crosses between the engine's thread and all others: new jobs, cancels, the order to close, and the statistics.
// One mutex, one condition, held for a few instructions. Everything else of the engine belongs to its thread.
#ifndef NB_MAILBOX_H
#define NB_MAILBOX_H

#include <pthread.h>

#include "engine/job.h"

typedef struct nb_mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    nb_job *first, **last; // new jobs, in order of arrival
    uint64_t *cancel;      // [n_cancel] ids
    int n_cancel, cap_cancel;
    int n_new, n_inside, max_alive; // jobs here, jobs that the engine has, bound of the sum
    uint64_t n_id;
    bool closing, drain;
    nb_engine_stats stats; // as of the last step
} nb_mailbox;

typedef struct nb_letters { // what the engine's thread takes out
    nb_job *job;            // a list by `next`
    uint64_t *cancel;       // [n_cancel], valid until the next take
    int n_cancel, cap_cancel;
    bool closing, drain;
} nb_letters;

void nb_mailbox_open(nb_mailbox *box, int max_alive);
void nb_mailbox_close(nb_mailbox *box);

// Any thread. Gives n jobs (a list by `next`) their ids and keeps them, or refuses all (NB_ERR_INPUT: they can never
// fit, NB_ERR_LIMIT, NB_ERR_DEVICE) and leaves them the caller's.
int nb_mailbox_put(nb_mailbox *box, nb_job *job, int n, uint64_t *id, nb_error *err);
void nb_mailbox_cancel(nb_mailbox *box, uint64_t id);
void nb_mailbox_shut(nb_mailbox *box, bool drain); // no more jobs
void nb_mailbox_read(nb_mailbox *box, nb_engine_stats *out);

// The engine's thread. `block` waits for something to be there; `letters` keeps its memory from call to call.
void nb_mailbox_take(nb_mailbox *box, bool block, nb_letters *letters);
void nb_mailbox_leave(nb_mailbox *box); // one of the jobs inside is over: there is room for another
void nb_mailbox_publish(nb_mailbox *box, const nb_engine_stats *stats);

#endif
