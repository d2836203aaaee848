// The API's routes, and those of them that generate nothing.
#include "serve/api_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/metrics.h"
#include "serve/openai_json.h"
#include "serve/page.h"

// ---- For all handlers

nb_tool_format nb_api_tool_format(const nb_api *api)
{
    return api->options.tool != NB_TOOL_NONE ? api->options.tool : NB_TOOL_HERMES;
}

nb_str nb_api_model(const nb_api *api)
{
    return nb_str_from(api->options.model_name[0]);
}

void nb_api_refuse(nb_http_exchange *exchange, const nb_request_error *error)
{
    nb_http_error(exchange, error->status, error->param[0] ? error->param : NULL, error->code, "%s", error->message);
}

json_t *nb_api_body(nb_http_exchange *exchange)
{
    json_t *body = NULL;
    nb_error err = {0};
    int code = nb_json_parse_last(nb_http_body(exchange), "the request body", &body, &err);
    if (code == NB_OK && json_is_object(body)) return body;
    nb_http_error(exchange, 400, NULL, "invalid_json", "%s",
                  code == NB_OK ? "the request body must be a JSON object" : err.text);
    json_decref(body);
    return NULL;
}

int nb_api_check_model(const nb_api *api, nb_str model, nb_request_error *error)
{
    if (!model.ptr) return NB_OK;
    for (int i = 0; i < api->options.n_model_name; i++)
        if (nb_str_equal_c(model, api->options.model_name[i])) return NB_OK;
    return nb_request_refuse(error, 404, "model", "model_not_found",
                             "The model `%.*s` does not exist; this server has `%s`",
                             (int)(model.len > 200 ? 200 : model.len), model.ptr, api->options.model_name[0]);
}

int nb_api_render(const nb_api *api, const nb_chat_request *request, const char *param, nb_buf *out,
                  nb_request_error *error)
{
    nb_error err = {0};
    nb_chat_input input = {
        .messages = request->messages,
        .tools = request->tools,
        .variables = request->variables,
        .add_generation_prompt = request->add_generation_prompt,
        .continue_final_message = request->continue_final_message,
    };
    if (!api->options.chat)
        return nb_request_refuse(error, 400, param, "no_chat_template",
                                 "this model has no chat template; use /v1/completions");
    if (nb_chat_render(api->options.chat, &input, out, &err) == NB_OK) return NB_OK;
    return nb_request_refuse(error, 400, param, NULL, "%s", err.text);
}

int nb_api_encode(const nb_api *api, nb_str text, const char *param, nb_ids *out, nb_request_error *error)
{
    nb_error err = {0};
    if (nb_tokenizer_encode(api->options.tokenizer, text, true, out, &err) == NB_OK) return NB_OK;
    return nb_request_refuse(error, 400, param, NULL, "%s", err.text);
}

void nb_api_truncate(nb_ids *ids, int64_t most)
{
    if (most < 0 || ids->n <= most) return;
    memmove(ids->id, ids->id + ids->n - most, sizeof(*ids->id) * (size_t)most);
    ids->n = most;
}

// ---- Models, health, version, metrics

static void add_model(nb_buf *out, const nb_api *api, int i)
{
    nb_buf_add_c(out, "{\"id\":");
    nb_openai_string(out, nb_str_from(api->options.model_name[i]));
    nb_buf_printf(out,
                  ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"nibble\",\"root\":", (long long)api->created);
    nb_openai_string(out, nb_api_model(api));
    nb_buf_printf(out, ",\"parent\":null,\"max_model_len\":%lld,\"permission\":[]}",
                  (long long)api->options.max_model_len);
}

static void handle_models(void *user, nb_http_exchange *exchange)
{
    const nb_api *api = user;
    nb_buf out = {0};
    nb_buf_add_c(&out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < api->options.n_model_name; i++) {
        if (i) nb_buf_add_c(&out, ",");
        add_model(&out, api, i);
    }
    nb_buf_add_c(&out, "]}");
    nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    nb_buf_drop(&out);
}

static void handle_model(void *user, nb_http_exchange *exchange)
{
    const nb_api *api = user;
    nb_request_error error;
    nb_buf out = {0};
    nb_str name = nb_http_path_rest(exchange);
    if (nb_api_check_model(api, name, &error) != NB_OK) {
        nb_api_refuse(exchange, &error);
        return;
    }
    int i = 0;
    while (!nb_str_equal_c(name, api->options.model_name[i])) i++;
    add_model(&out, api, i);
    nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    nb_buf_drop(&out);
}

