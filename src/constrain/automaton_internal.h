// What the compiler's files share: expressions become an nfa (automaton_nfa.c), that a dfa by the subset construction
// (automaton_dfa.c), and the dfas of all rules one automaton (automaton.c, automaton_trim.c,
// automaton_recursion.c, automaton_join.c).
#ifndef NB_AUTOMATON_INTERNAL_H
#define NB_AUTOMATON_INTERNAL_H

#include "constrain/automaton.h"

// What compiling may still cost. Once `failed` is set every function returns soon.
typedef struct nb_build {
    const nb_grammar *grammar;
    int64_t work;
    bool failed;
} nb_build;
bool nb_build_spend(nb_build *build, int64_t work); // false: nothing is left

typedef struct nb_nfa_edge {
    enum { NB_NFA_SKIP, NB_NFA_BYTE, NB_NFA_CALL } kind;
    uint8_t lo, hi;
    int32_t rule;
    int32_t to;
    int32_t next; // edge of the same state, or -1
} nb_nfa_edge;

typedef struct nb_nfa { // state 0 is the start, state 1 the end
    int32_t *first;     // [n_state] the newest edge, or -1
    int32_t n_state, cap_state;
    nb_nfa_edge *edge;
    int32_t n_edge, cap_edge;
} nb_nfa;

typedef struct nb_dfa_call {
    int32_t rule, back;
} nb_dfa_call;

typedef struct nb_dfa { // deterministic in bytes and in rules; state 0 is the start. Owned arrays as in nb_automaton
    nb_state *state;
    int32_t n_state, cap_state;
    nb_edge *edge;
    int32_t n_edge, cap_edge;
    nb_dfa_call *call;
    int32_t n_call, cap_call;
} nb_dfa;

void nb_nfa_make(nb_build *build, nb_expr x, nb_nfa *out);
void nb_nfa_drop(nb_nfa *nfa);
void nb_dfa_make(nb_build *build, const nb_nfa *nfa, nb_dfa *out);
void nb_dfa_of(nb_build *build, nb_expr x, nb_dfa *out); // both steps
void nb_dfa_combine(nb_build *build, const nb_dfa *a, const nb_dfa *b, bool minus, nb_dfa *out);
void nb_dfa_drop(nb_dfa *dfa);

// Building a dfa state by state: edges and calls belong to the state begun last.
int32_t nb_dfa_begin_state(nb_dfa *dfa, bool ends);
void nb_dfa_add_edge(nb_dfa *dfa, int lo, int hi, int32_t to); // joined with the one before where possible
void nb_dfa_add_call(nb_dfa *dfa, int32_t rule, int32_t back);

// The dfas of all rules, one behind the other, before they are joined: calls still name rules in `start`.
typedef struct nb_parts {
    nb_dfa all;
    int32_t *start; // [n_rule] first states
    int32_t n_rule, root;
} nb_parts;

// Takes out edges and calls that cannot reach an end. False: the root cannot, it allows no text.
bool nb_parts_trim(nb_build *build, nb_parts *parts);
// The rule that calls itself before reading anything, or -1.
int32_t nb_parts_left_recursion(nb_build *build, const nb_parts *parts);
// What can be reached from the root, with calls resolved.
void nb_parts_join(const nb_parts *parts, nb_automaton *out);

void *nb_grow(void *array, int32_t *cap, int32_t need, size_t size);

#endif
