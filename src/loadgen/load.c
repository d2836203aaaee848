// The loop. libcurl says which sockets to watch and when to be called again; arrivals have their own times. A request
// that is due while max_concurrency others run waits for one of them to end.
#include "loadgen/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "loadgen/load_internal.h"

enum { EVENTS_MAX = 256, POLL_MS = 100 };

typedef struct loop {
    const nb_load_options *o;
    nb_load_result *result;
    CURLM *multi;
    int epoll;
    int64_t begin_us, timer_us; // timer_us: when libcurl wants to be called; -1: it does not
    int n_sent, n_active, n_done;
    nb_load_request **active; // by number of the prompt; NULL when it does not run
} loop;

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
    (void)easy;
    loop *l = user;
    struct epoll_event event = {.data.fd = fd};
    if (what != CURL_POLL_OUT) event.events |= EPOLLIN;
    if (what != CURL_POLL_IN) event.events |= EPOLLOUT;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    epoll_ctl(l->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    curl_multi_assign(l->multi, fd, l);
    return 0;
}

static int on_timer(CURLM *multi, long wait_ms, void *user)
{
    (void)multi;
    loop *l = user;
    l->timer_us = wait_ms < 0 ? -1 : nb_clock_us() + wait_ms * 1000;
    return 0;
}

static bool may_send(const loop *l)
{
    return l->n_sent < l->o->n && (l->o->max_concurrency == 0 || l->n_active < l->o->max_concurrency);
}

static void send_due(loop *l)
{
    while (may_send(l) && l->o->at_us[l->n_sent] <= nb_clock_us() - l->begin_us) {
        int i = l->n_sent++;
        l->result[i].due_us = l->o->at_us[i];
        l->active[i] = nb_load_request_open(l->o, i, l->begin_us, &l->result[i]);
        l->n_active++;
        curl_multi_add_handle(l->multi, l->active[i]->easy);
    }
}

static void remove_request(loop *l, nb_load_request *r)
{
    curl_multi_remove_handle(l->multi, r->easy);
    l->active[r->prompt - l->o->prompt] = NULL;
    l->n_active--;
    nb_load_request_close(r);
}

static void take_finished(loop *l)
{
    int n_left;
    for (CURLMsg *message; (message = curl_multi_info_read(l->multi, &n_left));) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        nb_load_request *r = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r);
        nb_load_request_end(r, code);
        remove_request(l, r);
        l->n_done++;
    }
}

// Until libcurl's timer, the next arrival, or the next look at the interrupt flag.
static int wait_ms(const loop *l)
{
    int64_t now_us = nb_clock_us(), until_us = now_us + POLL_MS * 1000;
    if (l->timer_us >= 0 && l->timer_us < until_us) until_us = l->timer_us;
    if (may_send(l) && l->begin_us + l->o->at_us[l->n_sent] < until_us) until_us = l->begin_us + l->o->at_us[l->n_sent];
    return until_us > now_us ? (int)((until_us - now_us) / 1000) : 0;
}

static void step(loop *l)
{
    struct epoll_event event[EVENTS_MAX];
    int n_running, n = epoll_wait(l->epoll, event, EVENTS_MAX, wait_ms(l));
    for (int i = 0; i < n; i++) {
        int mask =
            (event[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) | (event[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
        if (event[i].events & (EPOLLERR | EPOLLHUP)) mask |= CURL_CSELECT_ERR;
        curl_multi_socket_action(l->multi, event[i].data.fd, mask, &n_running);
    }
    if (l->timer_us >= 0 && l->timer_us <= nb_clock_us()) {
        l->timer_us = -1;
        curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &n_running);
    }
    take_finished(l);
}

static void cancel_active(loop *l)
{
    for (int i = 0; i < l->n_sent; i++) {
        if (!l->active[i]) continue;
        remove_request(l, l->active[i]);
        l->result[i].state = NB_LOAD_CANCELLED;
    }
}

// Each request has a connection of its own.
static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_loop(loop *l, nb_error *err)
{
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) return nb_error_set(err, NB_ERR_IO, "cannot watch sockets: %s", strerror(errno));
    l->multi = curl_multi_init();
    if (!l->multi) return nb_error_set(err, NB_ERR_MEMORY, "libcurl could not be started");
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
    curl_multi_setopt(l->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    l->active = nb_alloc(sizeof *l->active * (size_t)l->o->n);
    return NB_OK;
}

static void close_loop(loop *l)
{
    if (l->multi) curl_multi_cleanup(l->multi);
    if (l->epoll >= 0) close(l->epoll);
    free(l->active);
}

static void run(loop *l)
{
    const nb_load_options *o = l->o;
    while (l->n_done < o->n && !(o->interrupted && *o->interrupted)) {
        send_due(l);
        step(l);
        if (o->progress) o->progress(o->user, l->n_done, o->n);
    }
    cancel_active(l);
}

int nb_load_run(const nb_load_options *options, nb_load_result *result, int64_t *duration_us, nb_error *err)
{
    loop l = {.o = options, .result = result, .timer_us = -1, .epoll = -1};
    allow_many_files();
    int code = open_loop(&l, err);
    l.begin_us = nb_clock_us();
    if (code == NB_OK) run(&l);
    *duration_us = nb_clock_us() - l.begin_us;
    close_loop(&l);
    return code;
}

void nb_load_results_drop(nb_load_result *result, int n)
{
    for (int i = 0; i < n; i++) {
        free(result[i].gap_us);
        free(result[i].text);
        free(result[i].error);
    }
}
