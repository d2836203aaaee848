// A server with the OpenAI API, seen from its client: address, key, model, and the calls around a load run.
#ifndef NB_ENDPOINT_H
#define NB_ENDPOINT_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"

enum { NB_ENDPOINT_CALL_TIMEOUT_S = 60 };
#define NB_ENDPOINT_REPLY_BYTES_MAX ((size_t)64 << 20)

typedef struct nb_endpoint {
    const char *url;  // "http://127.0.0.1:8000"
    const char *path; // "/v1/completions"
    const char *model;
    const char *tokenizer_path; // "/tokenize", or NULL when the server has none
    bool chat;                  // path is a chat endpoint
    bool insecure;              // HTTPS certificates are not checked
    struct curl_slist *header;  // sent with every request
} nb_endpoint;

// A header "Name: value" for every request.
void nb_endpoint_header(nb_endpoint *endpoint, const char *name, const char *value);
void nb_endpoint_drop(nb_endpoint *endpoint);

// A handle for a POST (body given) or GET to url + path; the body must outlive it. NULL never comes back.
CURL *nb_endpoint_easy(const nb_endpoint *endpoint, const char *path, const nb_buf *body);

// A blocking call. A status other than 200 is NB_ERR_INPUT with the server's message; no answer is NB_ERR_IO. The reply
// is appended to `out`, or parsed.
int nb_endpoint_text(const nb_endpoint *endpoint, const char *path, const nb_buf *body, nb_buf *out, nb_error *err);
int nb_endpoint_call(const nb_endpoint *endpoint, const char *path, const nb_buf *body, json_t **reply, nb_error *err);

// The message of an error reply: the API's, or the first line of the body, into `out`.
void nb_endpoint_error_text(nb_str body, nb_buf *out);

// Waits until /v1/models answers, at most `timeout_s` (0: one try), and gives the first model's name.
int nb_endpoint_first_model(const nb_endpoint *endpoint, int64_t timeout_s, nb_arena *arena, const char **model,
                            nb_error *err);

// Token ids of a text, without those a tokenizer adds itself, in `arena`.
int nb_endpoint_tokenize(const nb_endpoint *endpoint, nb_str text, nb_arena *arena, int32_t **id, int *n_id,
                         nb_error *err);

#endif
