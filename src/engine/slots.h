// The slot pool: who uses which state slot of the device. A slot is free, running (a sequence steps it) or saved (it
// keeps the state at the end of an indexed page). free + running + saved = all, always. Running sequences come first:
// there are more slots than sequences can run at once, so giving up saved states, oldest first, always finds one.
#ifndef NB_SLOTS_H
#define NB_SLOTS_H

#include "engine/lru.h"

enum { NB_SLOT_FREE = -1, NB_SLOT_RUNNING = -2 };

typedef struct nb_slots {
    int n_slot;
    int n_free, n_running;
    int32_t *free;  // [n_free] a stack
    int32_t *owner; // [n_slot] the page whose end state it keeps, or NB_SLOT_*
    nb_lru saved;
} nb_slots;

void nb_slots_open(nb_slots *slots, int n_slot);
void nb_slots_close(nb_slots *slots);

int32_t nb_slots_take(nb_slots *slots);                          // free -> running; -1: none
void nb_slots_drop(nb_slots *slots, int32_t slot);               // running or saved -> free
void nb_slots_save(nb_slots *slots, int32_t slot, int32_t page); // running -> saved
void nb_slots_touch(nb_slots *slots, int32_t slot);              // a saved one was used
bool nb_slots_check(const nb_slots *slots);                      // the whole invariant, O(n_slot)

#endif
