// Server-sent events (WHATWG HTML, section 9.2) from bytes that come in any pieces: one call for each event's data.
// Names, ids and comments of events are skipped: the OpenAI API puts everything into the data.
#ifndef NB_SSE_READER_H
#define NB_SSE_READER_H

#include <stdbool.h>

#include "base/error.h"
#include "base/str.h"

#define NB_SSE_READER_BYTES_MAX ((size_t)16 << 20)

typedef int (*nb_sse_reader_fn)(void *user, nb_str data, nb_error *err); // not NB_OK ends the feeding with that code

// Zero-initialise; nb_sse_reader_drop frees.
typedef struct nb_sse_reader {
    nb_buf line; // the beginning of a line whose end has not come
    nb_buf data; // of the event that has not ended
    bool has_data;
    bool after_cr; // a line feed that comes next belongs to the line that has ended
} nb_sse_reader;

int nb_sse_reader_feed(nb_sse_reader *sse, nb_str bytes, nb_sse_reader_fn on_event, void *user, nb_error *err);
void nb_sse_reader_drop(nb_sse_reader *sse);

#endif
