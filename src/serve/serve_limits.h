// Every limit of the HTTP side in one place. What an operator may change is an option of http.h; these are its
// defaults.
#ifndef NB_SERVE_LIMITS_H
#define NB_SERVE_LIMITS_H

enum {
    NB_HTTP_BODY_MAX = 32 << 20,         // bytes of a request body: 413 above
    NB_HTTP_INLINE_BODY_MAX = 256 << 10, // bytes of a body that an HTTP thread itself deals with
    NB_HTTP_BODIES_MAX = 1 << 30,        // bytes of all request bodies together: 503 above
    NB_HTTP_DRAIN_MAX = 256 << 20,       // bytes of a body that is too long, read so that the client can see its 413
    NB_HTTP_HEAD_MAX = 32 << 10,         // bytes of the request line and headers: 431 above
    NB_HTTP_CONNECTIONS_MAX = 4096,      // open at once: 503 above
    NB_HTTP_CONNECTIONS_SPARE = 512,     // further ones that are let in to be told so; the rest wait to be accepted
    NB_HTTP_STREAM_BUFFER_MAX = 1 << 20, // bytes a slow reader may leave unread before its request is cancelled
    NB_HTTP_RECEIVE_TIMEOUT_S = 60,      // for a whole request to arrive, and for a reader that takes nothing
    NB_HTTP_THREADS = 4,
    NB_HTTP_ID_MAX = 128,     // characters of an X-Request-Id
    NB_HTTP_HEADERS_MAX = 16, // headers that a handler may add to a response
    NB_AUTH_KEYS_MAX = 1024,
    NB_AUTH_KEY_MAX = 512, // characters of an API key
};

#endif
