// The rules' states become one automaton: a state that only calls one rule and ends with it is that rule's first state,
// calls that end with their callee remember nothing, and what the root cannot reach is left out.
#include "constrain/automaton_internal.h"

#include <stdlib.h>

#include "base/arena.h"

typedef struct joiner {
    const nb_parts *parts;
    nb_automaton *out;
    int32_t *number; // [n_state] in the new automaton, or -1
    int32_t *todo;   // old states in the order of their numbers
} joiner;

static bool only_ends(const nb_dfa *d, int32_t state)
{
    const nb_state *s = &d->state[state];
    return s->ends && s->n_edge == 0 && s->n_call == 0;
}

// Rules that call each other in turn before reading are left-recursive, so this comes to an end.
static int32_t resolve(const joiner *j, int32_t state)
{
    const nb_dfa *d = &j->parts->all;
    for (;;) {
        const nb_state *s = &d->state[state];
        if (s->ends || s->n_edge > 0 || s->n_call != 1 || !only_ends(d, d->call[s->call].back)) return state;
        state = j->parts->start[d->call[s->call].rule];
    }
}

static int32_t number_of(joiner *j, int32_t state)
{
    state = resolve(j, state);
    if (j->number[state] < 0) {
        j->number[state] = j->out->n_state;
        j->todo[j->out->n_state++] = state;
    }
    return j->number[state];
}

static void copy_state(joiner *j, int32_t old)
{
    const nb_dfa *d = &j->parts->all;
    const nb_state *from = &d->state[old];
    nb_automaton *a = j->out;
    a->state[j->number[old]] = (nb_state){.edge = a->n_edge,
                                          .call = a->n_call,
                                          .n_edge = from->n_edge,
                                          .n_call = from->n_call,
                                          .ends = from->ends,
                                          .simple = !from->ends && from->n_call == 0};
    for (int k = 0; k < from->n_edge; k++) {
        nb_edge e = d->edge[from->edge + k];
        a->edge[a->n_edge++] = (nb_edge){e.lo, e.hi, number_of(j, e.to)};
    }
    for (int k = 0; k < from->n_call; k++) {
        nb_dfa_call c = d->call[from->call + k];
        int32_t start = number_of(j, j->parts->start[c.rule]);
        a->call[a->n_call++] = (nb_call){start, only_ends(d, c.back) ? -1 : number_of(j, c.back)};
    }
}

void nb_parts_join(const nb_parts *parts, nb_automaton *out)
{
    const nb_dfa *d = &parts->all;
    joiner j = {.parts = parts, .out = out};
    j.number = nb_alloc(sizeof(int32_t) * (size_t)d->n_state);
    j.todo = nb_alloc(sizeof(int32_t) * (size_t)d->n_state);
    for (int32_t i = 0; i < d->n_state; i++) j.number[i] = -1;
    *out = (nb_automaton){.state = nb_alloc(sizeof(nb_state) * (size_t)d->n_state),
                          .edge = nb_alloc(sizeof(nb_edge) * (size_t)(d->n_edge + 1)),
                          .call = nb_alloc(sizeof(nb_call) * (size_t)(d->n_call + 1))};
    out->start = number_of(&j, parts->start[parts->root]);
    for (int32_t i = 0; i < out->n_state; i++) copy_state(&j, j.todo[i]);
    out->state = nb_realloc(out->state, sizeof(nb_state) * (size_t)out->n_state);
    out->edge = nb_realloc(out->edge, sizeof(nb_edge) * (size_t)(out->n_edge + 1));
    out->call = nb_realloc(out->call, sizeof(nb_call) * (size_t)(out->n_call + 1));
    free(j.number);
    free(j.todo);
}
