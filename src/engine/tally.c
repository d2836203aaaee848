// Token counts: see tally.h.
#include "engine/tally.h"

#include <stdlib.h>

#include "base/arena.h"

// The place of `tok` in the index, or the empty one where it belongs. At most half of the places are used.
static int32_t *place_of(const nb_tally *tally, int32_t tok)
{
    uint32_t n = 2 * (uint32_t)tally->cap, i = (uint32_t)((uint32_t)tok * UINT64_C(2654435769) % n);
    while (tally->index[i] >= 0 && tally->entry[tally->index[i]].tok != tok) i = i + 1 < n ? i + 1 : 0;
    return &tally->index[i];
}

static void make_index(nb_tally *tally)
{
    free(tally->index);
    tally->index = nb_alloc(sizeof(int32_t) * 2 * (size_t)tally->cap);
    for (int i = 0; i < 2 * tally->cap; i++) tally->index[i] = -1;
    for (int i = 0; i < tally->n; i++) *place_of(tally, tally->entry[i].tok) = i;
}

void nb_tally_open(nb_tally *tally, int cap)
{
    *tally = (nb_tally){.cap = cap > 0 ? cap : 1};
    tally->entry = nb_alloc(sizeof(nb_history) * (size_t)tally->cap);
    make_index(tally);
}

void nb_tally_close(nb_tally *tally)
{
    free(tally->entry);
    free(tally->index);
}

int32_t nb_tally_find(const nb_tally *tally, int32_t tok)
{
    return *place_of(tally, tok);
}

static void grow(nb_tally *tally)
{
    tally->cap *= 2;
    tally->entry = nb_realloc(tally->entry, sizeof(nb_history) * (size_t)tally->cap);
    make_index(tally);
}

void nb_tally_add(nb_tally *tally, int32_t tok, bool output)
{
    int32_t *place = place_of(tally, tok);
    if (*place < 0) {
        if (tally->n == tally->cap) {
            grow(tally);
            place = place_of(tally, tok);
        }
        *place = tally->n;
        tally->entry[tally->n++] = (nb_history){.tok = tok};
    }
    if (output) tally->entry[*place].n_output++;
}
