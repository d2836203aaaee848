// Methods of dictionaries, lists and `loop`.
#include "text/jinja_internal.h"

static nb_value dict_get(nb_jinja *j, nb_value v, const nb_args *a)
{
    const nb_value *found = nb_value_get(j, v.dict, a->item[0]);
    if (found) return *found;
    return a->item[1].kind == NB_V_ABSENT ? NB_NONE : a->item[1];
}

static nb_value view(nb_jinja *j, const nb_value *item, int64_t n, nb_str shown)
{
    nb_seq *seq = NB_JINJA_ARRAY(j, nb_seq, 1);
    *seq = (nb_seq){.item = item, .n = n, .shown = shown};
    return (nb_value){.kind = NB_V_VIEW, .seq = seq};
}

static nb_value dict_keys(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return view(j, v.dict->key, v.dict->n, NB_STR("dict_keys"));
}

static nb_value dict_values(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return view(j, v.dict->item, v.dict->n, NB_STR("dict_values"));
}

static nb_value dict_items(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_value *pair = NB_JINJA_ARRAY(j, nb_value, v.dict->n);
    for (int64_t i = 0; i < v.dict->n; i++) pair[i] = nb_value_pair(j, v.dict->key[i], v.dict->item[i]);
    return view(j, pair, v.dict->n, NB_STR("dict_items"));
}

// Values never change, so a copy may be the value itself.
static nb_value copy(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)j, (void)a;
    return v;
}

const nb_native nb_jinja_methods_dict[] = {
    {"copy", "", copy},      {"get", "key ?default", dict_get}, {"items", "", dict_items},
    {"keys", "", dict_keys}, {"values", "", dict_values},       {0},
};

static nb_value list_index(nb_jinja *j, nb_value v, const nb_args *a)
{
    for (int64_t i = 0; i < v.seq->n; i++)
        if (nb_value_equal(j, v.seq->item[i], a->item[0])) return nb_value_int(i);
    nb_jinja_fail(j, "the value is not in the list");
}

static nb_value list_count(nb_jinja *j, nb_value v, const nb_args *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < v.seq->n; i++) n += nb_value_equal(j, v.seq->item[i], a->item[0]);
    return nb_value_int(n);
}

const nb_native nb_jinja_methods_list[] = {
    {"copy", "", copy},
    {"count", "value", list_count},
    {"index", "value", list_index},
    {0},
};

static nb_value loop_cycle(nb_jinja *j, nb_value v, const nb_args *a)
{
    if (a->n == 0) nb_jinja_fail(j, "no items for cycling given");
    return a->item[v.loop->index % a->n];
}

static nb_value loop_changed(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_value now = nb_value_seq(j, NB_V_TUPLE, a->item, a->n);
    bool changed = v.loop->changed.kind == NB_V_ABSENT || !nb_value_equal(j, v.loop->changed, now);
    v.loop->changed = now;
    return nb_value_bool(changed);
}

const nb_native nb_jinja_methods_loop[] = {
    {"changed", NULL, loop_changed},
    {"cycle", NULL, loop_cycle},
    {0},
};
