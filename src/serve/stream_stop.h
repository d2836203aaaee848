// Stop strings over a stream of text: they are found also where they lie across the pieces. Text that could still
// become one is held back.
#ifndef NB_STREAM_STOP_H
#define NB_STREAM_STOP_H

#include "base/str.h"

typedef struct nb_stop {
    const nb_str *text; // [n], none empty; borrowed
    int n;
    bool include; // the found string stays in the text
    nb_buf held;
} nb_stop;

// Appends to `out` what is certain. Returns the index of the stop string that was found, the earliest in the text, or
// -1. After a find nothing more may be fed.
int nb_stop_feed(nb_stop *stop, nb_str piece, nb_buf *out);
void nb_stop_end(nb_stop *stop, nb_buf *out); // the text is over: what was held back
void nb_stop_drop(nb_stop *stop);

#endif
