// A server of the demo checkpoint for tests of the API: tokenizer, chat template, engine on the CPU device, HTTP on a
// free port. One per test program, closed at exit.
#ifndef NB_TEST_API_SERVER_H
#define NB_TEST_API_SERVER_H

#include "base/json.h"
#include "serve/api.h"

typedef struct api_server {
    nb_engine *engine;
    nb_tokenizer *tokenizer;
    nb_http *http;
    nb_api *api;
    int port;
} api_server;

const api_server *api_server_get(void);

// POST with a body; the reply's body as JSON (NULL if it is none), which the caller drops. Returns the status.
int api_post(const char *path, const char *body, json_t **reply);
int api_get(const char *path, json_t **reply);
// A streamed answer: each event's data parsed, in an array; fails the test unless the stream is whole and ends in
// [DONE].
json_t *api_stream(const char *path, const char *body);
// The same where each event has a name, which must be the "type" of its data, and nothing but the end ends the stream.
json_t *api_named_stream(const char *path, const char *body);

// The string, or integer, at "choices.0.message.content"; fails the test if there is none.
const char *api_text_at(const json_t *value, const char *path);
json_int_t api_int_at(const json_t *value, const char *path);
const json_t *api_at(const json_t *value, const char *path); // NULL if there is none

#endif
