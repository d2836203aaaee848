// How often each token of a request occurs, in the form that the sampler's penalties want: one entry a token. Counting
// is O(1): a hash table maps tokens to entries.
#ifndef NB_TALLY_H
#define NB_TALLY_H

#include <stdbool.h>

#include "model/batch.h"

typedef struct nb_tally {
    nb_history *entry; // [n], in order of first occurrence
    int n, cap;
    int32_t *index; // [2 * cap] open addressing: an entry, -1: empty
} nb_tally;

void nb_tally_open(nb_tally *tally, int cap); // room for that many different tokens; it grows when there are more
void nb_tally_close(nb_tally *tally);
int32_t nb_tally_find(const nb_tally *tally, int32_t tok); // its entry, or -1
void nb_tally_add(nb_tally *tally, int32_t tok, bool output);

#endif
