// The life of an exchange as MHD sees it: created with the headers, filled with the body, handed to its handler, then
// suspended until there is a response, and completed. See http_internal.h for who owns what.
#include "serve/http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"

void nb_http_take(nb_http_exchange *e)
{
    e->n_ref++;
}

static void drop_body(nb_http_exchange *e)
{
    e->http->n_body_byte -= (int64_t)e->body.len;
    nb_buf_drop(&e->body);
}

void nb_http_drop(nb_http_exchange *e)
{
    if (--e->n_ref > 0) return;
    nb_http *http = e->http;
    pthread_mutex_destroy(&e->lock);
    drop_body(e);
    nb_buf_drop(&e->stream);
    nb_arena_close(e->arena);
    free(e);
    pthread_mutex_lock(&http->lock);
    if (--http->n_exchange == 0) pthread_cond_broadcast(&http->idle);
    pthread_mutex_unlock(&http->lock);
}

void nb_http_resume(nb_http_exchange *e)
{
    if (!e->suspended) return;
    e->suspended = false;
    MHD_resume_connection(e->connection);
}

void nb_http_declare_gone(nb_http_exchange *e)
{
    pthread_mutex_lock(&e->lock);
    if (!e->gone) {
        e->gone = true;
        if (!e->finished) {
            e->http->n_gone++;
            if (e->on_gone) e->on_gone(e->on_gone_user);
        }
        nb_http_resume(e);
    }
    pthread_mutex_unlock(&e->lock);
}

void nb_http_on_gone(nb_http_exchange *e, void (*fn)(void *user), void *user)
{
    pthread_mutex_lock(&e->lock);
    e->on_gone = fn;
    e->on_gone_user = user;
    if (e->gone && fn) fn(user);
    pthread_mutex_unlock(&e->lock);
}

// ---- Links ----

void nb_http_on_link(void *user, struct MHD_Connection *connection, void **slot,
                     enum MHD_ConnectionNotificationCode code)
{
    nb_http *http = user;
    nb_http_link *link = *slot;
    pthread_mutex_lock(&http->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *slot = link = nb_alloc(sizeof *link);
        link->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        link->waiting_since_us = nb_clock_us();
        link->next = http->link;
        if (link->next) link->next->prev = link;
        http->link = link;
        http->n_link++;
        nb_http_watch_add(http, link);
    } else if (link) {
        nb_http_watch_remove(http, link);
        if (link->next) link->next->prev = link->prev;
        *(link->prev ? &link->prev->next : &http->link) = link->next;
        link->next = http->dead_link;
        http->dead_link = link;
        http->n_link--;
        *slot = NULL;
    }
    pthread_mutex_unlock(&http->lock);
}

// MHD's word on a request before its headers; what it returns would become the exchange.
void *nb_http_on_first_line(void *user, const char *uri, struct MHD_Connection *connection)
{
    (void)uri;
    nb_http *http = user;
    nb_http_link *link = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    pthread_mutex_lock(&http->lock);
    link->begun = true;
    pthread_mutex_unlock(&http->lock);
    return NULL;
}

// ---- The request ----

static bool is_plain_id(const char *id)
{
    size_t n = id ? strlen(id) : 0;
    for (size_t i = 0; i < n; i++) {
        if (id[i] <= ' ' || id[i] > '~' || id[i] == '"') return false;
    }
    return n > 0 && n <= NB_HTTP_ID_MAX;
}

