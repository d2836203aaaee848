// Reads the output of one sequence and says what may come next. One thread at a time.
#ifndef NB_MATCHER_H
#define NB_MATCHER_H

#include "constrain/token_mask.h"

typedef struct nb_matcher nb_matcher;

// The automaton is borrowed.
nb_matcher *nb_matcher_open(const nb_automaton *automaton);
void nb_matcher_close(nb_matcher *matcher);

// False: the bytes are not allowed here; the matcher is of no use any more.
bool nb_matcher_read(nb_matcher *matcher, nb_str bytes);
bool nb_matcher_can_end(const nb_matcher *matcher);  // what was read is complete
bool nb_matcher_must_end(const nb_matcher *matcher); // and nothing can follow
// Adds the tokens that are allowed next to mask [n_word of the cache's trie].
int nb_matcher_mask(const nb_matcher *matcher, nb_mask_cache *cache, uint32_t *mask, nb_error *err);

#endif
