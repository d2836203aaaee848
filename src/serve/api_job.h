// A job: one generating HTTP request, its choices at the engine, and its reply. Each API (chat_api.c, completion_api.c,
// ...) says by a table of functions what is written; everything else is common: submitting, text from tokens, stop
// strings, streaming, usage, cancelling, the end.
//
// Threads. The HTTP thread makes a job and submits its choices; from then on the engine's thread alone works on it, by
// events. Each choice, and the submitting handler, hold a reference; whoever drops the last one replies and frees.
// Another HTTP thread may report that the client is gone: it only reads the ids and cancels them.
#ifndef NB_API_JOB_H
#define NB_API_JOB_H

#include <stdatomic.h>

#include "serve/api.h"
#include "serve/metrics.h"
#include "serve/openai_json.h"
#include "serve/request.h"
#include "serve/stream_stop.h"

typedef struct nb_api_job nb_api_job;
typedef struct nb_choice_constraint nb_choice_constraint;

typedef struct nb_choice {
    nb_api_job *job;
    int index;                // in the reply
    const nb_ids *prompt;     // in job->prompt
    atomic_uint_least64_t id; // at the engine; 0: not submitted yet
    nb_token_stream tokens;
    nb_stop stop;
    nb_buf text; // the step's new text, before stop strings and after
    nb_buf certain;
    bool begun;         // an event has come
    bool done;          // `finish` is settled; what the engine still sends is dropped
    const char *finish; // "stop", "length", ...
    int stop_index;     // the stop string found, or -1
    int32_t stop_tok;   // the request's stop token drawn, or -1
    nb_usage usage;
    int64_t queued_us, scheduled_us, first_us; // as events tell
    int64_t last_us;
    nb_str head;     // of each chunk, see openai_stream.h
    nb_buf logprobs; // not given out yet
    nb_buf prompt_logprobs;
    nb_choice_constraint *constraint; // NULL: the output is free
    void *own;                        // of the kind
} nb_choice;

typedef struct nb_api_job_kind {
    const char *id_prefix, *param; // "chatcmpl-"; the field that holds the prompt
    const char *chunk_object;      // "chat.completion.chunk"; NULL where streams have events of their own
    void (*begin)(nb_choice *choice, const nb_event *event);                    // its first event
    void (*token)(nb_choice *choice, int32_t tok, const nb_row_result *detail); // detail NULL: not asked for
    void (*text)(nb_choice *choice, nb_str text);
    void (*flush)(nb_choice *choice);  // the event is digested: nothing may wait that could be sent; NULL: nothing does
    void (*finish)(nb_choice *choice); // all text was given; choice->finish says why
    void (*end_stream)(nb_api_job *job);         // the last events: nothing is left to come, or job->fail_status is set
    void (*reply)(nb_api_job *job, nb_buf *out); // the whole answer, when it is not streamed
    void (*drop)(nb_api_job *job);
} nb_api_job_kind;

struct nb_api_job {
    nb_api *api;
    nb_http_exchange *exchange;
    const nb_api_job_kind *kind;
    nb_arena *arena;
    json_t *body;
    const nb_generation *generation;
    void *own; // of the kind
    char id[NB_HTTP_ID_MAX + 16];
    nb_str id_json; // with quotes
    int64_t created;
    nb_ids *prompt; // [n_prompt]
    int n_prompt;
    nb_choice *choice; // [n_choice]
    int n_choice;
    atomic_int n_ref;
    atomic_bool cancelled;  // the client is gone, or something failed
    bool streaming;         // the response has begun
    atomic_int fail_status; // 0: nothing failed. The first failure is kept
    char fail_text[512];    // written by who set fail_status, read when all references are gone
    nb_buf chunk;           // being put together
};

// `own` and `generation` must live in the job's arena, or be freed by kind->drop. Takes the body.
nb_api_job *nb_api_job_open(nb_api *api, nb_http_exchange *exchange, const nb_api_job_kind *kind, json_t *body,
                            nb_arena *arena);
// Gives up a job that was not started, with an error reply.
void nb_api_job_refuse(nb_api_job *job, const nb_request_error *error);
// The prompts are there (job->prompt): checks lengths, makes n choices of each, submits them. Always finishes the
// exchange.
void nb_api_job_start(nb_api_job *job);

// For the kinds, on the engine's thread: sends job->chunk as an event and clears it. `name` of the event: NULL for
// none.
void nb_api_job_send(nb_api_job *job, const char *name);
void nb_api_job_add_usage(nb_buf *out, const nb_api_job *job);         // of all choices
void nb_api_job_add_stop_reason(nb_buf *out, const nb_choice *choice); // a string, a token id, or null
void nb_api_job_add_prompt_logprobs(nb_buf *out, const nb_choice *choice);

#endif