static const char *make_id(nb_arena *arena, struct MHD_Connection *connection)
{
    const char *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Request-Id");
    if (is_plain_id(given)) return nb_arena_str(arena, nb_str_from(given)).ptr;
    uint64_t random[2] = {0};
    if (getrandom(random, sizeof random, 0) != sizeof random) random[0] = (uint64_t)nb_clock_us();
    return nb_arena_printf(arena, "%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
}

static nb_http_exchange *new_exchange(nb_http *http, struct MHD_Connection *connection, const char *url,
                                      const char *method)
{
    nb_http_exchange *e = nb_alloc(sizeof *e);
    e->http = http;
    e->n_ref = 1;
    e->arena = nb_arena_open(1024);
    e->method = nb_arena_str(e->arena, nb_str_from(method));
    e->path = nb_arena_str(e->arena, nb_str_from(url));
    e->id = make_id(e->arena, connection);
    e->connection = connection;
    e->link = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    const char *origin = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin");
    e->allow_origin = nb_http_allowed_origin(http, origin);
    e->preflight = origin && strcmp(method, "OPTIONS") == 0 &&
                   MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Access-Control-Request-Method");
    pthread_mutex_init(&e->lock, NULL);
    http->n_request++;
    pthread_mutex_lock(&http->lock);
    http->n_exchange++;
    pthread_mutex_unlock(&http->lock);
    return e;
}

// -1 when the request does not say.
static long long announced_length(struct MHD_Connection *connection)
{
    const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    return text ? strtoll(text, NULL, 10) : -1;
}

static enum MHD_Result dispatch(nb_http_exchange *e);

// The body of a request that is not admitted is thrown away, so that the client reads our answer when it has sent
// everything. One that asks before it sends, or would send too much, is answered at once.
static enum MHD_Result on_headers(nb_http_exchange *e)
{
    long long n = announced_length(e->connection);
    bool asks_first = MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, "Expect") != NULL;
    nb_http_judge(e, n);
    if (e->verdict != NB_HTTP_ADMITTED && (asks_first || n > NB_HTTP_DRAIN_MAX)) return dispatch(e);
    return MHD_YES;
}

static void refuse(nb_http_exchange *e, nb_http_verdict verdict)
{
    e->verdict = verdict;
    drop_body(e);
}

static void keep(nb_http_exchange *e, const char *data, size_t n)
{
    const nb_http_options *o = &e->http->options;
    if (e->n_received > o->body_max_bytes) {
        refuse(e, NB_HTTP_TOO_LONG);
    } else if (e->http->n_body_byte + (int64_t)n > o->bodies_max_bytes) {
        refuse(e, NB_HTTP_NO_ROOM);
    } else {
        e->http->n_body_byte += (int64_t)n;
        nb_buf_add(&e->body, data, n);
    }
}

static enum MHD_Result on_data(nb_http_exchange *e, const char *data, size_t n)
{
    e->n_received += (int64_t)n;
    if (e->verdict == NB_HTTP_ADMITTED) keep(e, data, n);
    return e->n_received <= NB_HTTP_DRAIN_MAX ? MHD_YES : MHD_NO;
}

