// The routes: completions are handed to generation.c, everything small is answered here.
#include "serve/api.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/api_internal.h"

static void fail(nb_http_exchange *exchange, const nb_fault *fault)
{
    nb_http_error(exchange, fault->status, fault->param, fault->code, "%s", fault->err.text);
}

// Without a seed every request draws its own.
static void give_seed(nb_api_request *r)
{
    const json_t *seed = json_object_get(r->body, "seed");
    if (!seed || json_is_null(seed))
        r->sampling.seed = (uint64_t)nb_clock_us() * 0x9E3779B97F4A7C15u ^ (uintptr_t)r->body;
}

static void post_chat(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_api_request request;
    nb_fault fault;
    if (nb_api_request_chat(&api->options, nb_http_body(exchange), &request, &fault) != NB_OK) {
        fail(exchange, &fault);
        return;
    }
    give_seed(&request);
    nb_generation_begin(api, exchange, &request);
}

static void post_completion(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_api_request request;
    nb_fault fault;
    if (nb_api_request_completion(&api->options, nb_http_body(exchange), &request, &fault) != NB_OK) {
        fail(exchange, &fault);
        return;
    }
    give_seed(&request);
    nb_generation_begin(api, exchange, &request);
}

static json_t *model_object(const nb_api *api, const char *name)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:n, s:I}", "id", name, "object", "model", "created",
                     (json_int_t)api->created, "owned_by", "nibble", "root", api->options.model_name[0], "parent",
                     "max_model_len", (json_int_t)api->options.max_model_len);
}

