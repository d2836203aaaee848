// Slot states and the free stack: see slots.h.
#include "engine/slots.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"

void nb_slots_open(nb_slots *slots, int n_slot)
{
    *slots = (nb_slots){.n_slot = n_slot, .n_free = n_slot};
    slots->free = nb_alloc(sizeof(int32_t) * (size_t)n_slot);
    slots->owner = nb_alloc(sizeof(int32_t) * (size_t)n_slot);
    for (int i = 0; i < n_slot; i++) {
        slots->free[i] = n_slot - 1 - i;
        slots->owner[i] = NB_SLOT_FREE;
    }
    nb_lru_open(&slots->saved, n_slot);
}

void nb_slots_close(nb_slots *slots)
{
    free(slots->free);
    free(slots->owner);
    nb_lru_close(&slots->saved);
}

int32_t nb_slots_take(nb_slots *slots)
{
    if (slots->n_free == 0) return -1;
    int32_t slot = slots->free[--slots->n_free];
    slots->owner[slot] = NB_SLOT_RUNNING;
    slots->n_running++;
    return slot;
}

void nb_slots_drop(nb_slots *slots, int32_t slot)
{
    assert(slots->owner[slot] != NB_SLOT_FREE);
    if (slots->owner[slot] == NB_SLOT_RUNNING)
        slots->n_running--;
    else
        nb_lru_remove(&slots->saved, slot);
    slots->owner[slot] = NB_SLOT_FREE;
    slots->free[slots->n_free++] = slot;
}

void nb_slots_save(nb_slots *slots, int32_t slot, int32_t page)
{
    assert(slots->owner[slot] == NB_SLOT_RUNNING);
    slots->owner[slot] = page;
    slots->n_running--;
    nb_lru_push(&slots->saved, slot);
}

void nb_slots_touch(nb_slots *slots, int32_t slot)
{
    nb_lru_remove(&slots->saved, slot);
    nb_lru_push(&slots->saved, slot);
}

bool nb_slots_check(const nb_slots *slots)
{
    int n_free = 0, n_running = 0, n_saved = 0;
    for (int32_t slot = 0; slot < slots->n_slot; slot++) {
        bool saved = slots->owner[slot] >= 0;
        if (saved != nb_lru_has(&slots->saved, slot)) return false;
        if (saved)
            n_saved++;
        else if (slots->owner[slot] == NB_SLOT_RUNNING)
            n_running++;
        else
            n_free++;
    }
    return n_free == slots->n_free && n_running == slots->n_running && n_saved == slots->saved.n;
}
