// Which states can reach an end: found backwards from the ends. A call leads on only if the called rule and the state
// behind it both can.
#include "constrain/automaton_internal.h"

#include <stdlib.h>

#include "base/arena.h"

typedef struct reverse { // `from` can reach an end if the state it is listed at can, and `also` (if not -1), too
    int32_t from, also;
} reverse;

typedef struct trimmer {
    const nb_parts *parts;
    int32_t *first; // [n_state + 1] into entry
    reverse *entry;
    bool *alive;
    int32_t *todo;
    int32_t n_todo;
} trimmer;

// Visits all edges and calls as (target, entry): counts them first, places them then.
static void visit(trimmer *t, bool place)
{
    const nb_dfa *d = &t->parts->all;
    for (int32_t i = 0; i < d->n_state; i++) {
        const nb_state *s = &d->state[i];
        for (int k = 0; k < s->n_edge; k++) {
            int32_t at = --t->first[d->edge[s->edge + k].to];
            if (place) t->entry[at] = (reverse){i, -1};
        }
        for (int k = 0; k < s->n_call; k++) {
            const nb_dfa_call *c = &d->call[s->call + k];
            int32_t start = t->parts->start[c->rule], at_back = --t->first[c->back], at_start = --t->first[start];
            if (!place) continue;
            t->entry[at_back] = (reverse){i, start};
            t->entry[at_start] = (reverse){i, c->back};
        }
    }
}

static void list_reverse(trimmer *t)
{
    int32_t n = t->parts->all.n_state, sum = 0;
    t->first = nb_alloc(sizeof(*t->first) * (size_t)(n + 1));
    visit(t, false);
    for (int32_t i = 0; i < n; i++) t->first[i] = sum -= t->first[i]; // ends of the runs; placing counts down
    t->first[n] = sum;
    t->entry = nb_alloc(sizeof(*t->entry) * (size_t)(sum + 1));
    visit(t, true);
}

static void wake(trimmer *t, int32_t state)
{
    if (t->alive[state]) return;
    t->alive[state] = true;
    t->todo[t->n_todo++] = state;
}

static void spread(trimmer *t)
{
    const nb_dfa *d = &t->parts->all;
    for (int32_t i = 0; i < d->n_state; i++)
        if (d->state[i].ends) wake(t, i);
    while (t->n_todo > 0) {
        int32_t state = t->todo[--t->n_todo];
        for (int32_t k = t->first[state]; k < t->first[state + 1]; k++)
            if (t->entry[k].also < 0 || t->alive[t->entry[k].also]) wake(t, t->entry[k].from);
    }
}

static void take_out_dead(const trimmer *t, nb_dfa *d)
{
    for (int32_t i = 0; i < d->n_state; i++) {
        nb_state *s = &d->state[i];
        int n_edge = 0, n_call = 0;
        for (int k = 0; k < s->n_edge; k++)
            if (t->alive[d->edge[s->edge + k].to]) d->edge[s->edge + n_edge++] = d->edge[s->edge + k];
        for (int k = 0; k < s->n_call; k++) {
            nb_dfa_call c = d->call[s->call + k];
            if (t->alive[c.back] && t->alive[t->parts->start[c.rule]]) d->call[s->call + n_call++] = c;
        }
        s->n_edge = (int16_t)n_edge;
        s->n_call = n_call;
    }
}

bool nb_parts_trim(nb_build *build, nb_parts *parts)
{
    size_t n = (size_t)parts->all.n_state;
    trimmer t = {.parts = parts, .alive = nb_alloc(n), .todo = nb_alloc(sizeof(int32_t) * n)};
    list_reverse(&t);
    spread(&t);
    take_out_dead(&t, &parts->all);
    bool possible = nb_build_spend(build, parts->all.n_edge) && t.alive[parts->start[parts->root]];
    free(t.first);
    free(t.entry);
    free(t.alive);
    free(t.todo);
    return possible;
}
