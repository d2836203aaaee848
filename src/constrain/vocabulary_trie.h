// The byte strings of all tokens as a trie in one array, in the order of a walk: the nodes below node i are those
// behind it up to node[i].end, so a walk goes forward through memory and leaves out a branch by one jump.
//
// Free text and JSON strings allow most of a vocabulary, and are where a model spends its time. For them plain
// characters (all of UTF-8 but controls, quotation marks and backslashes) are set apart:
//  - Tokens of plain characters alone form groups by their number of characters. The masks of these groups are known
//    beforehand: where the next n characters may be any, a group of at most n is allowed without a look.
//  - All other tokens have a trie, and once more one trie for each number of plain characters that they begin with, of
//    what comes behind these. Where the next n characters may be any and lead to the same state, only these short
//    tails have to be looked at.
// Immutable; shared by all threads.
#ifndef NB_VOCABULARY_TRIE_H
#define NB_VOCABULARY_TRIE_H

#include "text/tokenizer.h"

enum {
    NB_TRIE_TOKEN_BYTES_MAX = 255, // longer tokens are never allowed where output is constrained
    NB_TRIE_PLAIN_GROUPS = 6,
    NB_TRIE_PREFIX_MAX = 24,             // plain characters before a tail
    NB_TRIE_REST = NB_TRIE_PLAIN_GROUPS, // the group of all tokens that are not plain
    NB_TRIE_TAILS = NB_TRIE_REST + 1,    // of their tails behind 0, 1, ... NB_TRIE_PREFIX_MAX plain characters
    NB_TRIE_LONG = NB_TRIE_TAILS + NB_TRIE_PREFIX_MAX + 1, // of those with more, whole
    NB_TRIE_GROUPS,
};

// Characters of the longest token in each plain group.
static const int nb_trie_plain_chars[NB_TRIE_PLAIN_GROUPS] = {1, 3, 6, 12, NB_TRIE_PREFIX_MAX, NB_TRIE_TOKEN_BYTES_MAX};

typedef struct nb_trie_node {
    int32_t end;  // the first node that is not below this one
    int32_t list; // the tokens that end here: list[list], ... up to one that is stored as its complement; -1: none
    uint8_t byte;
    uint8_t depth; // bytes up to and with this one
} nb_trie_node;

typedef struct nb_vocabulary_trie {
    nb_trie_node *node;
    int32_t group[NB_TRIE_GROUPS + 1]; // first node of each group
    int32_t *list;
    uint32_t *mask[NB_TRIE_PLAIN_GROUPS]; // [n_word] tokens of a plain group
    int32_t n_tok;                        // of the model: ids without text have no node
    int32_t n_word;                       // of a mask: ceil(n_tok / 32)
} nb_vocabulary_trie;

// `n_tok` is the model's vocabulary, which may be larger than the tokenizer's. Of the added tokens only the tags of
// tool calls are taken in: the others say something besides their text, which in output of a given form nobody means;
// their text can be written with other tokens.
void nb_vocabulary_trie_open(nb_vocabulary_trie *trie, const nb_tokenizer *tokenizer, int32_t n_tok);
// The same of byte strings [n_tok]; empty ones are left out. For benchmarks and tests.
void nb_vocabulary_trie_make(nb_vocabulary_trie *trie, const nb_str *token, int32_t n_tok);
void nb_vocabulary_trie_close(nb_vocabulary_trie *trie);

#endif
