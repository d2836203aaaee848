// Building grammars: see grammar.h.
#include "constrain/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static void *with_room(void *array, int32_t *cap, int32_t need, size_t size)
{
    if (need <= *cap) return array;
    *cap = need < 32 ? 64 : 2 * need;
    return nb_realloc(array, size * (size_t)*cap);
}

static nb_expr add_node(nb_grammar *g, nb_expr_node node)
{
    if (g->n_node >= NB_GRAMMAR_NODES_MAX) {
        g->overflow = true;
        return 0;
    }
    g->node = with_room(g->node, &g->cap_node, g->n_node + 1, sizeof(*g->node));
    g->node[g->n_node] = node;
    return g->n_node++;
}

// Expressions 0 and 1 are always NOTHING and EMPTY.
void nb_grammar_open(nb_grammar *g)
{
    *g = (nb_grammar){0};
    add_node(g, (nb_expr_node){.kind = NB_EXPR_NOTHING});
    add_node(g, (nb_expr_node){.kind = NB_EXPR_EMPTY});
}

void nb_grammar_close(nb_grammar *g)
{
    free(g->node);
    free(g->child);
    free(g->arc);
    free(g->rule);
    free(g->name);
    nb_buf_drop(&g->literal);
    *g = (nb_grammar){0};
}

nb_expr nb_grammar_nothing(nb_grammar *g)
{
    (void)g;
    return 0;
}

nb_expr nb_grammar_empty(nb_grammar *g)
{
    (void)g;
    return 1;
}

nb_expr nb_grammar_bytes(nb_grammar *g, nb_str bytes)
{
    if (bytes.len == 0) return nb_grammar_empty(g);
    if (g->literal.len + bytes.len > NB_GRAMMAR_BYTES_MAX) {
        g->overflow = true;
        return nb_grammar_nothing(g);
    }
    int32_t first = (int32_t)g->literal.len;
    nb_buf_add_str(&g->literal, bytes);
    return add_node(g, (nb_expr_node){.kind = NB_EXPR_BYTES, .a = first, .b = (int32_t)bytes.len});
}

nb_expr nb_grammar_text(nb_grammar *g, const char *c_string)
{
    return nb_grammar_bytes(g, nb_str_from(c_string));
}

nb_expr nb_grammar_range(nb_grammar *g, uint8_t lo, uint8_t hi)
{
    return add_node(g, (nb_expr_node){.kind = NB_EXPR_RANGE, .a = lo, .b = hi});
}

void nb_expr_list_add(nb_expr_list *list, nb_expr x)
{
    list->at = with_room(list->at, &list->cap, list->n + 1, sizeof(*list->at));
    list->at[list->n++] = x;
}

static nb_expr add_list(nb_grammar *g, nb_expr_kind kind, nb_expr_list *items)
{
    nb_expr x;
    if (items->n == 1) {
        x = items->at[0];
    } else if (g->n_child + items->n > NB_GRAMMAR_NODES_MAX) {
        g->overflow = true;
        x = nb_grammar_nothing(g);
    } else {
        g->child = with_room(g->child, &g->cap_child, g->n_child + items->n, sizeof(*g->child));
        memcpy(g->child + g->n_child, items->at, sizeof(*g->child) * (size_t)items->n);
        g->n_child += items->n;
        x = add_node(g, (nb_expr_node){.kind = kind, .a = g->n_child - items->n, .b = items->n});
    }
    free(items->at);
    *items = (nb_expr_list){0};
    return x;
}

nb_expr nb_grammar_seq(nb_grammar *g, nb_expr_list *items)
{
    return items->n ? add_list(g, NB_EXPR_SEQ, items) : nb_grammar_empty(g);
}

nb_expr nb_grammar_any(nb_grammar *g, nb_expr_list *items)
{
    return items->n ? add_list(g, NB_EXPR_ANY, items) : nb_grammar_nothing(g);
}

static nb_expr add_pair(nb_grammar *g, nb_expr_kind kind, nb_expr a, nb_expr b)
{
    nb_expr_list items = {0};
    nb_expr_list_add(&items, a);
    nb_expr_list_add(&items, b);
    return add_list(g, kind, &items);
}

nb_expr nb_grammar_seq2(nb_grammar *g, nb_expr a, nb_expr b)
{
    return add_pair(g, NB_EXPR_SEQ, a, b);
}

nb_expr nb_grammar_any2(nb_grammar *g, nb_expr a, nb_expr b)
{
    return add_pair(g, NB_EXPR_ANY, a, b);
}

nb_expr nb_grammar_repeat(nb_grammar *g, nb_expr a, int64_t lo, int64_t hi)
{
    if (lo > NB_GRAMMAR_REPEAT_MAX || hi > NB_GRAMMAR_REPEAT_MAX) {
        g->overflow = true;
        return nb_grammar_nothing(g);
    }
    if (hi != NB_REPEAT_FOREVER && hi < lo) return nb_grammar_nothing(g);
    return add_node(g, (nb_expr_node){.kind = NB_EXPR_REPEAT, .a = a, .lo = (int32_t)lo, .hi = (int32_t)hi});
}

