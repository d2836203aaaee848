// See stream_stop.h.
#include "serve/stream_stop.h"

#include <string.h>

static int find_first(const nb_stop *stop, nb_str text, size_t *at)
{
    int found = -1;
    for (int i = 0; i < stop->n; i++) {
        int64_t here = nb_str_find(text, stop->text[i], 0);
        if (here < 0 || (found >= 0 && (size_t)here >= *at)) continue;
        found = i;
        *at = (size_t)here;
    }
    return found;
}

// Bytes at the end of `text` with which a stop string begins.
static size_t unfinished(const nb_stop *stop, nb_str text)
{
    size_t longest = 0;
    for (int i = 0; i < stop->n; i++) {
        size_t n = stop->text[i].len - 1;
        for (n = n < text.len ? n : text.len; n > longest; n--)
            if (!memcmp(text.ptr + text.len - n, stop->text[i].ptr, n)) longest = n;
    }
    return longest;
}

int nb_stop_feed(nb_stop *stop, nb_str piece, nb_buf *out)
{
    size_t at = 0;
    if (stop->n == 0) {
        nb_buf_add_str(out, piece);
        return -1;
    }
    nb_buf_add_str(&stop->held, piece);
    nb_str text = nb_buf_str(&stop->held);
    int found = find_first(stop, text, &at);
    size_t n = found < 0 ? text.len - unfinished(stop, text) : at + (stop->include ? stop->text[found].len : 0);
    nb_buf_add_str(out, nb_str_slice(text, 0, n));
    memmove(stop->held.ptr, stop->held.ptr + n, text.len - n);
    stop->held.len = found < 0 ? text.len - n : 0;
    return found;
}

void nb_stop_end(nb_stop *stop, nb_buf *out)
{
    nb_buf_add_str(out, nb_buf_str(&stop->held));
    nb_buf_clear(&stop->held);
}

void nb_stop_drop(nb_stop *stop)
{
    nb_buf_drop(&stop->held);
}
