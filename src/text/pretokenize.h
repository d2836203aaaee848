// Cuts text into the pieces that are merged separately, as the "pre_tokenizer" of tokenizer.json says: a chain of
// splits by regular expressions, taken from the file and run by PCRE2 with JIT. Immutable after opening. Used by the
// tokenizer.
#ifndef NB_PRETOKENIZE_H
#define NB_PRETOKENIZE_H

#include "base/json.h"

enum {
    NB_PRETOKENIZE_STEPS_MAX = 16,
    NB_PRETOKENIZE_PATTERN_MAX = 1 << 16, // bytes of an expression
    NB_PRETOKENIZE_MATCH_MAX = 50000000,  // PCRE2's match limit: an expression that explodes ends with an error
    NB_PRETOKENIZE_HEAP_MAX_KB = 1 << 18,
};

typedef struct nb_pretokenizer nb_pretokenizer;

// `json` is the "pre_tokenizer" value. It must contain ByteLevel, whose part in the work (bytes as characters) the
// tokenizer does by itself. Supported: Split, Digits, ByteLevel and Sequences of them; others are refused by name.
int nb_pretokenize_open(const json_t *json, nb_pretokenizer **out, nb_error *err);
void nb_pretokenize_close(nb_pretokenizer *pretokenizer);

// Gives the pieces of `text` (valid UTF-8) in order; none is empty. A failure of `fn` ends it and is returned.
typedef int (*nb_piece_fn)(void *user, nb_str piece, nb_error *err);
int nb_pretokenize(const nb_pretokenizer *pretokenizer, nb_str text, nb_piece_fn fn, void *user, nb_error *err);

#endif
