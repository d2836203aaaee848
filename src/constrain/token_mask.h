// Which tokens may come next, as a function of the heads of an automaton's stacks.
//
// What a head allows is found by walking the vocabulary's trie with it, and kept. Most tokens are decided by the head's
// own state; where a rule ends in the middle of a token the walk stops and notes the place, and the rest is found (and
// kept, too) for each frame that was found below. So the work is done once per state and once per pair of a state and
// what called it, and afterwards a mask is the union of a few known sets.
//
// One cache serves all automata of a vocabulary; the least recently used entries go when it is full. Any thread.
#ifndef NB_TOKEN_MASK_H
#define NB_TOKEN_MASK_H

#include "constrain/stacks.h"
#include "constrain/vocabulary_trie.h"

enum {
    NB_MASK_CACHE_BYTES = 256 << 20,
    NB_MASK_WORK_MAX = 8 * 1000 * 1000, // steps of one mask: bounds its time to about a tenth of a second
};

enum {
    NB_MASK_WARM_WORK = 8 * 1000 * 1000,
    NB_MASK_WARM_BYTES = 16, // of ASCII that a state reads, to be worth it
};

typedef struct nb_mask_cache nb_mask_cache;

nb_mask_cache *nb_mask_cache_open(const nb_vocabulary_trie *trie, int64_t max_bytes);
void nb_mask_cache_close(nb_mask_cache *cache);

// Finds beforehand what heads with many bytes to read allow: the costly walks, on the thread of who compiled the
// automaton instead of the one that generates. As far as NB_MASK_WARM_WORK goes.
void nb_mask_cache_warm(nb_mask_cache *cache, const nb_automaton *automaton);

// Adds to mask [trie->n_word] the tokens that any of the heads allows. NB_ERR_LIMIT: it would take too much work.
int nb_mask_cache_add(nb_mask_cache *cache, const nb_stacks *stacks, const nb_head *head, int n, uint32_t *mask,
                      nb_error *err);

typedef struct nb_mask_cache_stats {
    int64_t n_entry, n_byte, n_hit, n_miss;
} nb_mask_cache_stats;
nb_mask_cache_stats nb_mask_cache_read(nb_mask_cache *cache);

#endif
