// The byte strings of all tokens as a trie in one array, in the order of a walk: the nodes below node i are those
// behind it up to node[i].end, so a walk goes forward through memory and leaves out a branch by one jump.
//
// Tokens are kept in groups, each with a trie of its own. Plain tokens are whole characters of UTF-8 without
// controls, quotation marks and backslashes; they are grouped by their number of characters. The masks of these groups
// are known beforehand, which is what makes free text and JSON strings cheap: there most of a vocabulary is allowed at
// once. Immutable; shared by all threads.
#ifndef NB_VOCABULARY_TRIE_H
#define NB_VOCABULARY_TRIE_H

#include "text/tokenizer.h"

enum {
    NB_TRIE_TOKEN_BYTES_MAX = 255, // longer tokens are never allowed where output is constrained
    NB_TRIE_PLAIN_GROUPS = 6,
    NB_TRIE_GROUPS = NB_TRIE_PLAIN_GROUPS + 1, // the last one holds what is not plain
};

// Characters of the longest token in each plain group.
static const int nb_trie_plain_chars[NB_TRIE_PLAIN_GROUPS] = {1, 3, 6, 12, 24, NB_TRIE_TOKEN_BYTES_MAX};

typedef struct nb_trie_node {
    int32_t end; // the first node that is not below this one
    int32_t tok; // a token that ends here, or -1; more of the same bytes follow by `twin`
    uint8_t byte;
    uint8_t depth; // bytes up to and with this one
} nb_trie_node;

typedef struct nb_vocabulary_trie {
    nb_trie_node *node;
    int32_t group[NB_TRIE_GROUPS + 1];    // first node of each group
    int32_t *twin;                        // [n_tok] another token of the same bytes, or -1
    uint32_t *mask[NB_TRIE_PLAIN_GROUPS]; // [n_word] tokens of a plain group
    int32_t n_tok;                        // of the model: ids without text have no node
    int32_t n_word;                       // of a mask: ceil(n_tok / 32)
} nb_vocabulary_trie;

// `n_tok` is the model's vocabulary, which may be larger than the tokenizer's. Special tokens are left out.
void nb_vocabulary_trie_open(nb_vocabulary_trie *trie, const nb_tokenizer *tokenizer, int32_t n_tok);
// The same of byte strings [n_tok]; empty ones are left out. For benchmarks and tests.
void nb_vocabulary_trie_make(nb_vocabulary_trie *trie, const nb_str *token, int32_t n_tok);
void nb_vocabulary_trie_close(nb_vocabulary_trie *trie);

#endif
