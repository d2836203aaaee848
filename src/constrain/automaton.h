// A pushdown automaton over bytes. Each rule of the grammar has become states that are deterministic in bytes; what is
// left to choose while reading is which calls to follow and when a rule ends, and nb_stacks keeps all possibilities at
// once. Every state can still reach an end, so text that was read so far can always be completed.
//
// Immutable after compiling; any number of threads may read it.
#ifndef NB_AUTOMATON_H
#define NB_AUTOMATON_H

#include "constrain/grammar.h"

enum {
    NB_AUTOMATON_STATES_MAX = 400 * 1000,
    NB_AUTOMATON_EDGES_MAX = 4 * 1000 * 1000,
    NB_AUTOMATON_RAW_MAX = 1000 * 1000, // states and skips of one rule before it is made deterministic
    NB_AUTOMATON_WORK_MAX =
        10 * 1000 * 1000, // elementary steps of compiling: bounds its time to about a quarter of a second
};

typedef struct nb_edge {
    uint8_t lo, hi; // bytes lo to hi
    int32_t to;
} nb_edge;

typedef struct nb_call {
    int32_t start; // the first state of the called rule
    int32_t back;  // where its end leads; -1: the caller ends with it, so nothing need be remembered
} nb_call;

typedef struct nb_state {
    int32_t edge, call; // the first ones
    int32_t n_call;
    int16_t n_edge; // edges are sorted and disjoint
    bool ends;      // the rule may end here
    bool simple;    // has no calls and does not end
} nb_state;

typedef struct nb_automaton {
    nb_state *state; // [n_state]
    nb_edge *edge;
    nb_call *call;
    int32_t n_state, n_edge, n_call;
    int32_t start;
    uint64_t serial; // unlike any other of this process
} nb_automaton;

// NB_ERR_INPUT: the grammar is left-recursive or allows no text. NB_ERR_LIMIT: it needs more states or work than there
// may be.
int nb_automaton_compile(const nb_grammar *grammar, nb_automaton **out, nb_error *err);
void nb_automaton_close(nb_automaton *automaton);
int64_t nb_automaton_bytes(const nb_automaton *automaton); // memory it holds

// The state behind byte b, or -1.
static inline int32_t nb_automaton_step(const nb_automaton *a, int32_t state, uint8_t b)
{
    const nb_state *s = &a->state[state];
    const nb_edge *e = a->edge + s->edge;
    int n = s->n_edge;
    while (n > 4) { // the last edge that begins at b or before
        int half = n / 2;
        if (e[half].lo <= b)
            e += half, n -= half;
        else
            n = half;
    }
    for (int i = 0; i < n; i++)
        if (b >= e[i].lo && b <= e[i].hi) return e[i].to;
    return -1;
}

#endif
