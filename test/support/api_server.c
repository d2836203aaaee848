#include "support/api_server.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cpu/cpu_device.h"
#include "support/check.h"
#include "support/demo.h"
#include "support/http_client.h"

static api_server server;
static nb_device *device;
static nb_chat *chat;

static void close_server(void)
{
    nb_engine_close(server.engine, false);
    nb_http_close(server.http);
    nb_api_close(server.api);
    device->ops->close(device);
    nb_chat_close(chat);
    nb_tokenizer_close(server.tokenizer);
}

static void open_engine(const nb_demo *demo)
{
    nb_error err = {0};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){.n_thread = 1}, &device, &err), &err);
    nb_test_ok(device->ops->load(device, demo->model, &err), &err);
    nb_engine_options options = {
        .kv = NB_KV_F32,
        .max_model_len = 1024,
        .max_num_seqs = 8,
        .max_num_batched_tokens = 256,
        .max_waiting = 64,
        .n_page = 256,
        .n_snapshot = 16,
        .snapshot_grid = 256,
        .enable_prefix_caching = true,
    };
    nb_test_ok(nb_engine_open(device, demo->model, &options, &server.engine, &err), &err);
}

static void open_api(const nb_demo *demo)
{
    nb_error err = {0};
    nb_api_options options = {
        .engine = server.engine,
        .tokenizer = server.tokenizer,
        .chat = chat,
        .model_name = {"demo", "nibble-demo"},
        .n_model_name = 2,
        .vocab_size = demo->vocab,
        .max_model_len = 1024,
        .reasoning = NB_REASONING_QWEN3,
        .tool = NB_TOOL_QWEN3_XML,
        .auto_tool_choice = true,
        .sampling = {.top_p = 1, .repetition_penalty = 1},
        .version = "1.2.3",
    };
    const nb_config *config = &demo->model->config;
    for (; options.n_stop < config->n_eos; options.n_stop++)
        options.stop_tok[options.n_stop] = config->eos_token_id[options.n_stop];
    nb_test_ok(nb_api_open(&options, &server.api, &err), &err);
}

const api_server *api_server_get(void)
{
    nb_error err = {0};
    nb_http_route route[NB_API_ROUTES_MAX];
    if (server.http) return &server;
    nb_log_open(NB_LOG_OFF, false);
    const nb_demo *demo = nb_demo_get();
    nb_test_ok(nb_tokenizer_open(nb_test_path("models/demo"), &server.tokenizer, &err), &err);
    nb_test_ok(nb_chat_open(nb_test_path("models/demo"), NULL, &chat, &err), &err);
    open_engine(demo);
    open_api(demo);
    nb_http_options http = {
        .host = "127.0.0.1", .route = route, .n_route = nb_api_routes(server.api, route), .n_thread = 1};
    nb_test_ok(nb_http_open(&http, &server.http, &err), &err);
    nb_api_attach(server.api, server.http);
    server.port = nb_http_port(server.http);
    atexit(close_server);
    return &server;
}

// ---- Requests

static int request(const char *line, nb_str body, json_t **reply)
{
    nb_buf response = {0};
    nb_error err;
    int status = client_request(api_server_get()->port, line, "Content-Type: application/json\r\n", body, &response);
    nb_str text = client_body(nb_buf_str(&response));
    if (reply && nb_json_parse(text, "reply", reply, &err) != NB_OK) *reply = NULL;
    nb_buf_drop(&response);
    return status;
}

int api_post(const char *path, const char *body, json_t **reply)
{
    char line[100];
    snprintf(line, sizeof(line), "POST %s", path);
    return request(line, nb_str_from(body), reply);
}

int api_get(const char *path, json_t **reply)
{
    char line[100];
    snprintf(line, sizeof(line), "GET %s", path);
    return request(line, (nb_str){0}, reply);
}

// Takes the sizes of "Transfer-Encoding: chunked" out.
static nb_buf dechunk(nb_str body)
{
    nb_buf out = {0};
    for (size_t at = 0; at < body.len;) {
        char *end;
        unsigned long n = strtoul(body.ptr + at, &end, 16);
        size_t from = (size_t)(end - body.ptr) + 2;
        if (n == 0 || from + n > body.len) break;
        nb_buf_add_str(&out, nb_str_slice(body, from, from + n));
        at = from + n + 2;
    }
    return out;
}

// The text of a streamed answer, which must have the status 200.
static nb_buf stream_text(const char *path, const char *body)
{
    char line[100];
    nb_buf response = {0}, text = {0};
    snprintf(line, sizeof(line), "POST %s", path);
    int status = client_request(api_server_get()->port, line, "Content-Type: application/json\r\n", nb_str_from(body),
                                &response);
    if (status != 200) print_error("%s\n", response.ptr);
    assert_int_equal(status, 200);
    bool chunked = nb_str_equal_c(client_header(nb_buf_str(&response), "Transfer-Encoding"), "chunked");
    nb_str raw = client_body(nb_buf_str(&response));
    if (chunked)
        text = dechunk(raw);
    else
        nb_buf_add_str(&text, raw);
    nb_buf_drop(&response);
    return text;
}

// Takes what stands between two marks off the front.
static nb_str take(nb_str *rest, const char *before, const char *after)
{
    nb_str mark = nb_str_from(before);
    int64_t end = nb_str_find(*rest, nb_str_from(after), 0);
    assert_true(end >= 0 && nb_str_starts(*rest, mark));
    nb_str taken = nb_str_slice(*rest, mark.len, (size_t)end);
    *rest = nb_str_slice(*rest, (size_t)end + strlen(after), rest->len);
    return taken;
}

static json_t *parse_event(nb_str data)
{
    json_t *event = NULL;
    nb_error err = {0};
    nb_test_ok(nb_json_parse(data, "event", &event, &err), &err);
    return event;
}

json_t *api_stream(const char *path, const char *body)
{
    nb_buf text = stream_text(path, body);
    nb_str rest = nb_buf_str(&text);
    json_t *events = json_array();
    bool done = false;
    while (rest.len && !done) {
        nb_str data = take(&rest, "data: ", "\n\n");
        done = nb_str_equal_c(data, "[DONE]");
        if (!done) json_array_append_new(events, parse_event(data));
    }
    assert_true(done && rest.len == 0);
    nb_buf_drop(&text);
    return events;
}

json_t *api_named_stream(const char *path, const char *body)
{
    nb_buf text = stream_text(path, body);
    nb_str rest = nb_buf_str(&text);
    json_t *events = json_array();
    while (rest.len) {
        nb_str name = take(&rest, "event: ", "\n");
        json_t *event = parse_event(take(&rest, "data: ", "\n\n"));
        assert_true(nb_str_equal_c(name, api_text_at(event, "type")));
        json_array_append_new(events, event);
    }
    nb_buf_drop(&text);
    return events;
}

// ---- Looking into replies

const json_t *api_at(const json_t *value, const char *path)
{
    while (value && *path) {
        char key[100];
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(key)) : json_object_get(value, key);
        path += n + (path[n] == '.');
    }
    return value;
}

const char *api_text_at(const json_t *value, const char *path)
{
    const json_t *found = api_at(value, path);
    if (!json_is_string(found)) fail_msg("there is no string at %s", path);
    return json_string_value(found);
}

json_int_t api_int_at(const json_t *value, const char *path)
{
    const json_t *found = api_at(value, path);
    if (!json_is_integer(found)) fail_msg("there is no integer at %s", path);
    return json_integer_value(found);
}
