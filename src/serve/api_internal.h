// What the files of the API share.
#ifndef NB_API_INTERNAL_H
#define NB_API_INTERNAL_H

#include <stdatomic.h>

#include "serve/api.h"
#include "serve/request.h"

struct nb_api {
    nb_api_options options;
    nb_request_limits limits;
    nb_constrainer *constrainer;
    int64_t created;         // seconds since 1970, of /v1/models
    _Atomic(nb_http *) http; // NULL until nb_api_attach
};

// Of calls: the server's --tool-call-parser, or without one (when calls are forced all the same) Hermes.
nb_tool_format nb_api_tool_format(const nb_api *api);
nb_str nb_api_model(const nb_api *api); // the name given back

// Handlers: user is the nb_api.
void nb_api_chat(void *user, nb_http_exchange *exchange);
void nb_api_completion(void *user, nb_http_exchange *exchange);
void nb_api_responses(void *user, nb_http_exchange *exchange);
void nb_api_messages(void *user, nb_http_exchange *exchange);
void nb_api_count_tokens(void *user, nb_http_exchange *exchange);
void nb_api_tokenize(void *user, nb_http_exchange *exchange);
void nb_api_detokenize(void *user, nb_http_exchange *exchange);

// The body as a JSON object. NULL: it is not, and the exchange was answered.
json_t *nb_api_body(nb_http_exchange *exchange);
// The request's model is one of ours, or not said.
int nb_api_check_model(const nb_api *api, nb_str model, nb_request_error *error);
// Messages as prompt text.
int nb_api_render(const nb_api *api, const nb_chat_request *request, const char *param, nb_buf *out,
                  nb_request_error *error);
// Text as token ids.
int nb_api_encode(const nb_api *api, nb_str text, const char *param, nb_ids *out, nb_request_error *error);
// Keeps the last `most` ids; -1: all.
void nb_api_truncate(nb_ids *ids, int64_t most);
void nb_api_refuse(nb_http_exchange *exchange, const nb_request_error *error);

#endif
