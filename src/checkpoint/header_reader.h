// Reads the JSON of a safetensors header token by token. Internal to checkpoint/.
#ifndef NB_HEADER_READER_H
#define NB_HEADER_READER_H

#include "base/error.h"
#include "base/str.h"

typedef struct nb_header_reader {
    const char *begin, *at, *end; // the header's text
    const uint8_t *data;          // the tensors' bytes behind it
    size_t n_data;
    nb_buf scratch; // strings with escapes are unescaped into this
    nb_error *err;
} nb_header_reader;

// Each skips white space first. `expect` fails unless `c` comes next; `take` moves on only if it does.
int nb_header_expect(nb_header_reader *r, char c);
bool nb_header_take(nb_header_reader *r, char c);
int nb_header_string(nb_header_reader *r, nb_str *out);   // valid UTF-8; the bytes live until the next string is read
int nb_header_number(nb_header_reader *r, uint64_t *out); // digits only, below 2^63
int nb_header_end(nb_header_reader *r);                   // nothing but white space may follow

#endif
