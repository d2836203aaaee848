// Small ids (pages, slots) in the order in which they were last used. The links are two arrays indexed by id, so every
// operation is O(1) and nothing is allocated after open. An id is in the list at most once.
#ifndef NB_LRU_H
#define NB_LRU_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nb_lru {
    int32_t *newer, *older; // [n_id]; NB_LRU_END at the ends, NB_LRU_OUT where the id is not in the list
    int32_t oldest, newest;
    int n; // ids in the list
} nb_lru;

enum { NB_LRU_END = -1, NB_LRU_OUT = -2 };

void nb_lru_open(nb_lru *lru, int n_id);
void nb_lru_close(nb_lru *lru);
void nb_lru_push(nb_lru *lru, int32_t id); // becomes the newest; it must not be in the list
void nb_lru_remove(nb_lru *lru, int32_t id);
bool nb_lru_has(const nb_lru *lru, int32_t id);

#endif
