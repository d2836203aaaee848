// Expressions as an automaton that may guess (Thompson's construction). Each expression is built between two states; it
// adds no edge into the first and none out of the second, so neighbours may share them.
#include "constrain/automaton_internal.h"

#include <stdlib.h>

#include "base/arena.h"

void *nb_grow(void *array, int32_t *cap, int32_t need, size_t size)
{
    if (need <= *cap) return array;
    *cap = need < 32 ? 64 : 2 * need;
    return nb_realloc(array, size * (size_t)*cap);
}

bool nb_build_spend(nb_build *build, int64_t work)
{
    build->work -= work;
    if (build->work < 0) build->failed = true;
    return !build->failed;
}

static int32_t add_state(nb_nfa *nfa)
{
    nfa->first = nb_grow(nfa->first, &nfa->cap_state, nfa->n_state + 1, sizeof(*nfa->first));
    nfa->first[nfa->n_state] = -1;
    return nfa->n_state++;
}

static void add_edge(nb_nfa *nfa, int32_t from, nb_nfa_edge edge)
{
    nfa->edge = nb_grow(nfa->edge, &nfa->cap_edge, nfa->n_edge + 1, sizeof(*nfa->edge));
    edge.next = nfa->first[from];
    nfa->first[from] = nfa->n_edge;
    nfa->edge[nfa->n_edge++] = edge;
}

static void skip(nb_nfa *nfa, int32_t from, int32_t to)
{
    add_edge(nfa, from, (nb_nfa_edge){.kind = NB_NFA_SKIP, .to = to});
}

static void build_between(nb_build *build, nb_nfa *nfa, nb_expr x, int32_t from, int32_t to);

static void build_bytes(nb_nfa *nfa, const char *bytes, int32_t n, int32_t from, int32_t to)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t next = i == n - 1 ? to : add_state(nfa);
        uint8_t b = (uint8_t)bytes[i];
        add_edge(nfa, from, (nb_nfa_edge){.kind = NB_NFA_BYTE, .lo = b, .hi = b, .to = next});
        from = next;
    }
}

static void build_seq(nb_build *build, nb_nfa *nfa, const nb_expr *item, int32_t n, int32_t from, int32_t to)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t next = i == n - 1 ? to : add_state(nfa);
        build_between(build, nfa, item[i], from, next);
        from = next;
    }
}

static void build_repeat(nb_build *build, nb_nfa *nfa, const nb_expr_node *node, int32_t from, int32_t to)
{
    for (int32_t i = 0; i < node->lo && !build->failed; i++) {
        int32_t next = add_state(nfa);
        build_between(build, nfa, node->a, from, next);
        from = next;
    }
    if (node->hi == NB_REPEAT_FOREVER) {
        int32_t loop = add_state(nfa);
        skip(nfa, from, loop);
        build_between(build, nfa, node->a, loop, loop);
        from = loop;
    }
    for (int32_t i = node->lo; i < node->hi && !build->failed; i++) {
        int32_t next = add_state(nfa);
        skip(nfa, from, to);
        build_between(build, nfa, node->a, from, next);
        from = next;
    }
    skip(nfa, from, to);
}

// An intersection or difference is made deterministic by itself and put in place.
static void build_combined(nb_build *build, nb_nfa *nfa, const nb_expr_node *node, int32_t from, int32_t to)
{
    nb_dfa a, b, c;
    nb_dfa_of(build, node->a, &a);
    nb_dfa_of(build, node->b, &b);
    nb_dfa_combine(build, &a, &b, node->kind == NB_EXPR_MINUS, &c);
    int32_t base = nfa->n_state;
    nb_build_spend(build, c.n_state + c.n_edge);
    for (int32_t i = 0; i < c.n_state; i++) add_state(nfa);
    for (int32_t i = 0; i < c.n_state; i++) {
        const nb_state *s = &c.state[i];
        for (int k = 0; k < s->n_edge; k++) {
            const nb_edge *e = &c.edge[s->edge + k];
            add_edge(nfa, base + i, (nb_nfa_edge){.kind = NB_NFA_BYTE, .lo = e->lo, .hi = e->hi, .to = base + e->to});
        }
        if (s->ends) skip(nfa, base + i, to);
    }
    if (c.n_state > 0) skip(nfa, from, base);
    nb_dfa_drop(&a);
    nb_dfa_drop(&b);
    nb_dfa_drop(&c);
}

static void build_graph(nb_build *build, nb_nfa *nfa, const nb_expr_node *node, int32_t from, int32_t to)
{
    int32_t base = nfa->n_state;
    for (int32_t i = 0; i < node->lo; i++) add_state(nfa);
    skip(nfa, from, base);
    skip(nfa, base + 1, to);
    for (int32_t i = 0; i < node->b && !build->failed; i++) {
        const nb_arc *arc = &build->grammar->arc[node->a + i];
        build_between(build, nfa, arc->x, base + arc->from, base + arc->to);
    }
}

static void build_between(nb_build *build, nb_nfa *nfa, nb_expr x, int32_t from, int32_t to)
{
    const nb_grammar *g = build->grammar;
    const nb_expr_node *node = &g->node[x];
    if (nfa->n_state > NB_AUTOMATON_RAW_MAX || nfa->n_edge > 2 * NB_AUTOMATON_RAW_MAX) build->failed = true;
    if (!nb_build_spend(build, 1)) return;
    switch (node->kind) {
    case NB_EXPR_NOTHING: break;
    case NB_EXPR_EMPTY: skip(nfa, from, to); break;
    case NB_EXPR_BYTES:
        if (nb_build_spend(build, node->b)) build_bytes(nfa, g->literal.ptr + node->a, node->b, from, to);
        break;
    case NB_EXPR_RANGE:
        add_edge(nfa, from,
                 (nb_nfa_edge){.kind = NB_NFA_BYTE, .lo = (uint8_t)node->a, .hi = (uint8_t)node->b, .to = to});
        break;
    case NB_EXPR_SEQ: build_seq(build, nfa, g->child + node->a, node->b, from, to); break;
    case NB_EXPR_ANY:
        for (int32_t i = 0; i < node->b && !build->failed; i++)
            build_between(build, nfa, g->child[node->a + i], from, to);
        break;
    case NB_EXPR_REPEAT: build_repeat(build, nfa, node, from, to); break;
    case NB_EXPR_CALL: add_edge(nfa, from, (nb_nfa_edge){.kind = NB_NFA_CALL, .rule = node->a, .to = to}); break;
    case NB_EXPR_BOTH:
    case NB_EXPR_MINUS: build_combined(build, nfa, node, from, to); break;
    case NB_EXPR_GRAPH: build_graph(build, nfa, node, from, to); break;
    }
}

void nb_nfa_make(nb_build *build, nb_expr x, nb_nfa *out)
{
    *out = (nb_nfa){0};
    add_state(out);
    add_state(out);
    build_between(build, out, x, 0, 1);
}

void nb_nfa_drop(nb_nfa *nfa)
{
    free(nfa->first);
    free(nfa->edge);
}
