// The HTTP/1.1 server under the API: a route table, requests with their whole body, and responses that are given at
// once, later, or piece by piece from any thread. Over libmicrohttpd (epoll, a few threads); TLS when a certificate is
// given.
//
// An exchange is one request and its response. The handler owns it from the moment it is called until it calls exactly
// one of nb_http_reply, nb_http_error or nb_http_stream_end, in the handler or later, on any thread, and always: also
// when the client is gone. After that call the exchange must not be touched.
//
// Done here, so that handlers need not: 404 and 405, limits (serve_limits.h), API keys, CORS, X-Request-Id, HEAD, 503
// while draining, the access log.
#ifndef NB_HTTP_H
#define NB_HTTP_H

#include "base/arena.h"
#include "base/error.h"
#include "serve/auth.h"
#include "serve/serve_limits.h"

typedef struct nb_http nb_http;
typedef struct nb_http_exchange nb_http_exchange;

// ---- Routes ----

// Runs on one of the HTTP threads, which serves other connections too: tens of milliseconds are fine, waiting is not.
// With a body of more than NB_HTTP_INLINE_BODY_MAX it runs on a thread of its own kind, which may take seconds.
typedef void (*nb_http_handler)(void *user, nb_http_exchange *exchange);

typedef enum nb_http_access {
    NB_HTTP_KEYED,  // needs an API key where there are any; 503 while the server drains
    NB_HTTP_OPEN,   // needs none
    NB_HTTP_ALWAYS, // needs none, and is served while the server drains: /health, /readyz, /metrics
} nb_http_access;

typedef enum nb_http_error_form { NB_HTTP_OPENAI, NB_HTTP_ANTHROPIC } nb_http_error_form;

typedef struct nb_http_route {
    const char *method; // "GET" (serves HEAD as well), "POST", ...
    const char *path;   // "/v1/models", without the root path; "/v1/models/*" takes any rest, see nb_http_path_rest
    nb_http_handler fn;
    void *user;
    nb_http_access access;
    nb_http_error_form errors; // how errors of this path look, also those that are answered without the handler
} nb_http_route;

typedef struct nb_http_options { // zero means the default of serve_limits.h
    const char *host;            // an address or a name; NULL: every address
    int port;                    // 0: any free one, see nb_http_port
    const char *root_path;       // in front of every path; NULL or "": none
    const nb_http_route *route;  // [n_route], copied
    int n_route;
    const nb_auth *auth;               // borrowed; NULL: no keys
    const char *const *allowed_origin; // [n_allowed_origin], borrowed; "*": every origin
    int n_allowed_origin;
    const char *ssl_certfile, *ssl_keyfile; // PEM; both or neither
    int n_thread;
    int n_connection_max;
    int64_t body_max_bytes, bodies_max_bytes; // of one request, of all together
    int64_t stream_buffer_max_bytes;
    int receive_timeout_s;
} nb_http_options;

// Listens and serves from then on. NB_ERR_IO: the port is taken, or the certificate cannot be read.
int nb_http_open(const nb_http_options *options, nb_http **out, nb_error *err);
int nb_http_port(const nb_http *http);

// Takes no new connections, answers 503 on old ones, and waits until every exchange is finished or `timeout_s` is over.
// True: all are finished.
bool nb_http_drain(nb_http *http, int timeout_s);
bool nb_http_is_draining(const nb_http *http); // what /readyz tells

// Declares every client gone, waits for their handlers to finish, and stops. What handlers need must still run.
void nb_http_close(nb_http *http);

typedef struct nb_http_stats {
    int n_connection, n_exchange;       // now
    uint64_t n_request, n_gone, n_slow; // ever: requests, clients that left early, readers that were too slow
} nb_http_stats;
void nb_http_stats_read(nb_http *http, nb_http_stats *out);

// ---- The request ----

// Valid until the exchange is finished.
nb_str nb_http_method(const nb_http_exchange *exchange);
nb_str nb_http_path(const nb_http_exchange *exchange);      // without the root path, percent-decoded
nb_str nb_http_path_rest(const nb_http_exchange *exchange); // what stood for the * of the route
nb_str nb_http_body(const nb_http_exchange *exchange);      // a NUL behind it
const char *nb_http_id(const nb_http_exchange *exchange);   // the client's X-Request-Id, or one made here
int64_t nb_http_begin_us(const nb_http_exchange *exchange); // when the request was complete
// Empty when absent, or when the client is gone. Only inside the handler.
nb_str nb_http_request_header(nb_http_exchange *exchange, const char *name);

// `fn` is called at most once, on an HTTP thread, when the client goes away before the exchange is finished. It must
// not block or call anything of this header; it typically cancels the work. It is neither running nor called any more
// once the call that finishes the exchange has returned. Set it in the handler before work begins; if the client has
// gone already it is called from here.
void nb_http_on_gone(nb_http_exchange *exchange, void (*fn)(void *user), void *user);

// ---- The response ----

// A header of the response, before it is given. Names and values are ours: never text of a client.
void nb_http_set_header(nb_http_exchange *exchange, const char *name, const char *value);

// The whole response; the body is copied.
void nb_http_reply(nb_http_exchange *exchange, int status, const char *content_type, nb_str body);

// The error object of the route's form: OpenAI's {"error": {"message", "type", "param", "code"}}, or Anthropic's
// {"type": "error", "error": {"type", "message", "details": {"error_code"}}, "request_id"}; the type follows from the
// status. `param` (the field that is wrong) and `code` (a word for programs: "context_length_exceeded") may be NULL.
// 429 and 503 get a Retry-After.
void nb_http_error(nb_http_exchange *exchange, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

// Appends the same object to `out`: for an error in the middle of a stream, or (exchange NULL) before a request is
// known.
void nb_http_error_json(const nb_http_exchange *exchange, nb_buf *out, int status, const char *param, const char *code,
                        const char *message);

// A response in pieces: open once (status 200), send from any thread but one at a time, end. Sending never waits: bytes
// are buffered, and NB_ERR_LIMIT says that they were dropped because the client is gone or reads too slowly: then the
// work should be cancelled and the stream ended. nb_http_on_gone is not called for a reader that is too slow.
void nb_http_stream_open(nb_http_exchange *exchange, const char *content_type);
int nb_http_stream_send(nb_http_exchange *exchange, nb_str bytes);
void nb_http_stream_end(nb_http_exchange *exchange);
// So many further bytes may wait unread: for what repeats a request or an answer that is in memory anyway, at once and
// however fast the client reads.
void nb_http_stream_allow(nb_http_exchange *exchange, size_t n_bytes);

#endif
