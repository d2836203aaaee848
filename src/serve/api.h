// The OpenAI API over an engine: text, JSON and HTTP on one side, token ids on the other. Requests are parsed into
// plain structs (request*.c), run (api_job.c, chat_api.c, completion_api.c) and written as JSON (openai_*.c).
#ifndef NB_API_H
#define NB_API_H

#include "engine/engine.h"
#include "serve/http.h"
#include "text/chat.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

typedef struct nb_api nb_api;
struct nb_metrics;

enum { NB_API_ROUTES_MAX = 24, NB_API_NAMES_MAX = 8 };

typedef struct nb_api_options { // everything is borrowed and must outlive the API
    nb_engine *engine;
    const nb_tokenizer *tokenizer;
    const nb_chat *chat;                      // NULL: chat requests are refused with a sentence that says why
    struct nb_metrics *metrics;               // NULL: none are kept
    const char *model_name[NB_API_NAMES_MAX]; // names that requests may use; the first is given back
    int n_model_name;
    const char *version; // of the program, for /version
    int vocab_size;
    int64_t max_model_len;
    nb_reasoning_format reasoning;
    nb_tool_format tool;
    bool auto_tool_choice; // tools with tool_choice "auto" are allowed
    bool no_page;          // nothing at /
    nb_sampling sampling;  // what a request leaves open: generation_config.json's values, else neutral ones
    int32_t stop_tok[NB_STOP_TOKEN_MAX]; // the checkpoint's end tokens
    int n_stop;
} nb_api_options;

int nb_api_open(const nb_api_options *options, nb_api **out, nb_error *err);

// Fills `route` [NB_API_ROUTES_MAX] for nb_http_open; returns how many.
int nb_api_routes(nb_api *api, nb_http_route *route);

// The server that the routes were given to, for /readyz. Before it is called /readyz answers 503.
void nb_api_attach(nb_api *api, nb_http *http);

// After nb_http_close, when no exchange is open any more.
void nb_api_close(nb_api *api);

#endif
