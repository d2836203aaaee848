// What the scheduler's files share. scheduler.c: life of a sequence; scheduler_plan.c: filling a step;
// scheduler_memory.c: pages, slots and the prefix index.
#ifndef NB_SCHEDULER_INTERNAL_H
#define NB_SCHEDULER_INTERNAL_H

#include "engine/scheduler.h"

// Gives a waiting sequence its slot, the pages of a prefix hit and the pages for the rest of its tokens. False: not
// now.
bool nb_memory_admit(nb_scheduler *s, nb_sequence *seq);
// Makes sure that a running sequence has the page of its next token; preempts as needed. False: it was preempted
// itself.
bool nb_memory_grow(nb_scheduler *s, nb_sequence *seq);
void nb_memory_preempt(nb_scheduler *s, nb_sequence *seq);
// Slot and pages go back to the pools.
void nb_memory_release(nb_scheduler *s, nb_sequence *seq);
// Tells the prefix index of pages that became full.
void nb_memory_index(nb_scheduler *s, nb_sequence *seq);
// Before a sequence goes on: copies its state to a saved slot where the policy wants that.
void nb_memory_save(nb_scheduler *s, nb_sequence *seq);

// Length at which the next chunk from n_past must end so that the state there can be saved; fill if nowhere.
int32_t nb_memory_cut(const nb_scheduler *s, const nb_sequence *seq);

#endif
