// Shared by the files of the API layer: the API itself, a running request (generation) with its choices, and the
// writers of replies.
//
// Threads: a generation is begun on an HTTP thread and goes on in the engine's callbacks, all of them on one thread.
// Its lock keeps the first callbacks back until the submitting thread is through. The client-gone callback touches only
// atomics.
#ifndef NB_API_INTERNAL_H
#define NB_API_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "serve/api_request.h"
#include "serve/metrics.h"
#include "serve/sse.h"

struct nb_api {
    nb_api_options options;
    _Atomic(nb_http *) http; // NULL until attached
    int64_t created;         // seconds since 1970, of the models
};

typedef struct nb_tool_call {
    char id[40];
    nb_buf name, arguments;
} nb_tool_call;

struct nb_generation;

typedef struct nb_choice { // one sequence of the engine, as text
    struct nb_generation *generation;
    int index;
    const nb_prompt *prompt;
    _Atomic uint64_t engine_id; // 0: not submitted
    nb_token_stream stream;
    nb_buf held;              // text that may be the beginning of a stop string
    bool stopped;             // a stop string was found; what still comes is dropped
    bool announced;           // streaming: the role was sent
    nb_output_parser *parser; // chat
    nb_buf content, reasoning;
    nb_tool_call *tool;
    int n_tool;
    json_t *logprobs;        // of tokens not yet sent (streaming) or of all of them; NULL: none wanted
    int64_t text_offset;     // completions: characters so far
    json_t *prompt_logprobs; // NULL: none wanted
    nb_finish finish;
    int32_t n_prompt, n_cached, n_output;
    int64_t last_us;
} nb_choice;

typedef struct nb_generation {
    nb_api *api;
    nb_http_exchange *exchange;
    nb_api_request request;
    char id[64];
    int64_t created;
    pthread_mutex_t lock;
    nb_choice *choice; // [n_choice]
    int n_choice, n_open;
    atomic_bool gone; // the client left, or reads too slowly
    bool streaming;   // the stream is open
    nb_fault fault;   // status 0: none
} nb_generation;

// generation.c. Takes the request over; answers the exchange sooner or later in every case.
void nb_generation_begin(nb_api *api, nb_http_exchange *exchange, nb_api_request *request);

// choice.c
void nb_choice_open(nb_choice *choice, nb_generation *generation, int index, const nb_prompt *prompt);
void nb_choice_close(nb_choice *choice);
void nb_choice_take(nb_choice *choice, const nb_event *event); // tokens of an event; may set `stopped`
void nb_choice_end(nb_choice *choice);                         // no more tokens: gives out what was held

// logprobs.c: one token's entry, appended to choice->logprobs in the endpoint's own shape.
void nb_logprobs_add(nb_choice *choice, int32_t tok, const nb_row_result *row);
void nb_logprobs_add_prompt(nb_choice *choice, const nb_event *event);

// reply.c
void nb_reply_part(nb_choice *choice, const nb_part *part); // streaming: a chunk for a piece of the answer
void nb_reply_finish_chunk(nb_choice *choice);
void nb_reply_usage_chunk(nb_generation *generation);
void nb_reply_whole(nb_generation *generation);
void nb_reply_json(nb_http_exchange *exchange, json_t *value); // status 200; takes the reference
json_t *nb_reply_text(nb_str text);                            // a JSON string; what is not UTF-8 becomes U+FFFD

#endif
