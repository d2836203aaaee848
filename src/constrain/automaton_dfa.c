// The subset construction, and products of two deterministic automata. Sets of nfa states hold only those that matter:
// with a byte or call edge, or the end.
#include "constrain/automaton_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/arena.h"

int32_t nb_dfa_begin_state(nb_dfa *dfa, bool ends)
{
    dfa->state = nb_grow(dfa->state, &dfa->cap_state, dfa->n_state + 1, sizeof(*dfa->state));
    dfa->state[dfa->n_state] = (nb_state){.edge = dfa->n_edge, .call = dfa->n_call, .ends = ends};
    return dfa->n_state++;
}

void nb_dfa_add_edge(nb_dfa *dfa, int lo, int hi, int32_t to)
{
    nb_state *s = &dfa->state[dfa->n_state - 1];
    nb_edge *last = s->n_edge ? &dfa->edge[dfa->n_edge - 1] : NULL;
    if (last && last->to == to && last->hi + 1 == lo) {
        last->hi = (uint8_t)hi;
        return;
    }
    dfa->edge = nb_grow(dfa->edge, &dfa->cap_edge, dfa->n_edge + 1, sizeof(*dfa->edge));
    dfa->edge[dfa->n_edge++] = (nb_edge){(uint8_t)lo, (uint8_t)hi, to};
    s->n_edge++;
}

void nb_dfa_add_call(nb_dfa *dfa, int32_t rule, int32_t back)
{
    dfa->call = nb_grow(dfa->call, &dfa->cap_call, dfa->n_call + 1, sizeof(*dfa->call));
    dfa->call[dfa->n_call++] = (nb_dfa_call){rule, back};
    dfa->state[dfa->n_state - 1].n_call++;
}

void nb_dfa_drop(nb_dfa *dfa)
{
    free(dfa->state);
    free(dfa->edge);
    free(dfa->call);
}

// ---- Keys (runs of integers) numbered in the order in which they are first seen

typedef struct key_table {
    int32_t *item; // all keys, one behind the other
    int32_t n_item, cap_item;
    int32_t *first; // [n_key + 1]
    int32_t n_key, cap_first;
    int32_t *slot; // [n_slot] a key's number + 1, or 0
    int32_t n_slot;
} key_table;

static void place(key_table *t, const int32_t *item, int32_t n, int32_t number)
{
    uint64_t h = XXH3_64bits(item, sizeof(*item) * (size_t)n);
    while (t->slot[h & (uint64_t)(t->n_slot - 1)]) h++;
    t->slot[h & (uint64_t)(t->n_slot - 1)] = number + 1;
}

static void rehash(key_table *t)
{
    if (2 * (t->n_key + 1) < t->n_slot) return;
    t->n_slot = t->n_slot ? 4 * t->n_slot : 64;
    free(t->slot);
    t->slot = nb_alloc(sizeof(*t->slot) * (size_t)t->n_slot);
    for (int32_t i = 0; i < t->n_key; i++) place(t, t->item + t->first[i], t->first[i + 1] - t->first[i], i);
}

static int32_t key_number(key_table *t, const int32_t *item, int32_t n)
{
    rehash(t);
    uint64_t h = XXH3_64bits(item, sizeof(*item) * (size_t)n), mask = (uint64_t)(t->n_slot - 1);
    for (; t->slot[h & mask]; h++) {
        int32_t i = t->slot[h & mask] - 1;
        if (t->first[i + 1] - t->first[i] == n && !memcmp(t->item + t->first[i], item, sizeof(*item) * (size_t)n))
            return i;
    }
    t->slot[h & mask] = t->n_key + 1;
    t->item = nb_grow(t->item, &t->cap_item, t->n_item + n + 1, sizeof(*t->item));
    if (n) memcpy(t->item + t->n_item, item, sizeof(*item) * (size_t)n);
    t->first = nb_grow(t->first, &t->cap_first, t->n_key + 2, sizeof(*t->first));
    t->first[t->n_key] = t->n_item;
    t->n_item += n;
    t->first[t->n_key + 1] = t->n_item;
    return t->n_key++;
}

static void key_drop(key_table *t)
{
    free(t->item);
    free(t->first);
    free(t->slot);
}

// ---- Subsets

