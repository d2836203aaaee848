// Arrays: prefixItems, items and their number.
#include "constrain/grammar_schema_internal.h"

#include <stdio.h>

enum { DIFFERENT_MAX = 100 };

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

// ---- Items that differ: a choice of the values that the items may have, in their order

static bool equal(const json_t *a, const json_t *b)
{
    unsigned numbers = NB_TYPE_INTEGER | NB_TYPE_NUMBER;
    if (nb_schema_type_of(a) & numbers && nb_schema_type_of(b) & numbers)
        return nb_schema_value(a) == nb_schema_value(b);
    return json_equal(a, b);
}

// Each value once, as a schema that allows it alone.
static json_t *different_items(const json_t *items, const json_t *values)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(values); i++) {
        bool again = false;
        for (size_t k = 0; k < i && !again; k++) again = equal(json_array_get(values, i), json_array_get(values, k));
        json_t *only = json_pack("{s:[O]}", "enum", json_array_get(values, i));
        if (!again) json_array_append_new(out, nb_schema_both(items, only));
        json_decref(only);
    }
    return out;
}

// State 2 + row * (most + 1) + count: the first `row` values were looked at, `count` of them written.
static nb_expr make_choice(nb_schema *s, const json_t *item, int64_t least, int64_t most, const char *path)
{
    nb_graph graph = {0};
    nb_grammar *g = s->g;
    int64_t n = (int64_t)json_array_size(item), width = most + 1;
    nb_graph_add(&graph, 0, nb_grammar_text(g, "["), 2);
    for (int64_t row = 0; row < n; row++) {
        nb_expr x = nb_schema_call(s, json_array_get(item, (size_t)row), path);
        nb_expr first = with_comma(s, x, true), later = with_comma(s, x, false);
        for (int64_t count = 0; count <= most; count++) {
            int32_t at = (int32_t)(2 + row * width + count), below = (int32_t)(at + width);
            nb_graph_add(&graph, at, nb_grammar_empty(g), below);
            if (count < most) nb_graph_add(&graph, at, count ? later : first, below + 1);
        }
    }
    nb_expr close = nb_grammar_seq2(g, nb_grammar_json_line(s->json), nb_grammar_text(g, "]"));
    for (int64_t count = least; count <= most; count++)
        nb_graph_add(&graph, (int32_t)(2 + n * width + count), close, 1);
    return nb_grammar_graph(g, &graph);
}

static int compile_different(nb_schema *s, const json_t *flat, int64_t least, int64_t most, const char *path,
                             nb_expr *out)
{
    const json_t *items = json_object_get(flat, "items");
    json_t *flat_items = NULL;
    NB_TRY(nb_schema_flatten(s, items ? items : json_true(), nb_schema_path(s, path, "items", NULL), 0, &flat_items));
    const json_t *values = json_object_get(flat_items, "enum");
    int64_t n = (int64_t)json_array_size(values);
    int code = NB_OK;
    if (!values || n > DIFFERENT_MAX || json_object_get(flat, "prefixItems")) {
        code = nb_schema_refuse(s, path, "uniqueItems",
                                "is only supported where items has an enum of at most %d values", DIFFERENT_MAX);
    } else {
        json_t *different = different_items(items, values);
        n = (int64_t)json_array_size(different);
        *out = make_choice(s, different, least, most >= 0 && most < n ? most : n, path);
        json_decref(different);
    }
    json_decref(flat_items);
    return code;
}

int nb_schema_array(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    const json_t *prefix = json_object_get(flat, "prefixItems"), *rest = json_object_get(flat, "items");
    int64_t least, most, n_prefix = (int64_t)json_array_size(prefix);
    NB_TRY(nb_schema_count(s, flat, path, "minItems", 0, &least));
    NB_TRY(nb_schema_count(s, flat, path, "maxItems", -1, &most));
    if (least > NB_GRAMMAR_REPEAT_MAX) return nb_schema_refuse(s, path, "minItems", "is too large");
    if (most > NB_GRAMMAR_REPEAT_MAX) return nb_schema_refuse(s, path, "maxItems", "is too large");
    if (json_is_true(json_object_get(flat, "uniqueItems")) && (most < 0 || most > 1))
        return compile_different(s, flat, least, most, path, out);
    if (!prefix && (!rest || json_is_true(rest)) && least == 0 && most < 0) {
        *out = nb_grammar_call(s->g, s->json->array);
        return NB_OK;
    }
    if (!rest) rest = prefix && least <= n_prefix ? json_false() : json_true();
    if (json_is_false(rest) && (most < 0 || most > n_prefix)) most = n_prefix;
    *out = make_graph(s, prefix, rest, least, most, path);
    return NB_OK;
}
