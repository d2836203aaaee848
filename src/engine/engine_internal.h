// What the engine's files share. engine.c: open, the loop, close; engine_digest.c: results become tokens and events.
#ifndef NB_ENGINE_INTERNAL_H
#define NB_ENGINE_INTERNAL_H

#include "engine/batch_writer.h"
#include "engine/mailbox.h"
#include "engine/scheduler.h"

typedef struct nb_flight { // a step that was submitted
    int n_item;
    nb_plan_item *item; // [n_item] as planned; the sequences are jobs
} nb_flight;

struct nb_engine {
    nb_device *device;
    int vocab_size;
    int64_t context; // tokens of the longest possible sequence
    int n_draft;
    pthread_t thread;
    nb_mailbox mailbox; // shared; all that follows belongs to the engine's thread
    nb_letters letters;
    nb_scheduler scheduler;
    nb_batch_writer writer;
    nb_flight flight[NB_IN_FLIGHT]; // a ring
    int flight_first, n_flight;
    nb_job **job; // [n_job] all that are not finished
    int n_job;
    int64_t now_us;        // when the results being digested came
    nb_engine_stats stats; // the counters; levels are filled in when it is published
    nb_error error;
};

// Waits for the oldest step under way and hands its tokens on.
int nb_engine_digest(nb_engine *engine, nb_error *err);

// Sends the last event of a job and takes it out. `tok`: stop token, or -1. The memory lives on while steps have it.
void nb_engine_finish(nb_engine *engine, nb_job *job, nb_event *event);

// The event that says where a job stands at `now_us`, without tokens.
nb_event nb_engine_event(const nb_job *job, nb_finish finish, int64_t now_us);

// The job is not in one more of the steps under way; frees it when that was the last thing to wait for.
void nb_engine_leave_flight(nb_job *job);

#endif
