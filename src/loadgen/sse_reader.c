// Lines end with CR, LF or both; an empty line ends the event. A line that came whole is read where it lies; only the
// pieces of a torn one are copied.
#include "loadgen/sse_reader.h"

#include <string.h>

static int end_event(nb_sse_reader *s, nb_sse_reader_fn on_event, void *user, nb_error *err)
{
    if (!s->has_data) return NB_OK;
    s->has_data = false;
    int code = on_event(user, nb_buf_str(&s->data), err);
    nb_buf_clear(&s->data);
    return code;
}

static int take_line(nb_sse_reader *s, nb_str line, nb_sse_reader_fn on_event, void *user, nb_error *err)
{
    if (line.len == 0) return end_event(s, on_event, user, err);
    nb_str value = nb_str_slice(line, 4, line.len);
    if (!nb_str_starts(line, NB_STR("data")) || (value.len && value.ptr[0] != ':')) return NB_OK;
    value = nb_str_slice(value, 1, value.len);
    if (value.len && value.ptr[0] == ' ') value = nb_str_slice(value, 1, value.len);
    if (s->data.len + value.len >= NB_SSE_READER_BYTES_MAX)
        return nb_error_set(err, NB_ERR_LIMIT, "an event of the stream has more than %zu bytes",
                            NB_SSE_READER_BYTES_MAX);
    if (s->has_data) nb_buf_add_char(&s->data, '\n');
    nb_buf_add_str(&s->data, value);
    s->has_data = true;
    return NB_OK;
}

static int keep_piece(nb_sse_reader *s, nb_str piece, nb_error *err)
{
    if (s->line.len + piece.len > NB_SSE_READER_BYTES_MAX)
        return nb_error_set(err, NB_ERR_LIMIT, "a line of the stream has more than %zu bytes", NB_SSE_READER_BYTES_MAX);
    nb_buf_add_str(&s->line, piece);
    return NB_OK;
}

static size_t line_end(nb_str bytes)
{
    size_t at = 0;
    while (at < bytes.len && bytes.ptr[at] != '\n' && bytes.ptr[at] != '\r') at++;
    return at;
}

int nb_sse_reader_feed(nb_sse_reader *s, nb_str bytes, nb_sse_reader_fn on_event, void *user, nb_error *err)
{
    while (bytes.len) {
        if (s->after_cr && bytes.ptr[0] == '\n') bytes = nb_str_slice(bytes, 1, bytes.len);
        s->after_cr = false;
        size_t end = line_end(bytes);
        nb_str line = nb_str_slice(bytes, 0, end);
        if (end == bytes.len) return keep_piece(s, line, err);
        s->after_cr = bytes.ptr[end] == '\r';
        bytes = nb_str_slice(bytes, end + 1, bytes.len);
        if (s->line.len) {
            NB_TRY(keep_piece(s, line, err));
            line = nb_buf_str(&s->line);
        }
        NB_TRY(take_line(s, line, on_event, user, err));
        nb_buf_clear(&s->line);
    }
    return NB_OK;
}

void nb_sse_reader_drop(nb_sse_reader *s)
{
    nb_buf_drop(&s->line);
    nb_buf_drop(&s->data);
}
