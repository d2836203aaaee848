// The inside of the HTTP server, shared by http*.c.
//
// Objects. A link is one TCP connection; it lives while libmicrohttpd (MHD) has the socket. An exchange has up to three
// owners, each with a reference: MHD (until it reports the request as completed), the handler (until it finishes the
// exchange), and a streamed response that MHD still holds.
//
// Threads. HTTP threads run MHD's callbacks and the handlers; any thread may respond; one watcher thread notices
// clients that hang up while MHD does not look at their socket (it does not while an exchange waits), and requests that
// take too long to arrive; one more thread runs the handlers of requests with large bodies.
//
// Locks. `http->lock` guards the list of links and link->exchange; `exchange->lock` guards its state. Never is the
// first taken while the second is held. `suspended` is set and cleared under exchange->lock, which is what keeps a
// resume from being lost: MHD is told to suspend and to resume only there.
#ifndef NB_HTTP_INTERNAL_H
#define NB_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <microhttpd.h>

#include "serve/http.h"

typedef struct nb_http_link {
    struct nb_http_link *next, *prev; // in http->link
    int fd;
    int64_t waiting_since_us;   // for a request to be complete; 0: one is being answered
    bool begun;                 // the first line of that request has come
    bool hung_up;               // the client closed its side
    nb_http_exchange *exchange; // being answered, or NULL
} nb_http_link;

typedef struct nb_http_header {
    const char *name, *value;
} nb_http_header;

typedef struct nb_http_large { // the queue of http_large.c
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    nb_http_exchange *first, **last;
    bool stopping;
} nb_http_large;

struct nb_http {
    nb_arena *arena; // options and routes
    nb_http_options options;
    nb_http_route *route;
    struct MHD_Daemon *daemon;
    int port, epoll_fd, stop_fd;
    pthread_t watcher;
    nb_http_large large;
    atomic_bool draining, stopping;
    pthread_mutex_t lock;
    pthread_cond_t idle;     // n_exchange fell to 0
    nb_http_link *link;      // open ones
    nb_http_link *dead_link; // closed ones: the watcher frees them once it cannot hold an event of theirs
    int n_link;
    int n_exchange;
    atomic_int_fast64_t n_body_byte; // of all exchanges
    atomic_uint_fast64_t n_request, n_gone, n_slow;
};

// What becomes of a request. Decided with its headers, so that no memory is spent on bodies that nobody will read.
typedef enum nb_http_verdict {
    NB_HTTP_ADMITTED,
    NB_HTTP_PREFLIGHT,
    NB_HTTP_DRAINING,
    NB_HTTP_CROWDED,
    NB_HTTP_UNKNOWN,
    NB_HTTP_NO_KEY,
    NB_HTTP_TOO_LONG,
    NB_HTTP_NO_ROOM, // other requests' bodies take up what is allowed
} nb_http_verdict;

struct nb_http_exchange {
    nb_http *http;
    atomic_int n_ref;
    nb_arena *arena;
    nb_str method, path;
    const char *id;
    const nb_http_route *route;
    nb_str path_rest;
    nb_http_verdict verdict;
    nb_buf body;        // kept only while admitted
    int64_t n_received; // bytes of the body that came, kept or not
    bool preflight;
    const char *allow_origin; // the value of Access-Control-Allow-Origin, or NULL
    int64_t begin_us;
    nb_http_link *link; // NULL once MHD is done with the request; guarded by http->lock
    nb_http_header header[NB_HTTP_HEADERS_MAX];
    int n_header;
    int status;
    nb_http_exchange *next_large; // in http->large

    pthread_mutex_t lock;              // for all below
    struct MHD_Connection *connection; // NULL once MHD is done with the request
    struct MHD_Response *response;     // waits to be queued
    bool suspended;
    bool finished; // by the handler
    bool gone;     // the client left, or reads too slowly
    void (*on_gone)(void *user);
    void *on_gone_user;
    nb_buf stream;
    size_t stream_at;      // bytes of `stream` that MHD has taken
    size_t stream_allowed; // beyond the option's limit
};

// http_exchange.c
enum MHD_Result nb_http_on_request(void *http, struct MHD_Connection *connection, const char *url, const char *method,
                                   const char *version, const char *data, size_t *n_data, void **exchange);
void nb_http_on_completed(void *http, struct MHD_Connection *connection, void **exchange,
                          enum MHD_RequestTerminationCode why);
void nb_http_on_link(void *http, struct MHD_Connection *connection, void **link,
                     enum MHD_ConnectionNotificationCode code);
void *nb_http_on_first_line(void *http, const char *uri, struct MHD_Connection *connection);
void nb_http_take(nb_http_exchange *exchange);
void nb_http_drop(nb_http_exchange *exchange);
void nb_http_declare_gone(nb_http_exchange *exchange); // the caller has a reference
void nb_http_resume(nb_http_exchange *exchange);       // exchange->lock is held

// http_route.c
// Finds the route and the verdict, but for what the body will show. n_byte: of the body, as announced; -1: not said.
void nb_http_judge(nb_http_exchange *exchange, int64_t n_byte);
// Answers what is not admitted. True: the handler is to run.
bool nb_http_admit(nb_http_exchange *exchange);
const char *nb_http_allowed_origin(const nb_http *http, const char *origin); // see exchange->allow_origin

// http_watch.c
int nb_http_watch_open(nb_http *http, nb_error *err);
void nb_http_watch_close(nb_http *http);
void nb_http_watch_add(nb_http *http, nb_http_link *link); // http->lock is held
void nb_http_watch_remove(nb_http *http, nb_http_link *link);

// http_large.c
int nb_http_large_open(nb_http *http, nb_error *err);
void nb_http_large_close(nb_http *http);                           // when no exchange is open any more
void nb_http_large_add(nb_http *http, nb_http_exchange *exchange); // its handler will run on the thread

// http_listen.c
int nb_http_listen(const nb_http_options *options, int *fd, int *port, nb_error *err);

#endif
