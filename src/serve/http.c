// Starting, draining and stopping the server. See http.h; http_internal.h says how it works inside.
#include "serve/http_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

enum {
    PEM_MAX = 1 << 20,
    WATCHER_FIRST_S = 3, // MHD closes without a word, so the watcher, which has one, comes before it
};

static void set_defaults(nb_http_options *o)
{
    if (!o->root_path) o->root_path = "";
    if (o->n_thread == 0) o->n_thread = NB_HTTP_THREADS;
    if (o->n_connection_max == 0) o->n_connection_max = NB_HTTP_CONNECTIONS_MAX;
    if (o->body_max_bytes == 0) o->body_max_bytes = NB_HTTP_BODY_MAX;
    if (o->bodies_max_bytes == 0) o->bodies_max_bytes = NB_HTTP_BODIES_MAX;
    if (o->stream_buffer_max_bytes == 0) o->stream_buffer_max_bytes = NB_HTTP_STREAM_BUFFER_MAX;
    if (o->receive_timeout_s == 0) o->receive_timeout_s = NB_HTTP_RECEIVE_TIMEOUT_S;
}

// MHD's own messages: about clients that break off, mostly.
static void on_mhd_message(void *user, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_mhd_message(void *user, const char *format, va_list args)
{
    (void)user;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    nb_log(NB_LOG_DEBUG, "http", "detail=\"%s\"", text);
}

// As many sockets as the system lets us have: each connection is one.
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int read_pem(const char *path, nb_arena *arena, const char **out, nb_error *err)
{
    nb_str text;
    NB_TRY(nb_file_read(path, PEM_MAX, arena, &text, err));
    *out = text.ptr;
    return NB_OK;
}

static int start(nb_http *http, int listen_fd, nb_error *err)
{
    const nb_http_options *o = &http->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[3] = {{MHD_OPTION_END, 0, NULL}};
    if (o->ssl_certfile || o->ssl_keyfile) {
        const char *cert, *key;
        if (!o->ssl_certfile || !o->ssl_keyfile)
            return nb_error_set(err, NB_ERR_USAGE, "TLS needs both --ssl-certfile and --ssl-keyfile");
        NB_TRY(read_pem(o->ssl_certfile, http->arena, &cert, err));
        NB_TRY(read_pem(o->ssl_keyfile, http->arena, &key, err));
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert};
        tls[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key};
        tls[2] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
        flags |= MHD_USE_TLS;
    }
    // MHD divides its limit evenly among its threads, which clients do not: one thread alone must be able to take all.
    unsigned n_connection = (unsigned)(o->n_connection_max + NB_HTTP_CONNECTIONS_SPARE) * (unsigned)o->n_thread;
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, nb_http_on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_message, NULL,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_COMPLETED, nb_http_on_completed, http,
        MHD_OPTION_NOTIFY_CONNECTION, nb_http_on_link, http, MHD_OPTION_CONNECTION_LIMIT, n_connection,
        MHD_OPTION_URI_LOG_CALLBACK, nb_http_on_first_line, http, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)o->receive_timeout_s + WATCHER_FIRST_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)NB_HTTP_HEAD_MAX,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)(o->n_thread > 1 ? o->n_thread : 0), MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (http->daemon) return NB_OK;
    return nb_error_set(
        err, NB_ERR_IO, "the HTTP server does not start%s",
        flags & MHD_USE_TLS ? "; are the certificate and the key in PEM format and do they belong together?" : "");
}

static int open_threads(nb_http *http, int listen_fd, nb_error *err)
{
    NB_TRY(nb_http_large_open(http, err));
    int code = nb_http_watch_open(http, err);
    if (code == NB_OK) {
        code = start(http, listen_fd, err);
        if (code != NB_OK) nb_http_watch_close(http);
    }
    if (code != NB_OK) nb_http_large_close(http);
    return code;
}

static int open_all(nb_http *http, nb_error *err)
{
    int listen_fd;
    NB_TRY(nb_http_listen(&http->options, &listen_fd, &http->port, err));
    int code = open_threads(http, listen_fd, err);
    if (code != NB_OK) close(listen_fd);
    return code;
}

static void drop_all(nb_http *http)
{
    pthread_mutex_destroy(&http->lock);
    pthread_cond_destroy(&http->idle);
    nb_arena_close(http->arena);
    free(http);
}

int nb_http_open(const nb_http_options *options, nb_http **out, nb_error *err)
{
    nb_http *http = nb_alloc(sizeof *http);
    http->arena = nb_arena_open(0);
    http->options = *options;
    set_defaults(&http->options);
    http->route = nb_arena_copy(http->arena, options->route, (size_t)options->n_route * sizeof *options->route);
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->idle, NULL);
    raise_file_limit();
    int code = open_all(http, err);
    if (code != NB_OK) {
        drop_all(http);
        return code;
    }
    *out = http;
    return NB_OK;
}

int nb_http_port(const nb_http *http)
{
    return http->port;
}

bool nb_http_is_draining(const nb_http *http)
{
    return http->draining;
}

static void stop_listening(nb_http *http)
{
    if (atomic_exchange(&http->draining, true)) return;
    int fd = MHD_quiesce_daemon(http->daemon);
    if (fd >= 0) close(fd);
}

bool nb_http_drain(nb_http *http, int timeout_s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); // what a condition variable waits by
    until.tv_sec += timeout_s;
    stop_listening(http);
    pthread_mutex_lock(&http->lock);
    int code = 0;
    while (http->n_exchange > 0 && code != ETIMEDOUT) code = pthread_cond_timedwait(&http->idle, &http->lock, &until);
    bool idle = http->n_exchange == 0;
    pthread_mutex_unlock(&http->lock);
    return idle;
}

// A closed socket reaches every exchange: the watcher declares its client gone, or MHD completes it.
static void end_links(nb_http *http)
{
    pthread_mutex_lock(&http->lock);
    for (nb_http_link *link = http->link; link; link = link->next) shutdown(link->fd, SHUT_RDWR);
    pthread_mutex_unlock(&http->lock);
}

void nb_http_close(nb_http *http)
{
    if (!http) return;
    do end_links(http);
    while (!nb_http_drain(http, 1));
    MHD_stop_daemon(http->daemon);
    nb_http_watch_close(http);
    nb_http_large_close(http);
    drop_all(http);
}

void nb_http_stats_read(nb_http *http, nb_http_stats *out)
{
    pthread_mutex_lock(&http->lock);
    *out = (nb_http_stats){.n_connection = http->n_link, .n_exchange = http->n_exchange};
    pthread_mutex_unlock(&http->lock);
    out->n_request = http->n_request;
    out->n_gone = http->n_gone;
    out->n_slow = http->n_slow;
}
