#include "support/fake_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

static void must(int code, const nb_error *err)
{
    if (code == NB_OK) return;
    fprintf(stderr, "fake server: %s\n", err->text);
    abort();
}

static void open_engine(fake_server *s, const fake_server_options *o)
{
    nb_error err = {0};
    nb_fake_options fake = o->fake;
    fake.vocab_size = nb_tokenizer_vocab_size(s->tokenizer);
    s->model.config.vocab_size = fake.vocab_size;
    s->device = nb_fake_open(&fake);
    nb_engine_options options = {
        .max_model_len = o->max_model_len,
        .max_num_seqs = o->max_num_seqs,
        .max_num_batched_tokens = 4096,
        .max_waiting = o->max_waiting,
        .n_page = o->max_num_seqs * (int)(o->max_model_len / NB_PAGE_TOKENS + 2),
        .snapshot_grid = NB_PAGE_TOKENS,
        .enable_prefix_caching = true,
    };
    must(nb_engine_open(s->device, &s->model, &options, &s->engine, &err), &err);
}

static void open_api(fake_server *s, const fake_server_options *o)
{
    nb_error err = {0};
    nb_api_options options = {
        .engine = s->engine,
        .tokenizer = s->tokenizer,
        .chat = s->chat,
        .metrics = s->metrics,
        .model_name = {"fake"},
        .n_model_name = 1,
        .version = "0",
        .vocab_size = s->model.config.vocab_size,
        .max_model_len = o->max_model_len,
        .reasoning = NB_REASONING_QWEN3,
        .tool = NB_TOOL_QWEN3_XML,
        .auto_tool_choice = true,
        .sampling = {.top_p = 1, .repetition_penalty = 1},
    };
    must(nb_api_open(&options, &s->api, &err), &err);
}

fake_server *fake_server_open(const fake_server_options *given)
{
    nb_error err = {0};
    nb_http_route route[NB_API_ROUTES_MAX];
    fake_server *s = nb_alloc(sizeof(*s));
    fake_server_options o = *given;
    if (!o.max_num_seqs) o.max_num_seqs = 64;
    if (!o.max_model_len) o.max_model_len = 1024;
    nb_log_open(NB_LOG_OFF, false);
    must(nb_tokenizer_open(NB_SOURCE_DIR "/models/demo", &s->tokenizer, &err), &err);
    must(nb_chat_open(NB_SOURCE_DIR "/models/demo", NULL, &s->chat, &err), &err);
    s->metrics = nb_metrics_open("fake", o.max_model_len);
    open_engine(s, &o);
    open_api(s, &o);
    nb_http_options http = {
        .host = "127.0.0.1",
        .route = route,
        .n_route = nb_api_routes(s->api, route),
        .n_thread = o.n_thread ? o.n_thread : 1,
        .stream_buffer_max_bytes = o.stream_buffer_max_bytes,
    };
    must(nb_http_open(&http, &s->http, &err), &err);
    nb_api_attach(s->api, s->http);
    s->port = nb_http_port(s->http);
    return s;
}

void fake_server_close(fake_server *s)
{
    if (s->engine) nb_engine_close(s->engine, false);
    nb_http_close(s->http);
    nb_api_close(s->api);
    s->device->ops->close(s->device);
    nb_metrics_close(s->metrics);
    nb_chat_close(s->chat);
    nb_tokenizer_close(s->tokenizer);
    free(s);
}
