// The tokenizer's parts, shared by tokenizer*.c and token_stream.c.
#ifndef NB_TOKENIZER_INTERNAL_H
#define NB_TOKENIZER_INTERNAL_H

#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_normalize.h"

enum {
    NB_TOKENIZER_FILE_MAX = 256 << 20, // bytes of tokenizer.json
    NB_TOKENIZER_TEXT_MAX = 1 << 30,   // bytes of one text to encode
};

struct nb_tokenizer {
    nb_arena *arena;
    nb_bpe *bpe;
    nb_pretokenizer *pretokenizer;
    nb_normalizer normalizer;
    nb_added_token *added; // [n_added]
    int32_t n_added;
    nb_added_set raw, normalized; // the added tokens looked for before and after normalization
    const nb_added_token **by_id; // [n_by_id]; NULL for plain tokens
    int32_t n_by_id, n_id;        // equal once everything is loaded
};

// Fills a zeroed tokenizer from the parsed files. `root` lacks what `large` has; `config` may be NULL.
int nb_tokenizer_load(nb_tokenizer *tokenizer, const json_t *root, const nb_tokenizer_json *large, const json_t *config,
                      nb_error *err);

#endif