static void get_models(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    json_t *list = json_array();
    for (int i = 0; i < api->options.n_model_name; i++)
        json_array_append_new(list, model_object(api, api->options.model_name[i]));
    nb_reply_json(exchange, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

static void get_model(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_str rest = nb_http_path_rest(exchange);
    for (int i = 0; i < api->options.n_model_name; i++) {
        if (!nb_str_equal_c(rest, api->options.model_name[i])) continue;
        nb_reply_json(exchange, model_object(api, api->options.model_name[i]));
        return;
    }
    nb_http_error(exchange, 404, "model", "model_not_found",
                  "there is no model of that name; /v1/models lists what there is");
}

static int read_body(nb_http_exchange *exchange, json_t **body, nb_fault *fault)
{
    *fault = (nb_fault){0};
    nb_error err;
    if (nb_json_parse(nb_http_body(exchange), "the request body", body, &err) != NB_OK)
        return nb_fault_set(fault, 400, NULL, NULL, "%s", err.text);
    if (json_is_object(*body)) return NB_OK;
    json_decref(*body);
    return nb_fault_set(fault, 400, NULL, NULL, "the request body must be a JSON object");
}

static int ids_of(const nb_api *api, const json_t *body, nb_ids *ids, nb_fault *fault)
{
    const json_t *prompt = json_object_get(body, "prompt");
    nb_buf text = {0};
    if (json_is_array(json_object_get(body, "messages")) && api->options.chat) {
        nb_chat_input input = {.messages = json_object_get(body, "messages"),
                               .tools = json_object_get(body, "tools"),
                               .variables = json_object_get(body, "chat_template_kwargs"),
                               .add_generation_prompt = !json_is_false(json_object_get(body, "add_generation_prompt"))};
        nb_error err;
        if (nb_chat_render(api->options.chat, &input, &text, &err) != NB_OK) {
            nb_buf_drop(&text);
            return nb_fault_set(fault, 400, "messages", NULL, "%s", err.text);
        }
    } else if (json_is_string(prompt)) {
        nb_buf_add(&text, json_string_value(prompt), json_string_length(prompt));
    } else {
        return nb_fault_set(fault, 400, "prompt", NULL, "give prompt (a string) or messages (a list)");
    }
    int code = nb_tokenizer_encode(api->options.tokenizer, nb_buf_str(&text), true, ids, &fault->err);
    nb_buf_drop(&text);
    return code == NB_OK ? NB_OK : nb_fault_set(fault, 400, "prompt", NULL, "the text cannot be tokenized");
}

static void post_tokenize(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    json_t *body;
    nb_fault fault;
    nb_ids ids = {0};
    if (read_body(exchange, &body, &fault) != NB_OK) {
        fail(exchange, &fault);
        return;
    }
    if (ids_of(api, body, &ids, &fault) != NB_OK) {
        fail(exchange, &fault);
    } else {
        json_t *list = json_array();
        for (int64_t i = 0; i < ids.n; i++) json_array_append_new(list, json_integer(ids.id[i]));
        nb_reply_json(exchange, json_pack("{s:I, s:I, s:o}", "count", (json_int_t)ids.n, "max_model_len",
                                          (json_int_t)api->options.max_model_len, "tokens", list));
    }
    nb_ids_drop(&ids);
    json_decref(body);
}

static int text_of(const nb_api *api, const json_t *body, nb_buf *text, nb_fault *fault)
{
    const json_t *list = json_object_get(body, "tokens"), *id;
    size_t i;
    if (!json_is_array(list)) return nb_fault_set(fault, 400, "tokens", NULL, "tokens must be a list of token ids");
    json_array_foreach(list, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= api->options.vocab_size)
            return nb_fault_set(fault, 400, "tokens", NULL, "tokens[%zu] is not an id from 0 to %d", i,
                                api->options.vocab_size - 1);
    }
    nb_token_stream stream;
    nb_token_stream_open(&stream, api->options.tokenizer, false);
    json_array_foreach(list, i, id) nb_token_stream_add(&stream, (int32_t)json_integer_value(id), text);
    nb_token_stream_end(&stream, text);
    return NB_OK;
}

static void post_detokenize(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    json_t *body;
    nb_fault fault;
    nb_buf text = {0};
    if (read_body(exchange, &body, &fault) != NB_OK) {
        fail(exchange, &fault);
        return;
    }
    if (text_of(api, body, &text, &fault) != NB_OK)
        fail(exchange, &fault);
    else
        nb_reply_json(exchange, json_pack("{s:o}", "prompt", nb_reply_text(nb_buf_str(&text))));
    nb_buf_drop(&text);
    json_decref(body);
}

static bool engine_failed(const nb_api *api)
{
    nb_engine_stats stats;
    nb_engine_stats_read(api->options.engine, &stats);
    return stats.failed;
}

static void get_health(void *user, nb_http_exchange *exchange)
{
    if (engine_failed(user))
        nb_http_error(exchange, 503, NULL, NULL, "the device is lost; the process must be restarted");
    else
        nb_http_reply(exchange, 200, "text/plain; charset=utf-8", (nb_str){0});
}

static void get_readyz(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_http *http = atomic_load(&api->http);
    if (!http || nb_http_is_draining(http) || engine_failed(api))
        nb_http_error(exchange, 503, NULL, NULL, "not ready: starting, draining, or failed");
    else
        nb_http_reply(exchange, 200, "text/plain; charset=utf-8", NB_STR("ok\n"));
}

static void get_version(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_reply_json(exchange, json_pack("{s:s}", "version", api->options.version ? api->options.version : "unknown"));
}

static void get_metrics(void *user, nb_http_exchange *exchange)
{
    nb_api *api = user;
    nb_engine_stats stats;
    nb_http_stats http_stats;
    nb_http *http = atomic_load(&api->http);
    nb_engine_stats_read(api->options.engine, &stats);
    if (http) nb_http_stats_read(http, &http_stats);
    nb_buf out = {0};
    nb_metrics_write(api->options.metrics, &stats, http ? &http_stats : NULL, &out);
    nb_http_reply(exchange, 200, NB_METRICS_CONTENT_TYPE, nb_buf_str(&out));
    nb_buf_drop(&out);
}

int nb_api_open(const nb_api_options *options, nb_api **out, nb_error *err)
{
    if (options->n_model_name < 1) return nb_error_set(err, NB_ERR_USAGE, "the API needs a model name");
    nb_api *api = nb_alloc(sizeof *api);
    api->options = *options;
    api->created = nb_clock_unix();
    *out = api;
    return NB_OK;
}

int nb_api_routes(nb_api *api, nb_http_route *route)
{
    const nb_http_route all[] = {
        {"POST", "/v1/chat/completions", post_chat, api, NB_HTTP_KEYED},
        {"POST", "/v1/completions", post_completion, api, NB_HTTP_KEYED},
        {"GET", "/v1/models", get_models, api, NB_HTTP_KEYED},
        {"GET", "/v1/models/*", get_model, api, NB_HTTP_KEYED},
        {"POST", "/tokenize", post_tokenize, api, NB_HTTP_KEYED},
        {"POST", "/detokenize", post_detokenize, api, NB_HTTP_KEYED},
        {"GET", "/version", get_version, api, NB_HTTP_OPEN},
        {"GET", "/health", get_health, api, NB_HTTP_ALWAYS},
        {"GET", "/readyz", get_readyz, api, NB_HTTP_ALWAYS},
        {"GET", "/metrics", get_metrics, api, NB_HTTP_ALWAYS},
    };
    int n = (int)(sizeof all / sizeof *all) - (api->options.metrics ? 0 : 1);
    memcpy(route, all, sizeof *all * (size_t)n);
    return n;
}

void nb_api_attach(nb_api *api, nb_http *http)
{
    atomic_store(&api->http, http);
}

void nb_api_close(nb_api *api)
{
    free(api);
}
