// Calls through libcurl's easy interface, one after the other. The load itself is in load.c.
#include "loadgen/endpoint.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { ERROR_TEXT_MAX = 300, RETRY_US = 500000 };

void nb_endpoint_header(nb_endpoint *e, const char *name, const char *value)
{
    nb_buf line = {0};
    nb_buf_printf(&line, "%s: %s", name, value);
    e->header = curl_slist_append(e->header, line.ptr);
    nb_buf_drop(&line);
}

void nb_endpoint_drop(nb_endpoint *e)
{
    curl_slist_free_all(e->header);
    e->header = NULL;
}

CURL *nb_endpoint_easy(const nb_endpoint *e, const char *path, const nb_buf *body)
{
    CURL *easy = curl_easy_init();
    if (!easy) abort(); // out of memory
    nb_buf url = {0};
    nb_buf_printf(&url, "%s%s", e->url, path);
    curl_easy_setopt(easy, CURLOPT_URL, url.ptr);
    nb_buf_drop(&url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, e->header);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, e->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, e->insecure ? 0L : 2L);
    if (!body) return easy;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body->ptr);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    return easy;
}

static size_t add_bytes(char *bytes, size_t size, size_t n, void *user)
{
    nb_buf *out = user;
    if (out->len + size * n > NB_ENDPOINT_REPLY_BYTES_MAX) return 0;
    nb_buf_add(out, bytes, size * n);
    return size * n;
}

void nb_endpoint_error_text(nb_str body, nb_buf *out)
{
    nb_error ignored;
    json_t *reply = NULL;
    if (nb_json_parse(body, "error", &reply, &ignored) == NB_OK) {
        const json_t *error = json_object_get(reply, "error");
        const char *text = json_string_value(json_object_get(json_is_object(error) ? error : reply, "message"));
        if (!text) text = json_string_value(error);
        if (text) nb_buf_add_c(out, text);
    }
    json_decref(reply);
    if (out->len) return;
    body = nb_str_slice(body, 0, ERROR_TEXT_MAX);
    int64_t end = nb_str_find(body, NB_STR("\n"), 0);
    nb_buf_add_str(out, nb_str_slice(body, 0, end < 0 ? body.len : (size_t)end));
}

static int refused(const char *path, long status, nb_str body, nb_error *err)
{
    nb_buf text = {0};
    nb_endpoint_error_text(body, &text);
    nb_error_set(err, NB_ERR_INPUT, "%s answered %ld: %s", path, status, text.ptr ? text.ptr : "");
    nb_buf_drop(&text);
    return err->code;
}

int nb_endpoint_text(const nb_endpoint *e, const char *path, const nb_buf *body, nb_buf *out, nb_error *err)
{
    long status = 0;
    CURL *easy = nb_endpoint_easy(e, path, body);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)NB_ENDPOINT_CALL_TIMEOUT_S);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, add_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, out);
    CURLcode result = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    if (result != CURLE_OK) return nb_error_set(err, NB_ERR_IO, "%s%s: %s", e->url, path, curl_easy_strerror(result));
    return status == 200 ? NB_OK : refused(path, status, nb_buf_str(out), err);
}

int nb_endpoint_call(const nb_endpoint *e, const char *path, const nb_buf *body, json_t **reply, nb_error *err)
{
    nb_buf text = {0};
    int code = nb_endpoint_text(e, path, body, &text, err);
    if (code == NB_OK) code = nb_json_parse(nb_buf_str(&text), path, reply, err);
    nb_buf_drop(&text);
    return code;
}

int nb_endpoint_first_model(const nb_endpoint *e, int64_t timeout_s, nb_arena *arena, const char **model, nb_error *err)
{
    json_t *reply = NULL;
    int64_t until_us = nb_clock_us() + timeout_s * 1000000;
    int code;
    while ((code = nb_endpoint_call(e, "/v1/models", NULL, &reply, err)) == NB_ERR_IO && nb_clock_us() < until_us)
        usleep(RETRY_US);
    NB_TRY(code);
    const char *id = json_string_value(json_object_get(json_array_get(json_object_get(reply, "data"), 0), "id"));
    if (id) *model = nb_arena_str(arena, nb_str_from(id)).ptr;
    json_decref(reply);
    return id ? NB_OK : nb_error_set(err, NB_ERR_INPUT, "%s/v1/models names no model; give --model", e->url);
}

static int read_ids(const json_t *reply, nb_arena *arena, int32_t **id, int *n_id, nb_error *err)
{
    const json_t *tokens = json_object_get(reply, "tokens");
    if (!json_is_array(tokens)) return nb_error_set(err, NB_ERR_INPUT, "the reply of /tokenize has no list of tokens");
    *n_id = (int)json_array_size(tokens);
    *id = NB_ARENA_ARRAY(arena, int32_t, *n_id);
    for (int i = 0; i < *n_id; i++) (*id)[i] = (int32_t)json_integer_value(json_array_get(tokens, (size_t)i));
    return NB_OK;
}

int nb_endpoint_tokenize(const nb_endpoint *e, nb_str text, nb_arena *arena, int32_t **id, int *n_id, nb_error *err)
{
    nb_buf body = {0};
    json_t *reply = NULL, *request = json_pack("{s:s, s:o, s:b}", "model", e->model, "prompt",
                                               json_stringn(text.ptr, text.len), "add_special_tokens", 0);
    if (!request) return nb_error_set(err, NB_ERR_INPUT, "a prompt is not valid UTF-8");
    nb_json_write(request, &body);
    json_decref(request);
    int code = nb_endpoint_call(e, e->tokenizer_path, &body, &reply, err);
    if (code == NB_OK) code = read_ids(reply, arena, id, n_id, err);
    json_decref(reply);
    nb_buf_drop(&body);
    return code;
}