typedef struct subset_maker {
    nb_build *build;
    const nb_nfa *nfa;
    nb_dfa *dfa;
    key_table sets;
    int32_t *mark; // [n_state of nfa] the last closure that saw it
    int32_t n_closure;
    int32_t *todo, *set;      // room for all nfa states
    const nb_nfa_edge **edge; // of the set at work
    int32_t n_edge, cap_edge;
} subset_maker;

static void closure_add(subset_maker *m, int32_t state, int32_t *n_todo)
{
    if (m->mark[state] == m->n_closure) return;
    m->mark[state] = m->n_closure;
    m->todo[(*n_todo)++] = state;
}

static int compare_int(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// The number of the set of states that the n_todo states in m->todo reach without reading.
static int32_t closed_set(subset_maker *m, int32_t n_todo)
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_todo; i++) {
        int32_t state = m->todo[i];
        bool matters = state == 1;
        for (int32_t e = m->nfa->first[state]; e >= 0; e = m->nfa->edge[e].next) {
            nb_build_spend(m->build, 1);
            if (m->nfa->edge[e].kind == NB_NFA_SKIP)
                closure_add(m, m->nfa->edge[e].to, &n_todo);
            else
                matters = true;
        }
        if (matters) m->set[n++] = state;
    }
    nb_build_spend(m->build, n_todo);
    if (n > 1) qsort(m->set, (size_t)n, sizeof(*m->set), compare_int);
    int32_t n_before = m->sets.n_key, number = key_number(&m->sets, m->set, n);
    if (m->sets.n_key > n_before && m->sets.n_key > NB_AUTOMATON_STATES_MAX) m->build->failed = true;
    return number;
}

// Edges of a kind, of all states of a set.
static void collect(subset_maker *m, int32_t number, int kind)
{
    m->n_edge = 0;
    for (int32_t i = m->sets.first[number]; i < m->sets.first[number + 1]; i++)
        for (int32_t e = m->nfa->first[m->sets.item[i]]; e >= 0; e = m->nfa->edge[e].next) {
            if ((int)m->nfa->edge[e].kind != kind) continue;
            m->edge = nb_grow(m->edge, &m->cap_edge, m->n_edge + 1, sizeof(*m->edge));
            m->edge[m->n_edge++] = &m->nfa->edge[e];
        }
    nb_build_spend(m->build, m->n_edge);
}

static int by_lo(const void *a, const void *b)
{
    const nb_nfa_edge *x = *(const nb_nfa_edge *const *)a, *y = *(const nb_nfa_edge *const *)b;
    return (int)x->lo - (int)y->lo;
}

static int by_rule(const void *a, const void *b)
{
    const nb_nfa_edge *x = *(const nb_nfa_edge *const *)a, *y = *(const nb_nfa_edge *const *)b;
    return (x->rule > y->rule) - (x->rule < y->rule);
}

// The bytes are cut where an edge begins or ends; between two cuts all bytes lead to the same set.
static void add_bytes(subset_maker *m, int32_t number)
{
    bool cut[257] = {0};
    collect(m, number, NB_NFA_BYTE);
    if (m->n_edge > 1) qsort(m->edge, (size_t)m->n_edge, sizeof(*m->edge), by_lo);
    for (int32_t i = 0; i < m->n_edge; i++) cut[m->edge[i]->lo] = cut[m->edge[i]->hi + 1] = true;
    int32_t first = 0; // edges before it end before `lo`
    for (int lo = 0, hi; lo < 256 && !m->build->failed; lo = hi) {
        for (hi = lo + 1; hi < 256 && !cut[hi];) hi++;
        while (first < m->n_edge && m->edge[first]->hi < lo) first++;
        int32_t n_todo = 0, i = first;
        m->n_closure++;
        for (; i < m->n_edge && m->edge[i]->lo <= lo; i++)
            if (m->edge[i]->hi >= lo) closure_add(m, m->edge[i]->to, &n_todo);
        nb_build_spend(m->build, i - first);
        if (n_todo) nb_dfa_add_edge(m->dfa, lo, hi - 1, closed_set(m, n_todo));
    }
}

