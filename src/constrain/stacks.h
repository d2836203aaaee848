// The stacks of a pushdown automaton while it reads: a tree of frames, shared, so that a stack is the number of its
// frame below the head. A set of heads is all that the text read so far allows. Equal frames have equal numbers, so
// equal stacks are found and merged.
#ifndef NB_STACKS_H
#define NB_STACKS_H

#include "constrain/automaton.h"

enum {
    NB_STACKS_FRAMES_MAX = 1 << 16,
    NB_STACKS_DEPTH_MAX = 1000, // frames of one stack; what would need more is not followed
    NB_STACKS_HEADS_MAX = 128,  // stacks at once
    NB_STACKS_SEEN_MAX = 1024,  // states passed without reading, per byte
    NB_BELOW_NONE = -1,         // the root rule is at work
    NB_BELOW_UNKNOWN = -2,      // what called this rule is not known
};

typedef struct nb_head {
    int32_t state; // has edges
    int32_t below; // frame, or NB_BELOW_*
} nb_head;

typedef struct nb_frame {
    int32_t state; // where the rule above leads when it ends
    int32_t below;
    int32_t depth;
} nb_frame;

typedef struct nb_stacks {
    const nb_automaton *automaton;
    nb_frame *frame; // [n_frame]
    int32_t n_frame, cap_frame;
    int32_t *slot; // [n_slot] hash of frames: number + 1, or 0
    int32_t n_slot;
    nb_head seen[NB_STACKS_SEEN_MAX]; // scratch
    bool failed;                      // a limit was passed
} nb_stacks;

typedef struct nb_heads { // room for NB_STACKS_HEADS_MAX
    nb_head *at;
    int n;
    bool ended;   // the root rule has ended
    bool escaped; // a rule called from what is not known has ended
} nb_heads;

void nb_stacks_open(nb_stacks *stacks, const nb_automaton *automaton);
void nb_stacks_close(nb_stacks *stacks);
void nb_stacks_clear(nb_stacks *stacks); // forgets all frames

// Adds everything that (state, below) can be without reading.
void nb_stacks_enter(nb_stacks *stacks, int32_t state, int32_t below, nb_heads *out);
// Heads behind byte b; out begins empty.
void nb_stacks_read(nb_stacks *stacks, const nb_head *head, int n, uint8_t b, nb_heads *out);
// Keeps the frames of these heads only; renumbers them.
void nb_stacks_compact(nb_stacks *stacks, nb_head *head, int n);

#endif
