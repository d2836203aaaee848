// Regular expressions as grammar expressions: what ECMAScript, Python and Rust have in common, over characters.
//
// Literals, ".", classes, \d \w \s and their opposites, escapes, groups (captures mean nothing), "|", all quantifiers
// (greedy or not is the same language), "^" and "$" at the ends, look-ahead at the beginning, flags (?i) and (?s).
// Refused, with their place: look-ahead elsewhere, look-behind, back references, word boundaries, \p{...}, and anchors
// in the middle.
#ifndef NB_GRAMMAR_REGEX_H
#define NB_GRAMMAR_REGEX_H

#include "constrain/grammar.h"

enum {
    NB_REGEX_BYTES_MAX = 64 << 10,
    NB_REGEX_DEPTH_MAX = 100, // nested groups
};

typedef nb_expr (*nb_regex_chars_fn)(nb_grammar *g, const nb_char_set *set);

typedef struct nb_regex_options {
    bool search;             // the text only has to contain a match, as JSON Schema's "pattern" says
    nb_regex_chars_fn chars; // one character of a set; NULL: as UTF-8
} nb_regex_options;

int nb_grammar_regex(nb_grammar *g, nb_str pattern, const nb_regex_options *options, nb_expr *out, nb_error *err);

#endif
