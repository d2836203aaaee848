// Filters for lists: length, ends, order, groups.
#include "text/jinja_internal.h"

#include <string.h>

static bool is_given(nb_value v)
{
    return v.kind != NB_V_ABSENT && v.kind != NB_V_NONE;
}
static bool truth_of(nb_value v)
{
    return v.kind != NB_V_ABSENT && nb_value_truth(v);
}

static nb_value filter_length(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_int(nb_value_length(j, v));
}

static nb_value filter_list(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_seq items = nb_value_items(j, v);
    return nb_value_list(j, items.item, items.n);
}

static nb_value filter_first(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_seq items = nb_value_items(j, v);
    return items.n ? items.item[0] : nb_value_undefined(j, "No first item, sequence was empty.");
}

static nb_value filter_last(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_seq items = nb_value_items(j, v);
    return items.n ? items.item[items.n - 1] : nb_value_undefined(j, "No last item, sequence was empty.");
}

static nb_value filter_reverse(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    const nb_value bound[3] = {{0}, {0}, nb_value_int(-1)};
    if (v.kind == NB_V_STR) return nb_value_slice(j, v, bound);
    nb_seq items = nb_value_items(j, v);
    nb_value list = nb_value_slice(j, nb_value_list(j, items.item, items.n), bound);
    list.kind = NB_V_ITERATOR;
    return list;
}

static nb_value filter_join(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    nb_str separator = a->item[0].kind == NB_V_ABSENT ? NB_STR("") : nb_text_of(j, a->item[0]);
    nb_text t = {0};
    for (int64_t i = 0; i < items.n; i++) {
        if (i) nb_text_add(j, &t, separator);
        nb_text_add_value(j, &t, is_given(a->item[1]) ? nb_value_path(j, items.item[i], a->item[1]) : items.item[i]);
        nb_jinja_charge(j, 1);
    }
    return nb_value_str(nb_text_str(&t));
}

static nb_value filter_items(nb_jinja *j, nb_value v, const nb_args *a)
{
    if (v.kind == NB_V_UNDEFINED) return nb_value_seq(j, NB_V_ITERATOR, NULL, 0);
    if (v.kind != NB_V_DICT) nb_jinja_fail(j, "Can only get item pairs from a mapping.");
    nb_value view = nb_jinja_apply(j, nb_jinja_find(nb_jinja_methods_dict, NB_STR("items")), v, a);
    return nb_value_seq(j, NB_V_ITERATOR, view.seq->item, view.seq->n);
}

// ---- Order

// What items are compared by: an attribute if one is named, in lower case unless case counts.
static nb_value *sort_keys(nb_jinja *j, nb_seq items, nb_value attribute, nb_value case_sensitive)
{
    nb_value *key = NB_JINJA_ARRAY(j, nb_value, items.n);
    for (int64_t i = 0; i < items.n; i++) {
        key[i] = is_given(attribute) ? nb_value_path(j, items.item[i], attribute) : items.item[i];
        if (key[i].kind == NB_V_STR && !truth_of(case_sensitive))
            key[i] = nb_value_str(nb_text_cased(j, key[i].text, NB_CASE_LOWER));
    }
    return key;
}

static nb_value filter_sort(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    return nb_value_sorted(j, items, sort_keys(j, items, a->item[2], a->item[1]), truth_of(a->item[0]));
}

static nb_value filter_dictsort(nb_jinja *j, nb_value v, const nb_args *a)
{
    bool by_value = a->item[1].kind == NB_V_STR && nb_str_equal_c(a->item[1].text, "value");
    if (v.kind != NB_V_DICT) nb_jinja_fail(j, "dictsort needs a mapping, not %s", nb_value_type(v));
    nb_seq by = {.item = by_value ? v.dict->item : v.dict->key, .n = v.dict->n};
    nb_value *key = sort_keys(j, by, NB_NONE, a->item[0]);
    nb_seq pairs = nb_value_items(j, filter_items(j, v, &(nb_args){0}));
    return nb_value_sorted(j, pairs, key, truth_of(a->item[2]));
}

// Position of the extreme item; the first one of several.
static nb_value extreme(nb_jinja *j, nb_value v, const nb_args *a, int sign)
{
    nb_seq items = nb_value_items(j, v);
    if (items.n == 0) return nb_value_undefined(j, "No aggregated item, sequence was empty.");
    nb_value *key = sort_keys(j, items, a->item[1], a->item[0]);
    int64_t best = 0;
    for (int64_t i = 1; i < items.n; i++)
        if (sign * nb_value_compare(j, key[i], key[best], sign > 0 ? ">" : "<") > 0) best = i;
    return items.item[best];
}

static nb_value filter_max(nb_jinja *j, nb_value v, const nb_args *a)
{
    return extreme(j, v, a, 1);
}
static nb_value filter_min(nb_jinja *j, nb_value v, const nb_args *a)
{
    return extreme(j, v, a, -1);
}