// Queues the response if there is one; otherwise the connection sleeps until there is. MHD asks for a stream's bytes
// with a lock of the response held, so it is queued outside of ours.
static enum MHD_Result answer(nb_http_exchange *e)
{
    pthread_mutex_lock(&e->lock);
    struct MHD_Response *response = e->response;
    bool sleeps = !response && !e->gone;
    e->response = NULL;
    if (sleeps) {
        e->suspended = true;
        MHD_suspend_connection(e->connection);
    }
    pthread_mutex_unlock(&e->lock);
    if (!response) return sleeps ? MHD_YES : MHD_NO;
    enum MHD_Result result = MHD_queue_response(e->connection, (unsigned)e->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result dispatch(nb_http_exchange *e)
{
    nb_http *http = e->http;
    e->begin_us = nb_clock_us();
    pthread_mutex_lock(&http->lock);
    e->link->exchange = e;
    e->link->waiting_since_us = 0;
    bool hung_up = e->link->hung_up;
    pthread_mutex_unlock(&http->lock);
    nb_http_take(e); // the handler's
    bool admitted = nb_http_admit(e);
    if (admitted && e->body.len > NB_HTTP_INLINE_BODY_MAX)
        nb_http_large_add(http, e);
    else if (admitted)
        e->route->fn(e->route->user, e);
    if (hung_up) nb_http_declare_gone(e);
    return answer(e);
}

enum MHD_Result nb_http_on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                   const char *version, const char *data, size_t *n_data, void **slot)
{
    (void)version;
    nb_http_exchange *e = *slot;
    if (!e) {
        *slot = e = new_exchange(user, connection, url, method);
        return on_headers(e);
    }
    if (*n_data > 0) {
        size_t n = *n_data;
        *n_data = 0;
        return on_data(e, data, n);
    }
    return e->begin_us ? answer(e) : dispatch(e);
}

// A streamed response that was never queued is given back here: it holds a reference to its exchange.
static void disconnect(nb_http_exchange *e)
{
    pthread_mutex_lock(&e->lock);
    struct MHD_Response *unused = e->response;
    e->response = NULL;
    e->connection = NULL;
    pthread_mutex_unlock(&e->lock);
    if (unused) MHD_destroy_response(unused);
}

// What the client wrote, made harmless for the log: no spaces, quotes or control characters.
static const char *plain(nb_str text, char *out, size_t n_max)
{
    size_t n = text.len < n_max - 1 ? text.len : n_max - 1;
    for (size_t i = 0; i < n; i++) {
        char c = text.ptr[i];
        out[i] = c > ' ' && c <= '~' && c != '"' ? c : '_';
    }
    out[n] = 0;
    return out;
}

// Where the client left first, a handler may still answer.
static void log_request(nb_http_exchange *e)
{
    nb_log_level level = e->route && e->route->access == NB_HTTP_ALWAYS ? NB_LOG_DEBUG : NB_LOG_INFO;
    if (!nb_log_wants(level)) return;
    char method[20], path[200];
    pthread_mutex_lock(&e->lock);
    int status = e->status, gone = e->gone;
    pthread_mutex_unlock(&e->lock);
    double spent_ms = e->begin_us ? 1e-3 * (double)(nb_clock_us() - e->begin_us) : 0;
    nb_log(level, "request", "id=%s method=%s path=%s status=%d ms=%.1f client_gone=%d", e->id,
           plain(e->method, method, sizeof method), plain(e->path, path, sizeof path), status, spent_ms, gone);
}

void nb_http_on_completed(void *user, struct MHD_Connection *connection, void **slot,
                          enum MHD_RequestTerminationCode why)
{
    (void)connection;
    nb_http *http = user;
    nb_http_exchange *e = *slot;
    if (!e) return;
    *slot = NULL;
    pthread_mutex_lock(&http->lock);
    e->link->exchange = NULL;
    e->link->waiting_since_us = nb_clock_us();
    e->link->begun = false;
    e->link = NULL;
    pthread_mutex_unlock(&http->lock);
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK) nb_http_declare_gone(e);
    disconnect(e);
    log_request(e);
    nb_http_drop(e);
}

nb_str nb_http_method(const nb_http_exchange *e)
{
    return e->method;
}

nb_str nb_http_path(const nb_http_exchange *e)
{
    return e->path;
}

nb_str nb_http_path_rest(const nb_http_exchange *e)
{
    return e->path_rest;
}

nb_str nb_http_body(const nb_http_exchange *e)
{
    return e->body.ptr ? nb_buf_str(&e->body) : NB_STR("");
}

const char *nb_http_id(const nb_http_exchange *e)
{
    return e->id;
}

nb_str nb_http_request_header(nb_http_exchange *e, const char *name)
{
    pthread_mutex_lock(&e->lock);
    const char *value = e->connection ? MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, name) : NULL;
    nb_str copy = value ? nb_arena_str(e->arena, nb_str_from(value)) : (nb_str){0};
    pthread_mutex_unlock(&e->lock);
    return copy;
}

int64_t nb_http_begin_us(const nb_http_exchange *e)
{
    return e->begin_us;
}
