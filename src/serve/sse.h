// Server-sent events over a streamed response.
#ifndef NB_SSE_H
#define NB_SSE_H

#include "serve/http.h"

void nb_sse_open(nb_http_exchange *exchange);

// One event: "event: NAME" if it has one (NULL: none), "data: ..." and a blank line. `data` (JSON on one line) must not
// contain a line break. Returns as nb_http_stream_send.
int nb_sse_send(nb_http_exchange *exchange, const char *name, nb_str data);

#endif
