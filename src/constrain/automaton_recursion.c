// Left recursion: a rule that can call itself before it reads a byte would have to be called without end. Found as a
// cycle among the rules that each rule can call at its beginning.
#include "constrain/automaton_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

typedef struct finder {
    nb_build *build;
    const nb_parts *parts;
    bool *nullable; // [n_rule] may end without reading
    int32_t *mark;  // [n_state] the last walk that saw it
    int32_t n_walk;
    int32_t *todo; // [n_state]
    int32_t *callee;
    int32_t n_callee, cap_callee;
} finder;

// Walks the states that a rule can be in before it reads anything. Collects the rules that it can call there, if
// `collect`. Returns whether it can end there.
static bool walk_beginning(finder *f, int32_t rule, bool collect)
{
    const nb_dfa *d = &f->parts->all;
    int32_t n = 0;
    bool ends = false;
    f->n_walk++;
    f->todo[n++] = f->parts->start[rule];
    f->mark[f->parts->start[rule]] = f->n_walk;
    for (int32_t i = 0; i < n && nb_build_spend(f->build, 1); i++) {
        const nb_state *s = &d->state[f->todo[i]];
        ends |= s->ends;
        nb_build_spend(f->build, s->n_call);
        for (int k = 0; k < s->n_call; k++) {
            nb_dfa_call c = d->call[s->call + k];
            if (collect) {
                f->callee = nb_grow(f->callee, &f->cap_callee, f->n_callee + 1, sizeof(*f->callee));
                f->callee[f->n_callee++] = c.rule;
            }
            if (!f->nullable[c.rule] || f->mark[c.back] == f->n_walk) continue;
            f->mark[c.back] = f->n_walk;
            f->todo[n++] = c.back;
        }
    }
    return ends;
}

static void find_nullable(finder *f)
{
    bool changed = true;
    while (changed && !f->build->failed) {
        changed = false;
        for (int32_t i = f->parts->n_rule - 1; i >= 0; i--)
            if (!f->nullable[i] && walk_beginning(f, i, false)) f->nullable[i] = changed = true;
    }
}

// Depth-first: a rule that is met again while it is still open closes a cycle.
static int32_t find_cycle(const finder *f, const int32_t *first)
{
    enum { NEW, OPEN, DONE };
    int32_t n_rule = f->parts->n_rule, found = -1, n = 0;
    uint8_t *color = nb_alloc((size_t)n_rule + 1);
    int32_t *open = nb_alloc(sizeof(*open) * (size_t)(n_rule + 1)),
            *next = nb_alloc(sizeof(*next) * (size_t)(n_rule + 1));
    for (int32_t root = 0; root < n_rule && found < 0; root++) {
        if (color[root] == NEW) color[root] = OPEN, next[root] = first[root], open[n++] = root;
        while (n > 0 && found < 0) {
            int32_t rule = open[n - 1];
            if (next[rule] == first[rule + 1]) {
                color[rule] = DONE;
                n--;
                continue;
            }
            int32_t callee = f->callee[next[rule]++];
            if (color[callee] == OPEN) found = callee;
            if (color[callee] == NEW) color[callee] = OPEN, next[callee] = first[callee], open[n++] = callee;
        }
    }
    free(color);
    free(open);
    free(next);
    return found;
}

int32_t nb_parts_left_recursion(nb_build *build, const nb_parts *parts)
{
    size_t n_state = (size_t)parts->all.n_state, n_rule = (size_t)parts->n_rule;
    finder f = {.build = build,
                .parts = parts,
                .nullable = nb_alloc(n_rule + 1),
                .mark = nb_alloc(sizeof(int32_t) * n_state),
                .todo = nb_alloc(sizeof(int32_t) * n_state)};
    int32_t *first = nb_alloc(sizeof(*first) * (n_rule + 1)), found = -1;
    find_nullable(&f);
    for (size_t i = 0; i < n_rule; i++) {
        walk_beginning(&f, (int32_t)i, true);
        first[i + 1] = f.n_callee;
    }
    if (!build->failed) found = find_cycle(&f, first);
    free(first);
    free(f.nullable);
    free(f.mark);
    free(f.todo);
    free(f.callee);
    return found;
}
