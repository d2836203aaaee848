// Server-sent events. See sse.h.
#include "serve/sse.h"

void nb_sse_open(nb_http_exchange *exchange)
{
    nb_http_stream_open(exchange, "text/event-stream; charset=utf-8");
}

int nb_sse_send(nb_http_exchange *exchange, const char *name, nb_str data)
{
    nb_buf event = {0};
    nb_buf_reserve(&event, data.len + 64);
    if (name) nb_buf_printf(&event, "event: %s\n", name);
    nb_buf_add_c(&event, "data: ");
    nb_buf_add_str(&event, data);
    nb_buf_add_c(&event, "\n\n");
    int code = nb_http_stream_send(exchange, nb_buf_str(&event));
    nb_buf_drop(&event);
    return code;
}
