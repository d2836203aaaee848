// Added tokens: fixed texts that are cut out of the input before anything else is done to it. The longest one that
// begins at a place counts. Filled while a tokenizer is loaded, immutable after that. Used by the tokenizer.
#ifndef NB_TOKENIZER_ADDED_H
#define NB_TOKENIZER_ADDED_H

#include "base/arena.h"

enum {
    NB_ADDED_MAX = 1 << 16,      // added tokens of a tokenizer
    NB_ADDED_TEXT_MAX = 1 << 10, // bytes of one
};

typedef struct nb_added_token {
    nb_str text;
    int32_t id;
    bool lstrip, rstrip; // takes the white space on its left, right along
    bool single_word;    // only where no letter, digit or mark touches it
    bool normalized;     // is looked for in the normalized text
    bool special;        // left out of decoded text
} nb_added_token;

// A set of texts, as a tree of bytes.
typedef struct nb_added_set {
    struct nb_added_node *node; // node[0] is unused: 0 means none
    int32_t n_node, cap;
    int32_t first[256]; // the node of texts that begin with this byte
} nb_added_set;

void nb_added_put(nb_added_set *set, nb_str text, int32_t i_token);
void nb_added_drop(nb_added_set *set);

// Where the next token of `set` at or after `from` lies, white space that it takes along included (never before
// `from`); `token` is the table that i_token of nb_added_put counts in. NULL: none, and everything up to the end is
// plain.
const nb_added_token *nb_added_next(const nb_added_set *set, const nb_added_token *token, nb_str text, size_t from,
                                    size_t *begin, size_t *end);

#endif
