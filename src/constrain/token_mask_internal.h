// A walk of the trie: token_mask_walk.c. The cache around it: token_mask.c.
#ifndef NB_TOKEN_MASK_INTERNAL_H
#define NB_TOKEN_MASK_INTERNAL_H

#include "constrain/token_mask.h"

typedef struct nb_mask_walk {
    const nb_vocabulary_trie *trie;
    nb_stacks stacks; // scratch
    nb_head *head;    // heads at each depth, one behind the other
    int32_t *tok;     // [n_tok] found; plain groups that are allowed as a whole are in `whole` instead
    int32_t n_tok;
    bool whole[NB_TRIE_PLAIN_GROUPS];
    int32_t *resume; // [n_resume] nodes where the rule ended and longer tokens go on
    int32_t n_resume, cap_resume;
    int64_t work;
} nb_mask_walk;

void nb_mask_walk_open(nb_mask_walk *walk, const nb_vocabulary_trie *trie);
void nb_mask_walk_close(nb_mask_walk *walk);
// From the trie's root with one head. False: too much work.
bool nb_mask_walk_head(nb_mask_walk *walk, const nb_automaton *automaton, int32_t state);
// From nodes where a rule ended, with the state behind its call.
bool nb_mask_walk_resume(nb_mask_walk *walk, const nb_automaton *automaton, int32_t state, const int32_t *node,
                         int32_t n);

#endif
