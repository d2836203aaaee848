// Bodies of requests: any JSON is parsed into the structs or refused with a status and a message. The first byte
// chooses the route.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "serve/request.h"

static const nb_request_limits limits = {
    .sampling = {.top_p = 1, .repetition_penalty = 1}, .vocab_size = 1000, .max_model_len = 4096};

static void check(int code, const nb_request_error *error, const nb_generation *g)
{
    if (code != NB_OK && (error->status < 400 || !error->message[0])) abort();
    if (code != NB_OK) return;
    if (g->n < 1 || g->n > NB_REQUEST_CHOICES_MAX || g->n_stop > NB_REQUEST_STOP_MAX ||
        g->n_stop_tok > NB_STOP_TOKEN_MAX)
        abort();
    for (int i = 0; i < g->n_bias; i++)
        if (g->bias[i].tok < 0 || g->bias[i].tok >= limits.vocab_size) abort();
}

static void try_completion(const json_t *body, nb_arena *arena)
{
    nb_request_error error = {0};
    nb_completion_request r;
    check(nb_request_completion(body, &limits, arena, &r, &error), &error, &r.generation);
}

static void try_chat(const json_t *body, nb_arena *arena)
{
    nb_request_error error = {0};
    nb_chat_request r;
    int code = nb_request_chat(body, &limits, arena, &r, &error);
    check(code, &error, &r.generation);
    if (code == NB_OK) nb_request_chat_drop(&r);
}

static void try_responses(const json_t *body, nb_arena *arena)
{
    nb_request_error error = {0};
    nb_responses_request r;
    int code = nb_request_responses(body, &limits, arena, &r, &error);
    check(code, &error, &r.chat.generation);
    if (code == NB_OK) nb_request_responses_drop(&r);
}

static void try_messages(const json_t *body, nb_arena *arena)
{
    nb_request_error error = {0};
    nb_messages_request r;
    int code = nb_request_messages(body, &limits, false, arena, &r, &error);
    check(code, &error, &r.chat.generation);
    if (code == NB_OK) nb_request_messages_drop(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_t *body = NULL;
    nb_error err;
    if (n == 0 || nb_json_parse((nb_str){(const char *)data + 1, n - 1}, "body", &body, &err) != NB_OK) return 0;
    nb_arena *arena = nb_arena_open(0);
    switch (data[0] & 3) {
    case 0: try_completion(body, arena); break;
    case 1: try_chat(body, arena); break;
    case 2: try_responses(body, arena); break;
    case 3: try_messages(body, arena); break;
    }
    nb_arena_close(arena);
    json_decref(body);
    return 0;
}