static void add_calls(subset_maker *m, int32_t number)
{
    collect(m, number, NB_NFA_CALL);
    if (m->n_edge > 1) qsort(m->edge, (size_t)m->n_edge, sizeof(*m->edge), by_rule);
    for (int32_t i = 0; i < m->n_edge && !m->build->failed;) {
        int32_t rule = m->edge[i]->rule, n_todo = 0;
        m->n_closure++;
        for (; i < m->n_edge && m->edge[i]->rule == rule; i++) closure_add(m, m->edge[i]->to, &n_todo);
        nb_dfa_add_call(m->dfa, rule, closed_set(m, n_todo));
    }
}

void nb_dfa_make(nb_build *build, const nb_nfa *nfa, nb_dfa *out)
{
    *out = (nb_dfa){0};
    size_t room = sizeof(int32_t) * (size_t)nfa->n_state;
    subset_maker m = {
        .build = build, .nfa = nfa, .dfa = out, .mark = nb_alloc(room), .todo = nb_alloc(room), .set = nb_alloc(room)};
    int32_t n_todo = 0;
    m.n_closure = 1;
    closure_add(&m, 0, &n_todo);
    closed_set(&m, n_todo);
    for (int32_t i = 0; i < m.sets.n_key && !build->failed; i++) {
        bool ends = false;
        for (int32_t k = m.sets.first[i]; k < m.sets.first[i + 1]; k++) ends |= m.sets.item[k] == 1;
        nb_dfa_begin_state(out, ends);
        add_bytes(&m, i);
        add_calls(&m, i);
    }
    key_drop(&m.sets);
    free(m.mark);
    free(m.todo);
    free(m.set);
    free(m.edge);
}

void nb_dfa_of(nb_build *build, nb_expr x, nb_dfa *out)
{
    nb_nfa nfa;
    nb_nfa_make(build, x, &nfa);
    nb_dfa_make(build, &nfa, out);
    nb_nfa_drop(&nfa);
}

// ---- Products

// Edges of state p of a, cut by those of state q of b (-1: b can read nothing more).
static void add_pairs(key_table *pairs, const nb_dfa *a, const nb_dfa *b, const int32_t pair[2], bool minus,
                      nb_dfa *out)
{
    const nb_state *p = &a->state[pair[0]], *q = pair[1] >= 0 ? &b->state[pair[1]] : NULL;
    for (int i = 0; i < p->n_edge; i++) {
        const nb_edge *e = &a->edge[p->edge + i];
        int lo = e->lo;
        for (int k = 0; q && k < q->n_edge; k++) {
            const nb_edge *f = &b->edge[q->edge + k];
            if (f->hi < lo || f->lo > e->hi) continue;
            if (minus && f->lo > lo)
                nb_dfa_add_edge(out, lo, f->lo - 1, key_number(pairs, (const int32_t[]){e->to, -1}, 2));
            int hi = f->hi < e->hi ? f->hi : e->hi;
            nb_dfa_add_edge(out, f->lo > lo ? f->lo : lo, hi, key_number(pairs, (const int32_t[]){e->to, f->to}, 2));
            lo = hi + 1;
        }
        if (minus && lo <= e->hi) nb_dfa_add_edge(out, lo, e->hi, key_number(pairs, (const int32_t[]){e->to, -1}, 2));
    }
}

void nb_dfa_combine(nb_build *build, const nb_dfa *a, const nb_dfa *b, bool minus, nb_dfa *out)
{
    key_table pairs = {0};
    *out = (nb_dfa){0};
    if (build->failed) return;
    if (a->n_call > 0 || b->n_call > 0) build->failed = true; // see NB_EXPR_BOTH: a mistake of a front end
    key_number(&pairs, (const int32_t[]){0, 0}, 2);
    for (int32_t i = 0; i < pairs.n_key && !build->failed; i++) {
        int32_t pair[2] = {pairs.item[2 * i], pairs.item[2 * i + 1]};
        bool ends_b = pair[1] >= 0 && b->state[pair[1]].ends;
        nb_dfa_begin_state(out, a->state[pair[0]].ends && ends_b != minus);
        add_pairs(&pairs, a, b, pair, minus, out);
        nb_build_spend(build, 16);
        if (pairs.n_key > NB_AUTOMATON_STATES_MAX) build->failed = true;
    }
    key_drop(&pairs);
}
