// Arrays: prefixItems, items and their number.
#include "constrain/grammar_schema_internal.h"

#include <stdio.h>

static nb_expr with_comma(nb_schema *s, nb_expr item, bool first)
{
    nb_expr_list seq = {0};
    if (!first) nb_expr_list_add(&seq, nb_grammar_text(s->g, ","));
    nb_expr_list_add(&seq, nb_grammar_json_line(s->json));
    nb_expr_list_add(&seq, item);
    return nb_grammar_seq(s->g, &seq);
}

static nb_expr prefix_item(nb_schema *s, const json_t *prefix, int64_t i, const char *path)
{
    char number[24];
    snprintf(number, sizeof(number), "%lld", (long long)i);
    return nb_schema_call(s, json_array_get(prefix, (size_t)i), nb_schema_path(s, path, "prefixItems", number));
}

// State 0 is the start, 1 the end, 2 + i: i items were written. Without a limit the last state stays what it is.
static nb_expr make_graph(nb_schema *s, const json_t *prefix, const json_t *rest, int64_t least, int64_t most,
                          const char *path)
{
    nb_graph graph = {0};
    nb_grammar *g = s->g;
    int64_t n_prefix = (int64_t)json_array_size(prefix), n = most >= 0 ? most : least > n_prefix ? least : n_prefix + 1;
    nb_expr item = nb_schema_call(s, rest, nb_schema_path(s, path, "items", NULL));
    nb_expr later = with_comma(s, item, false);
    nb_expr close = nb_grammar_seq2(g, nb_grammar_json_line(s->json), nb_grammar_text(g, "]"));
    nb_graph_add(&graph, 0, nb_grammar_text(g, "["), 2);
    for (int64_t i = 0; i <= n; i++) {
        int32_t state = (int32_t)(2 + i);
        nb_expr x = i == 0 || i < n_prefix
                        ? with_comma(s, i < n_prefix ? prefix_item(s, prefix, i, path) : item, i == 0)
                        : later;
        if (i < n) nb_graph_add(&graph, state, x, state + 1);
        if (i == n && most < 0) nb_graph_add(&graph, state, x, state);
        if (i >= least) nb_graph_add(&graph, state, close, 1);
    }
    return nb_grammar_graph(g, &graph);
}

int nb_schema_array(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    const json_t *prefix = json_object_get(flat, "prefixItems"), *rest = json_object_get(flat, "items");
    int64_t least, most, n_prefix = (int64_t)json_array_size(prefix);
    NB_TRY(nb_schema_count(s, flat, path, "minItems", 0, &least));
    NB_TRY(nb_schema_count(s, flat, path, "maxItems", -1, &most));
    if (least > NB_GRAMMAR_REPEAT_MAX) return nb_schema_refuse(s, path, "minItems", "is too large");
    if (most > NB_GRAMMAR_REPEAT_MAX) return nb_schema_refuse(s, path, "maxItems", "is too large");
    if (!prefix && (!rest || json_is_true(rest)) && least == 0 && most < 0) {
        *out = nb_grammar_call(s->g, s->json->array);
        return NB_OK;
    }
    if (!rest) rest = prefix && least <= n_prefix ? json_false() : json_true();
    if (json_is_false(rest) && (most < 0 || most > n_prefix)) most = n_prefix;
    *out = make_graph(s, prefix, rest, least, most, path);
    return NB_OK;
}
