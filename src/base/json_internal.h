// Shared by json.c and json_big.c: integers beyond 64 bits, which jansson would refuse.
#ifndef NB_JSON_INTERNAL_H
#define NB_JSON_INTERNAL_H

#include "base/json.h"

// Copies `text` with such integers as marked strings; false, and nothing in `out`, when there are none.
bool nb_json_mark_big(nb_str text, nb_buf *out);

// Appends JSON `text` to `out` with the quotes and marks taken away again.
void nb_json_unmark_big(nb_str text, nb_buf *out);

#endif
