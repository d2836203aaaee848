// The watcher thread. It waits for hang-ups on all sockets (edge triggered: each is told once), and once a second looks
// for links whose request is not complete in time; those get a 408 and are shut down, and MHD does the rest.
#include "serve/http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    EVENTS = 64,
    TICK_MS = 1000,
    REST_US = 2000000, // after a hang-up: in it MHD reads what came before
};

void nb_http_watch_add(nb_http *http, nb_http_link *link)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = link};
    epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, link->fd, &event);
}

void nb_http_watch_remove(nb_http *http, nb_http_link *link)
{
    epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
}

static void hang_up(nb_http *http, nb_http_link *link)
{
    pthread_mutex_lock(&http->lock);
    link->hung_up = true;
    nb_http_exchange *exchange = link->exchange;
    if (exchange) nb_http_take(exchange);
    // The rest of an incomplete request will never come. MHD does not always look, so it is late soon.
    int64_t late_us = (int64_t)http->options.receive_timeout_s * 1000000, since_us = nb_clock_us() - late_us + REST_US;
    if (link->waiting_since_us > since_us) link->waiting_since_us = since_us;
    pthread_mutex_unlock(&http->lock);
    if (!exchange) return;
    nb_http_declare_gone(exchange);
    nb_http_drop(exchange);
}

// MHD writes nothing while a request is incomplete, so the socket is ours for this. Not under TLS, and not to a client
// that keeps a connection without asking for anything.
static void tell_late(const nb_http *http, const nb_http_link *link)
{
    if (!link->begun || http->options.ssl_certfile) return;
    nb_buf body = {0}, out = {0};
    nb_http_error_json(NULL, &body, 408, NULL, "request_timeout", "the request did not arrive in time");
    nb_buf_printf(&out,
                  "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n\r\n%s",
                  body.len, body.ptr);
    send(link->fd, out.ptr, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    nb_buf_drop(&body);
    nb_buf_drop(&out);
}

static void end_late_requests(nb_http *http)
{
    int64_t latest = nb_clock_us() - (int64_t)http->options.receive_timeout_s * 1000000;
    pthread_mutex_lock(&http->lock);
    for (nb_http_link *link = http->link; link; link = link->next) {
        if (!link->waiting_since_us || link->waiting_since_us >= latest) continue;
        tell_late(http, link);
        link->begun = false; // once
        shutdown(link->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&http->lock);
}

// Links that were closed before this call cannot occur in later events.
static void free_dead(nb_http *http)
{
    pthread_mutex_lock(&http->lock);
    nb_http_link *link = http->dead_link;
    http->dead_link = NULL;
    pthread_mutex_unlock(&http->lock);
    while (link) {
        nb_http_link *next = link->next;
        free(link);
        link = next;
    }
}

static void *watch(void *user)
{
    nb_http *http = user;
    struct epoll_event event[EVENTS];
    int64_t tick_us = nb_clock_us();
    while (!http->stopping) {
        int n = epoll_wait(http->epoll_fd, event, EVENTS, TICK_MS);
        for (int i = 0; i < n; i++) {
            if (event[i].data.ptr) hang_up(http, event[i].data.ptr); // NULL is the call to stop
        }
        free_dead(http);
        if (nb_clock_us() - tick_us < TICK_MS * 1000) continue;
        tick_us = nb_clock_us();
        end_late_requests(http);
    }
    return NULL;
}

// Opens what the thread waits on: the epoll set with the one event that ends it.
static int open_files(nb_http *http, nb_error *err)
{
    struct epoll_event stop = {.events = EPOLLIN};
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    http->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (http->epoll_fd >= 0 && http->stop_fd >= 0 &&
        epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, http->stop_fd, &stop) == 0)
        return NB_OK;
    return nb_error_set(err, NB_ERR_IO, "cannot watch sockets: %s", strerror(errno));
}

static void close_files(nb_http *http)
{
    if (http->epoll_fd >= 0) close(http->epoll_fd);
    if (http->stop_fd >= 0) close(http->stop_fd);
}

int nb_http_watch_open(nb_http *http, nb_error *err)
{
    int code = open_files(http, err);
    if (code == NB_OK) {
        int failed = pthread_create(&http->watcher, NULL, watch, http);
        if (failed) code = nb_error_set(err, NB_ERR_MEMORY, "cannot start a thread: %s", strerror(failed));
    }
    if (code != NB_OK) close_files(http);
    return code;
}

void nb_http_watch_close(nb_http *http)
{
    http->stopping = true;
    eventfd_write(http->stop_fd, 1);
    pthread_join(http->watcher, NULL);
    close_files(http);
    free_dead(http);
}
