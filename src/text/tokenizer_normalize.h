// Unicode normal forms, as the "normalizer" of tokenizer.json asks for. Used by the tokenizer.
#ifndef NB_TOKENIZER_NORMALIZE_H
#define NB_TOKENIZER_NORMALIZE_H

#include "base/json.h"

typedef struct nb_normalizer {
    int form;           // utf8proc's options; 0: text stays as it is
    uint8_t clean_byte; // text whose bytes are all smaller is in this form already
} nb_normalizer;

// null, NFC, NFD, NFKC, NFKD, or a Sequence with at most one of them; anything else is refused by name.
int nb_normalize_parse(const json_t *json, nb_normalizer *out, nb_error *err);

// `text` (valid UTF-8) in the normal form: `text` itself if it is so already, otherwise made in `work` (cleared first).
nb_str nb_normalize(const nb_normalizer *normalizer, nb_str text, nb_buf *work);

#endif