static bool has_failed(const nb_api *api)
{
    nb_engine_stats stats;
    nb_engine_stats_read(api->options.engine, &stats);
    return stats.failed;
}

static void handle_health(void *user, nb_http_exchange *exchange)
{
    if (has_failed(user))
        nb_http_error(exchange, 503, NULL, "engine_failed", "the device has failed; restart the server");
    else
        nb_http_reply(exchange, 200, "text/plain", (nb_str){0});
}

static void handle_ready(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    const nb_http *http = atomic_load(&api->http);
    if (!http || nb_http_is_draining(http) || has_failed(api))
        nb_http_error(exchange, 503, NULL, "not_ready", "not ready: starting, draining or failed");
    else
        nb_http_reply(exchange, 200, "text/plain", NB_STR("ready\n"));
}

static void handle_version(void *user, nb_http_exchange *exchange)
{
    const nb_api *api = user;
    nb_buf out = {0};
    nb_buf_add_c(&out, "{\"version\":");
    nb_openai_string(&out, nb_str_from(api->options.version));
    nb_buf_add_c(&out, "}");
    nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    nb_buf_drop(&out);
}

static void handle_metrics(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_http *http = atomic_load(&api->http);
    nb_engine_stats engine;
    nb_http_stats connections;
    nb_buf out = {0};
    nb_engine_stats_read(api->options.engine, &engine);
    if (http) nb_http_stats_read(http, &connections);
    nb_metrics_write(api->options.metrics, &engine, http ? &connections : NULL, &out);
    nb_http_reply(exchange, 200, NB_METRICS_CONTENT_TYPE, nb_buf_str(&out));
    nb_buf_drop(&out);
}

// ---- Opening

int nb_api_open(const nb_api_options *options, nb_api **out, nb_error *err)
{
    if (options->n_model_name < 1 || options->n_model_name > NB_API_NAMES_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "a server needs 1 to %d model names", NB_API_NAMES_MAX);
    nb_api *api = nb_alloc(sizeof(*api));
    api->options = *options;
    api->limits = (nb_request_limits){options->sampling, options->vocab_size, options->max_model_len};
    api->constrainer = nb_constrainer_open(options->tokenizer, options->vocab_size);
    api->created = nb_clock_unix();
    *out = api;
    return NB_OK;
}

int nb_api_routes(nb_api *api, nb_http_route *route)
{
    const nb_http_route page = {"GET",        "/",           nb_page_get, (void *)(uintptr_t)&nb_page_built,
                                NB_HTTP_OPEN, NB_HTTP_OPENAI};
    const nb_http_route all[] = {
        {"POST", "/v1/chat/completions", nb_api_chat, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/v1/completions", nb_api_completion, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/v1/responses", nb_api_responses, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/v1/messages", nb_api_messages, api, NB_HTTP_KEYED, NB_HTTP_ANTHROPIC},
        {"POST", "/v1/messages/count_tokens", nb_api_count_tokens, api, NB_HTTP_KEYED, NB_HTTP_ANTHROPIC},
        {"GET", "/v1/models", handle_models, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/v1/models/*", handle_model, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/tokenize", nb_api_tokenize, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/detokenize", nb_api_detokenize, api, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/version", handle_version, api, NB_HTTP_OPEN, NB_HTTP_OPENAI},
        {"GET", "/health", handle_health, api, NB_HTTP_ALWAYS, NB_HTTP_OPENAI},
        {"GET", "/readyz", handle_ready, api, NB_HTTP_ALWAYS, NB_HTTP_OPENAI},
        {"GET", "/metrics", handle_metrics, api, NB_HTTP_ALWAYS, NB_HTTP_OPENAI},
    };
    int n = sizeof(all) / sizeof(all[0]) - (api->options.metrics ? 0 : 1);
    memcpy(route, all, sizeof(all[0]) * (size_t)n);
    if (!api->options.no_page) route[n++] = page;
    return n;
}

void nb_api_attach(nb_api *api, nb_http *http)
{
    atomic_store(&api->http, http);
}

void nb_api_close(nb_api *api)
{
    nb_constrainer_close(api->constrainer);
    free(api);
}
