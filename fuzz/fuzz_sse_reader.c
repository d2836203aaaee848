// Server-sent events: however a stream is cut, the same events come out. The first byte chooses the cut.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "loadgen/sse_reader.h"

static int add_event(void *user, nb_str data, nb_error *err)
{
    (void)err;
    nb_buf_printf(user, "%zu:", data.len);
    nb_buf_add_str(user, data);
    return NB_OK;
}

static void read_in_pieces(nb_str bytes, size_t piece, nb_buf *out)
{
    nb_sse_reader reader = {0};
    nb_error err;
    for (size_t at = 0; at < bytes.len; at += piece) {
        if (nb_sse_reader_feed(&reader, nb_str_slice(bytes, at, at + piece), add_event, out, &err) != NB_OK) abort();
    }
    nb_sse_reader_drop(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) return 0;
    nb_str bytes = {(const char *)data + 1, n - 1};
    nb_buf whole = {0}, pieces = {0};
    read_in_pieces(bytes, n, &whole);
    read_in_pieces(bytes, 1 + data[0] % 16, &pieces);
    if (!nb_str_equal(nb_buf_str(&whole), nb_buf_str(&pieces))) abort();
    nb_buf_drop(&whole);
    nb_buf_drop(&pieces);
    return 0;
}
