// Doubly linked list in arrays: see lru.h.
#include "engine/lru.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"

void nb_lru_open(nb_lru *lru, int n_id)
{
    *lru = (nb_lru){.oldest = NB_LRU_END, .newest = NB_LRU_END};
    lru->newer = nb_alloc(sizeof(int32_t) * (size_t)n_id);
    lru->older = nb_alloc(sizeof(int32_t) * (size_t)n_id);
    for (int i = 0; i < n_id; i++) lru->newer[i] = lru->older[i] = NB_LRU_OUT;
}

void nb_lru_close(nb_lru *lru)
{
    free(lru->newer);
    free(lru->older);
}

void nb_lru_push(nb_lru *lru, int32_t id)
{
    assert(!nb_lru_has(lru, id));
    lru->newer[id] = NB_LRU_END;
    lru->older[id] = lru->newest;
    if (lru->newest == NB_LRU_END)
        lru->oldest = id;
    else
        lru->newer[lru->newest] = id;
    lru->newest = id;
    lru->n++;
}

void nb_lru_remove(nb_lru *lru, int32_t id)
{
    assert(nb_lru_has(lru, id));
    int32_t newer = lru->newer[id], older = lru->older[id];
    if (newer == NB_LRU_END)
        lru->newest = older;
    else
        lru->older[newer] = older;
    if (older == NB_LRU_END)
        lru->oldest = newer;
    else
        lru->newer[older] = newer;
    lru->newer[id] = lru->older[id] = NB_LRU_OUT;
    lru->n--;
}

bool nb_lru_has(const nb_lru *lru, int32_t id)
{
    return lru->newer[id] != NB_LRU_OUT;
}
