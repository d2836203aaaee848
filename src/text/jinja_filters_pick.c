// Filters that apply another filter or a test to each item: map, select, reject and their attribute forms.
#include "text/jinja_internal.h"

static nb_value filter_attr(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str name = nb_value_need_str(j, a->item[0], "the name");
    bool is_key = v.kind == NB_V_DICT && nb_value_get(j, v.dict, a->item[0]); // attr never looks at keys
    nb_value found = nb_value_attr(j, v, name);
    bool is_attribute = found.kind == NB_V_METHOD || v.kind != NB_V_DICT || !is_key;
    return is_attribute ? found
                        : nb_value_undefined(j, "'dict object' has no attribute '%.*s'", (int)name.len, name.ptr);
}

static const nb_value *named(const nb_args *a, const char *name)
{
    for (int64_t i = 0; i < a->n_named; i++)
        if (nb_str_equal_c(a->named[i].name, name)) return &a->named[i].value;
    return NULL;
}

// The arguments behind the first n positional ones.
static nb_args rest_of(const nb_args *a, int64_t n)
{
    return (nb_args){.item = a->item + n, .n = a->n - n, .named = a->named, .n_named = a->n_named};
}

static nb_value map_attribute(nb_jinja *j, nb_value item, nb_value attribute, const nb_value *fallback)
{
    nb_value found = nb_value_path(j, item, attribute);
    return found.kind == NB_V_UNDEFINED && fallback ? *fallback : found;
}

static nb_value filter_map(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    const nb_value *attribute = named(a, "attribute"), *fallback = named(a, "default");
    if (!attribute && a->n == 0) nb_jinja_fail(j, "map requires a filter argument");
    nb_value *out = NB_JINJA_ARRAY(j, nb_value, items.n);
    nb_args rest = attribute ? (nb_args){0} : rest_of(a, 1);
    for (int64_t i = 0; i < items.n; i++) {
        nb_jinja_charge(j, 1);
        out[i] = attribute ? map_attribute(j, items.item[i], *attribute, fallback)
                           : nb_jinja_apply_filter(j, nb_value_need_str(j, a->item[0], "the filter's name"),
                                                   items.item[i], &rest);
    }
    return nb_value_seq(j, NB_V_ITERATOR, out, items.n);
}

// Keeps the items (of which an attribute is looked at if `by_attribute`) for which the test is `wanted`.
static nb_value pick(nb_jinja *j, nb_value v, const nb_args *a, bool by_attribute, bool wanted)
{
    nb_seq items = nb_value_items(j, v);
    nb_value *kept = NB_JINJA_ARRAY(j, nb_value, items.n);
    int64_t n = 0, n_skip = by_attribute;
    if (a->n < n_skip) nb_jinja_fail(j, "Missing parameter for attribute name");
    bool has_test = a->n > n_skip;
    nb_args rest = has_test ? rest_of(a, n_skip + 1) : (nb_args){0};
    for (int64_t i = 0; i < items.n; i++) {
        nb_jinja_charge(j, 1);
        nb_value item = by_attribute ? nb_value_path(j, items.item[i], a->item[0]) : items.item[i];
        bool is = has_test
                      ? nb_jinja_apply_test(j, nb_value_need_str(j, a->item[n_skip], "the test's name"), item, &rest)
                      : nb_value_truth(item);
        if (is == wanted) kept[n++] = items.item[i];
    }
    return nb_value_seq(j, NB_V_ITERATOR, kept, n);
}

static nb_value filter_select(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pick(j, v, a, false, true);
}
static nb_value filter_reject(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pick(j, v, a, false, false);
}
static nb_value filter_selectattr(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pick(j, v, a, true, true);
}
static nb_value filter_rejectattr(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pick(j, v, a, true, false);
}

const nb_native nb_jinja_filters_pick[] = {
    {"attr", "name", filter_attr},
    {"map", NULL, filter_map},
    {"reject", NULL, filter_reject},
    {"rejectattr", NULL, filter_rejectattr},
    {"select", NULL, filter_select},
    {"selectattr", NULL, filter_selectattr},
    {0},
};
