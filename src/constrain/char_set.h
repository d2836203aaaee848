// A set of Unicode code points as sorted, disjoint ranges. Surrogates are never in one.
#ifndef NB_CHAR_SET_H
#define NB_CHAR_SET_H

#include <stdbool.h>
#include <stdint.h>

enum { NB_CHAR_LAST = 0x10FFFF };

typedef struct nb_char_range {
    uint32_t lo, hi; // both inside
} nb_char_range;

typedef struct nb_char_set { // zero-initialise; nb_char_set_drop frees
    nb_char_range *range;    // [n]
    int n, cap;
} nb_char_set;

void nb_char_set_add(nb_char_set *set, uint32_t lo, uint32_t hi);
void nb_char_set_add_set(nb_char_set *set, const nb_char_set *other);
void nb_char_set_remove(nb_char_set *set, uint32_t lo, uint32_t hi);
void nb_char_set_invert(nb_char_set *set);
void nb_char_set_fold_ascii(nb_char_set *set); // letters of ASCII in both cases
bool nb_char_set_has(const nb_char_set *set, uint32_t c);
void nb_char_set_drop(nb_char_set *set);

#endif