nb_expr nb_grammar_optional(nb_grammar *g, nb_expr a)
{
    return nb_grammar_repeat(g, a, 0, 1);
}

nb_expr nb_grammar_both(nb_grammar *g, nb_expr a, nb_expr b)
{
    return add_node(g, (nb_expr_node){.kind = NB_EXPR_BOTH, .a = a, .b = b});
}

nb_expr nb_grammar_minus(nb_grammar *g, nb_expr a, nb_expr b)
{
    return add_node(g, (nb_expr_node){.kind = NB_EXPR_MINUS, .a = a, .b = b});
}

nb_expr nb_grammar_call(nb_grammar *g, int32_t rule)
{
    return add_node(g, (nb_expr_node){.kind = NB_EXPR_CALL, .a = rule});
}

void nb_graph_add(nb_graph *graph, int32_t from, nb_expr x, int32_t to)
{
    int32_t last = from > to ? from : to;
    if (last >= graph->n_state) graph->n_state = last + 1;
    graph->arc = with_room(graph->arc, &graph->cap, graph->n + 1, sizeof(*graph->arc));
    graph->arc[graph->n++] = (nb_arc){from, to, x};
}

nb_expr nb_grammar_graph(nb_grammar *g, nb_graph *graph)
{
    nb_expr x = nb_grammar_nothing(g);
    if (g->n_arc + graph->n > NB_GRAMMAR_NODES_MAX) {
        g->overflow = true;
    } else if (graph->n > 0) {
        g->arc = with_room(g->arc, &g->cap_arc, g->n_arc + graph->n, sizeof(*g->arc));
        memcpy(g->arc + g->n_arc, graph->arc, sizeof(*g->arc) * (size_t)graph->n);
        x = add_node(g, (nb_expr_node){.kind = NB_EXPR_GRAPH, .a = g->n_arc, .b = graph->n, .lo = graph->n_state});
        g->n_arc += graph->n;
    }
    free(graph->arc);
    *graph = (nb_graph){0};
    return x;
}

int32_t nb_grammar_rule(nb_grammar *g, nb_str name)
{
    if (g->n_rule >= NB_GRAMMAR_RULES_MAX) {
        g->overflow = true;
        return 0;
    }
    int32_t cap = g->cap_rule;
    g->rule = with_room(g->rule, &cap, g->n_rule + 1, sizeof(*g->rule));
    g->name = with_room(g->name, &g->cap_rule, g->n_rule + 1, sizeof(*g->name));
    g->rule[g->n_rule] = nb_grammar_nothing(g);
    g->name[g->n_rule] = name;
    return g->n_rule++;
}

void nb_grammar_define(nb_grammar *g, int32_t rule, nb_expr x)
{
    g->rule[rule] = x;
}

// ---- Characters as bytes

static nb_expr byte_seq(nb_grammar *g, const char *lo, const char *hi, int n)
{
    nb_expr_list bytes = {0};
    for (int i = 0; i < n; i++) nb_expr_list_add(&bytes, nb_grammar_range(g, (uint8_t)lo[i], (uint8_t)hi[i]));
    return nb_grammar_seq(g, &bytes);
}

// A range of code points is cut until each part is a product of byte ranges: at the borders of encoded lengths, and
// where the bytes behind the first one that differs are not all of their values.
static void add_range(nb_grammar *g, uint32_t lo, uint32_t hi, nb_expr_list *out)
{
    static const uint32_t last_of_length[] = {0x7F, 0x7FF, 0xFFFF};
    for (int i = 0; i < 3; i++)
        if (lo <= last_of_length[i] && hi > last_of_length[i]) {
            add_range(g, lo, last_of_length[i], out);
            add_range(g, last_of_length[i] + 1, hi, out);
            return;
        }
    for (int shift = 6; shift <= 18 && hi > 0x7F; shift += 6) {
        uint32_t low_bits = (1u << shift) - 1;
        if ((lo & ~low_bits) == (hi & ~low_bits)) break;
        if (lo & low_bits) {
            add_range(g, lo, lo | low_bits, out);
            add_range(g, (lo | low_bits) + 1, hi, out);
            return;
        }
        if ((hi & low_bits) != low_bits) {
            add_range(g, lo, (hi & ~low_bits) - 1, out);
            add_range(g, hi & ~low_bits, hi, out);
            return;
        }
    }
    char a[4], b[4];
    int n = nb_utf8_encode(lo, a);
    nb_utf8_encode(hi, b);
    nb_expr_list_add(out, byte_seq(g, a, b, n));
}

nb_expr nb_grammar_chars(nb_grammar *g, const nb_char_set *set)
{
    nb_expr_list parts = {0};
    for (int i = 0; i < set->n; i++) add_range(g, set->range[i].lo, set->range[i].hi, &parts);
    return nb_grammar_any(g, &parts);
}

nb_expr nb_grammar_any_char(nb_grammar *g)
{
    nb_char_set set = {0};
    nb_char_set_add(&set, 0, NB_CHAR_LAST);
    nb_expr x = nb_grammar_chars(g, &set);
    nb_char_set_drop(&set);
    return x;
}
