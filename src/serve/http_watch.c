// The watcher thread. It waits for hang-ups on all sockets (edge triggered: each is told once), and once a second looks
// for links whose request is not complete in time; those are shut down, and MHD does the rest.
#include "serve/http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { EVENTS = 64, TICK_MS = 1000, STOP_TICK_MS = 20 };

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
    pthread_mutex_unlock(&http->lock);
    if (!exchange) return;
    nb_http_declare_gone(exchange);
    nb_http_drop(exchange);
}

static void end_late_requests(nb_http *http)
{
    int64_t latest = nb_clock_us() - (int64_t)http->options.receive_timeout_s * 1000000;
    pthread_mutex_lock(&http->lock);
    for (nb_http_link *link = http->link; link; link = link->next) {
        if (link->waiting_since_us && link->waiting_since_us < latest) shutdown(link->fd, SHUT_RDWR);
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
        int n = epoll_wait(http->epoll_fd, event, EVENTS, http->draining ? STOP_TICK_MS : TICK_MS);
        for (int i = 0; i < n; i++) hang_up(http, event[i].data.ptr);
        free_dead(http);
        if (nb_clock_us() - tick_us < TICK_MS * 1000) continue;
        tick_us = nb_clock_us();
        end_late_requests(http);
    }
    return NULL;
}

int nb_http_watch_open(nb_http *http, nb_error *err)
{
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (http->epoll_fd < 0) return nb_error_set(err, NB_ERR_IO, "epoll_create1: %s", strerror(errno));
    int code = pthread_create(&http->watcher, NULL, watch, http);
    if (code == 0) return NB_OK;
    close(http->epoll_fd);
    return nb_error_set(err, NB_ERR_MEMORY, "cannot start a thread: %s", strerror(code));
}

void nb_http_watch_close(nb_http *http)
{
    http->stopping = true;
    pthread_join(http->watcher, NULL);
    close(http->epoll_fd);
    free_dead(http);
}