static nb_value filter_sum(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    nb_value sum = a->item[1].kind == NB_V_ABSENT ? nb_value_int(0) : a->item[1];
    for (int64_t i = 0; i < items.n; i++)
        sum = nb_jinja_binary(j, NB_OP_ADD, sum,
                              is_given(a->item[0]) ? nb_value_path(j, items.item[i], a->item[0]) : items.item[i]);
    return sum;
}

static nb_value filter_unique(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    nb_value *key = sort_keys(j, items, a->item[1], a->item[0]), *kept = NB_JINJA_ARRAY(j, nb_value, items.n);
    int64_t n = 0;
    nb_value seen = nb_value_dict(j, items.n);
    for (int64_t i = 0; i < items.n; i++) {
        if (nb_value_get(j, seen.dict, key[i])) continue;
        nb_value_set(j, seen.dict, key[i], NB_NONE);
        kept[n++] = items.item[i];
    }
    return nb_value_seq(j, NB_V_ITERATOR, kept, n);
}

// ---- Groups

static int64_t group_size(nb_jinja *j, const nb_value *key, int64_t from, int64_t n)
{
    int64_t end = from + 1;
    while (end < n && nb_value_equal(j, key[from], key[end])) end++;
    return end - from;
}

static nb_value filter_groupby(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    nb_value *key = sort_keys(j, items, a->item[0], a->item[2]);
    items = *nb_value_sorted(j, items, key, false).seq;
    key = sort_keys(j, items, a->item[0], a->item[2]);
    nb_value *group = NB_JINJA_ARRAY(j, nb_value, items.n);
    int64_t n_group = 0;
    for (int64_t from = 0, n; from < items.n; from += n) {
        n = group_size(j, key, from, items.n);
        nb_value name = nb_value_path(j, items.item[from], a->item[0]);
        nb_value pair = nb_value_pair(j, name, nb_value_list(j, items.item + from, n));
        nb_seq *seq = NB_JINJA_ARRAY(j, nb_seq, 1);
        *seq = (nb_seq){.item = pair.seq->item, .n = 2, .is_group = true};
        group[n_group++] = (nb_value){.kind = NB_V_TUPLE, .seq = seq};
    }
    return nb_value_list(j, group, n_group);
}

// n items from `from` on, filled up to `full` if a filling is given.
static nb_value part_of(nb_jinja *j, nb_seq items, int64_t from, int64_t n, int64_t full, nb_value fill)
{
    if (!is_given(fill) || n == full) return nb_value_list(j, items.item + from, n);
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, full);
    for (int64_t i = 0; i < full; i++) item[i] = i < n ? items.item[from + i] : fill;
    return nb_value_list(j, item, full);
}

static int64_t part_count(nb_jinja *j, nb_value v)
{
    int64_t n = nb_value_need_int(j, v, "the number of items");
    if (n < 1 || n > NB_JINJA_RANGE_MAX) nb_jinja_fail(j, "the number of items must be 1 to %d", NB_JINJA_RANGE_MAX);
    return n;
}

static nb_value filter_batch(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    int64_t size = part_count(j, a->item[0]), n = (items.n + size - 1) / size;
    nb_value *part = NB_JINJA_ARRAY(j, nb_value, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t left = items.n - i * size;
        part[i] = part_of(j, items, i * size, left < size ? left : size, size, a->item[1]);
    }
    return nb_value_seq(j, NB_V_ITERATOR, part, n);
}

static nb_value filter_slice(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, v);
    int64_t n = part_count(j, a->item[0]), size = items.n / n, n_longer = items.n % n, from = 0;
    nb_value *part = NB_JINJA_ARRAY(j, nb_value, n);
    for (int64_t i = 0; i < n; i++) {
        int64_t own = size + (i < n_longer);
        part[i] = part_of(j, items, from, own, n_longer ? size + 1 : own, a->item[1]);
        from += own;
    }
    return nb_value_seq(j, NB_V_ITERATOR, part, n);
}

const nb_native nb_jinja_filters_list[] = {
    {"batch", "linecount ?fill_with", filter_batch},
    {"count", "", filter_length},
    {"dictsort", "?case_sensitive ?by ?reverse", filter_dictsort},
    {"first", "", filter_first},
    {"groupby", "attribute ?default ?case_sensitive", filter_groupby},
    {"items", "", filter_items},
    {"join", "?d ?attribute", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"max", "?case_sensitive ?attribute", filter_max},
    {"min", "?case_sensitive ?attribute", filter_min},
    {"reverse", "", filter_reverse},
    {"slice", "slices ?fill_with", filter_slice},
    {"sort", "?reverse ?case_sensitive ?attribute", filter_sort},
    {"sum", "?attribute ?start", filter_sum},
    {"unique", "?case_sensitive ?attribute", filter_unique},
    {0},
};
