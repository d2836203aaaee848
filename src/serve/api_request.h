// A request of the completion endpoints as plain data: parsed and checked once, so that nothing behind it looks at JSON
// again. Unknown fields are accepted, as vLLM does; a known field of a wrong type or out of range is refused with its
// name.
#ifndef NB_API_REQUEST_H
#define NB_API_REQUEST_H

#include "serve/api.h"

enum {
    NB_API_CHOICES_MAX = 128,     // n
    NB_API_STOPS_MAX = 16,        // stop strings
    NB_API_STOP_BYTES_MAX = 1024, // of one stop string
    NB_API_BIASES_MAX = 4096,     // entries of logit_bias
    NB_API_MESSAGES_MAX = 65536,
    NB_API_PROMPTS_MAX = 1024, // of one completion request
    NB_API_TOOLS_MAX = 1024,
};

typedef struct nb_fault { // what the client gets instead of an answer
    int status;
    const char *param, *code; // constant strings or NULL
    nb_error err;
} nb_fault;

typedef struct nb_prompt {
    nb_str text; // of a text prompt
    nb_ids ids;
} nb_prompt;

typedef struct nb_api_request {
    nb_arena *arena;
    json_t *body; // texts below point into it
    bool chat;
    const json_t *messages, *tools;
    json_t *variables; // further template variables; never NULL for chat
    bool parse_tools;
    nb_prompt *prompt; // [n_prompt]; chat: one, filled by rendering
    int n_prompt;

    int n;              // choices of a prompt
    int64_t max_tokens; // -1: as many as fit
    int min_tokens;
    nb_sampling sampling;
    nb_str stop[NB_API_STOPS_MAX];
    int n_stop;
    int32_t stop_tok[NB_STOP_TOKEN_MAX];
    int n_stop_tok;
    nb_bias *bias;
    int n_bias;
    int n_top;        // log-probabilities wanted: -1 none, else how many alternatives
    int n_prompt_top; // the same for the prompt
    bool echo, stream, include_usage, include_stop;
    bool skip_special;
    const char *model; // as the reply names it
} nb_api_request;

// Parse the body of /v1/chat/completions or /v1/completions. On success the caller drops the request; on failure
// `fault` says what to answer and nothing is held.
int nb_api_request_chat(const nb_api_options *api, nb_str body, nb_api_request *out, nb_fault *fault);
int nb_api_request_completion(const nb_api_options *api, nb_str body, nb_api_request *out, nb_fault *fault);
void nb_api_request_drop(nb_api_request *request);

// Fills a fault; returns the code of its error.
int nb_fault_set(nb_fault *fault, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

// The model a request names: NULL gives the first one. Unknown: 404.
int nb_api_model_find(const nb_api_options *api, const char *name, const char **out, nb_fault *fault);

// Shared by the two parsers.
int nb_api_request_common(const nb_api_options *api, nb_api_request *r, nb_fault *fault);
int nb_api_want_int(const json_t *body, const char *key, int64_t low, int64_t high, int64_t *out, nb_fault *fault);
int nb_api_want_bool(const json_t *body, const char *key, bool *out, nb_fault *fault);

// Encodes a prompt and checks it against the context; max_tokens is filled in or checked.
int nb_api_prompt_encode(const nb_api_options *api, const nb_api_request *r, nb_str text, nb_ids *out, nb_fault *fault);
int nb_api_prompt_check(const nb_api_options *api, const nb_api_request *r, const nb_ids *ids, nb_fault *fault);

#endif
