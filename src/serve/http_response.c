// Responses: whole ones, errors and streams. See http_internal.h for the locking.
#include "serve/http_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"

enum { STREAM_BLOCK_BYTES = 16 << 10 };

void nb_http_set_header(nb_http_exchange *e, const char *name, const char *value)
{
    if (e->n_header == NB_HTTP_HEADERS_MAX) return;
    nb_http_header *header = &e->header[e->n_header++];
    header->name = nb_arena_str(e->arena, nb_str_from(name)).ptr;
    header->value = nb_arena_str(e->arena, nb_str_from(value)).ptr;
}

static bool is_anthropic(const nb_http_exchange *e)
{
    return e && e->route && e->route->errors == NB_HTTP_ANTHROPIC;
}

static void add_headers(const nb_http_exchange *e, struct MHD_Response *response, const char *content_type)
{
    MHD_add_response_header(response, "Content-Type", content_type);
    MHD_add_response_header(response, "X-Request-Id", e->id);
    if (is_anthropic(e)) MHD_add_response_header(response, "request-id", e->id); // the name that its clients read
    if (e->allow_origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", e->allow_origin);
        if (strcmp(e->allow_origin, "*") != 0) MHD_add_response_header(response, "Vary", "Origin");
    }
    for (int i = 0; i < e->n_header; i++) MHD_add_response_header(response, e->header[i].name, e->header[i].value);
}

// Hands the response to the connection, which sleeps or is still in its handler. Without a connection nobody wants it.
static void give(nb_http_exchange *e, int status, struct MHD_Response *response, bool finished)
{
    pthread_mutex_lock(&e->lock);
    bool wanted = e->connection != NULL;
    e->status = status;
    e->finished = finished;
    if (wanted) e->response = response;
    nb_http_resume(e);
    pthread_mutex_unlock(&e->lock);
    if (!wanted) MHD_destroy_response(response);
}

void nb_http_reply(nb_http_exchange *e, int status, const char *content_type, nb_str body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.ptr, MHD_RESPMEM_MUST_COPY);
    if (!response) abort(); // no memory: as nb_alloc does
    add_headers(e, response, content_type);
    give(e, status, response, true);
    nb_http_drop(e);
}

static const char *openai_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

static json_t *anthropic_error(const nb_http_exchange *e, int status, const char *code, json_t *message)
{
    json_t *details = code ? json_pack("{s:s}", "error_code", code) : NULL;
    return json_pack("{s:s, s:{s:s, s:o, s:o*}, s:s}", "type", "error", "error", "type", anthropic_type(status),
                     "message", message, "details", details, "request_id", e->id);
}

void nb_http_error_json(const nb_http_exchange *e, nb_buf *out, int status, const char *param, const char *code,
                        const char *message)
{
    json_t *given = json_string(message), *text = given ? given : json_string("invalid text");
    json_t *error = is_anthropic(e) ? anthropic_error(e, status, code, text)
                                    : json_pack("{s:{s:o, s:s, s:s?, s:s?}}", "error", "message", text, "type",
                                                openai_type(status), "param", param, "code", code);
    nb_json_write(error, out);
    json_decref(error);
}

void nb_http_error(nb_http_exchange *e, int status, const char *param, const char *code, const char *format, ...)
{
    nb_error message;
    va_list args;
    va_start(args, format);
    vsnprintf(message.text, sizeof message.text, format, args);
    va_end(args);
    nb_buf body = {0};
    nb_http_error_json(e, &body, status, param, code, message.text);
    if (status == 429 || status == 503) nb_http_set_header(e, "Retry-After", "1");
    nb_http_reply(e, status, "application/json", nb_buf_str(&body));
    nb_buf_drop(&body);
}

// ---- Streams ----

// MHD asks for bytes whenever the socket takes some. Without any the connection sleeps.
static ssize_t read_stream(void *user, uint64_t position, char *out, size_t n_max)
{
    (void)position;
    nb_http_exchange *e = user;
    pthread_mutex_lock(&e->lock);
    size_t n = e->stream.len - e->stream_at;
    ssize_t result = 0;
    if (e->gone) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n > 0) {
        if (n > n_max) n = n_max;
        memcpy(out, e->stream.ptr + e->stream_at, n);
        e->stream_at += n;
        if (e->stream_at == e->stream.len) e->stream.len = e->stream_at = 0;
        result = (ssize_t)n;
    } else if (e->finished) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        e->suspended = true;
        MHD_suspend_connection(e->connection);
    }
    pthread_mutex_unlock(&e->lock);
    return result;
}

static void drop_stream(void *user)
{
    nb_http_drop(user);
}

void nb_http_stream_open(nb_http_exchange *e, const char *content_type)
{
    nb_http_take(e); // the response's
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, e, drop_stream);
    if (!response) abort(); // no memory: as nb_alloc does
    add_headers(e, response, content_type);
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); // nginx would hold the pieces back
    give(e, 200, response, false);
}

// Ends the connection of a reader that is too slow, whose socket takes nothing any more.
static void hang_up(nb_http_exchange *e)
{
    pthread_mutex_lock(&e->http->lock);
    if (e->link) shutdown(e->link->fd, SHUT_RDWR);
    pthread_mutex_unlock(&e->http->lock);
}

// Moves what is left to the front, so that the buffer stays as small as what is unread.
static void compact(nb_http_exchange *e)
{
    if (e->stream_at < STREAM_BLOCK_BYTES) return;
    e->stream.len -= e->stream_at;
    memmove(e->stream.ptr, e->stream.ptr + e->stream_at, e->stream.len);
    e->stream_at = 0;
}

int nb_http_stream_send(nb_http_exchange *e, nb_str bytes)
{
    bool slow = false;
    pthread_mutex_lock(&e->lock);
    bool gone = e->gone;
    if (!gone) {
        compact(e);
        slow = e->stream.len + bytes.len > (size_t)e->http->options.stream_buffer_max_bytes + e->stream_allowed;
        if (!slow) nb_buf_add_str(&e->stream, bytes);
        e->gone = slow;
        nb_http_resume(e);
    }
    pthread_mutex_unlock(&e->lock);
    if (slow) {
        e->http->n_slow++;
        hang_up(e);
    }
    return gone || slow ? NB_ERR_LIMIT : NB_OK;
}

void nb_http_stream_allow(nb_http_exchange *e, size_t n_bytes)
{
    pthread_mutex_lock(&e->lock);
    e->stream_allowed += n_bytes;
    pthread_mutex_unlock(&e->lock);
}

void nb_http_stream_end(nb_http_exchange *e)
{
    pthread_mutex_lock(&e->lock);
    e->finished = true;
    nb_http_resume(e);
    pthread_mutex_unlock(&e->lock);
    nb_http_drop(e);
}
