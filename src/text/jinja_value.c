// Values: making them, their truth, equality and order, dictionaries. Python's rules: 1 == 1.0 == True, containers
// compare by content, dictionaries keep the order of insertion.
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

const nb_value NB_NONE = {.kind = NB_V_NONE};

nb_value nb_value_bool(bool truth)
{
    return (nb_value){.kind = NB_V_BOOL, .truth = truth};
}
nb_value nb_value_int(int64_t integer)
{
    return (nb_value){.kind = NB_V_INT, .integer = integer};
}
nb_value nb_value_float(double real)
{
    return (nb_value){.kind = NB_V_FLOAT, .real = real};
}
nb_value nb_value_str(nb_str text)
{
    return (nb_value){.kind = NB_V_STR, .text = text};
}

nb_value nb_value_undefined(nb_jinja *j, const char *format, ...)
{
    char message[256];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof(message), format, list);
    va_end(list);
    nb_text t = {0};
    nb_text_add_c(j, &t, message);
    return (nb_value){.kind = NB_V_UNDEFINED, .text = nb_text_str(&t)};
}

nb_value nb_value_seq(nb_jinja *j, nb_value_kind kind, const nb_value *item, int64_t n)
{
    nb_seq *seq = NB_JINJA_ARRAY(j, nb_seq, 1);
    seq->item = item;
    seq->n = n;
    return (nb_value){.kind = kind, .seq = seq};
}

nb_value nb_value_list(nb_jinja *j, const nb_value *item, int64_t n)
{
    return nb_value_seq(j, NB_V_LIST, item, n);
}

nb_value nb_value_pair(nb_jinja *j, nb_value a, nb_value b)
{
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, 2);
    item[0] = a;
    item[1] = b;
    return nb_value_seq(j, NB_V_TUPLE, item, 2);
}

nb_value nb_value_dict(nb_jinja *j, int64_t cap)
{
    nb_dict *dict = NB_JINJA_ARRAY(j, nb_dict, 1);
    dict->key = NB_JINJA_ARRAY(j, nb_value, cap);
    dict->item = NB_JINJA_ARRAY(j, nb_value, cap);
    dict->cap = cap;
    return (nb_value){.kind = NB_V_DICT, .dict = dict};
}

// ---- From JSON. Strings are borrowed: the JSON outlives the rendering

static nb_value from_json_array(nb_jinja *j, const json_t *json)
{
    size_t n = json_array_size(json);
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, n);
    for (size_t i = 0; i < n; i++) item[i] = nb_value_from_json(j, json_array_get(json, i));
    return nb_value_list(j, item, (int64_t)n);
}

// Keys of a JSON object are distinct already, so they are appended without a search.
static nb_value from_json_object(nb_jinja *j, const json_t *json)
{
    nb_value v = nb_value_dict(j, (int64_t)json_object_size(json));
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)json, key, item)
    {
        v.dict->key[v.dict->n] = nb_value_str(nb_str_from(key));
        v.dict->item[v.dict->n++] = nb_value_from_json(j, item);
    }
    return v;
}

static nb_value from_json_string(const json_t *json)
{
    nb_str digits = nb_json_big_integer(json);
    if (digits.ptr) return (nb_value){.kind = NB_V_BIGINT, .text = digits};
    return nb_value_str((nb_str){json_string_value(json), json_string_length(json)});
}

nb_value nb_value_from_json(nb_jinja *j, const json_t *json)
{
    nb_value v = NB_NONE;
    nb_jinja_enter(j);
    switch (json_typeof(json)) {
    case JSON_NULL: break;
    case JSON_TRUE: v = nb_value_bool(true); break;
    case JSON_FALSE: v = nb_value_bool(false); break;
    case JSON_INTEGER: v = nb_value_int(json_integer_value(json)); break;
    case JSON_REAL: v = nb_value_float(json_real_value(json)); break;
    case JSON_STRING: v = from_json_string(json); break;
    case JSON_ARRAY: v = from_json_array(j, json); break;
    case JSON_OBJECT: v = from_json_object(j, json); break;
    }
    nb_jinja_leave(j);
    return v;
}

// ---- Kinds

const char *nb_value_type(nb_value v)
{
    static const char *const name[] = {
        [NB_V_ABSENT] = "nothing",
        [NB_V_UNDEFINED] = "Undefined",
        [NB_V_NONE] = "NoneType",
        [NB_V_BOOL] = "bool",
        [NB_V_INT] = "int",
        [NB_V_BIGINT] = "int",
        [NB_V_FLOAT] = "float",
        [NB_V_STR] = "str",
        [NB_V_LIST] = "list",
        [NB_V_TUPLE] = "tuple",
        [NB_V_RANGE] = "range",
        [NB_V_VIEW] = "view",
        [NB_V_ITERATOR] = "generator",
        [NB_V_DICT] = "dict",
        [NB_V_NAMESPACE] = "Namespace",
        [NB_V_LOOP] = "LoopContext",
        [NB_V_MACRO] = "Macro",
        [NB_V_FUNCTION] = "function",
        [NB_V_METHOD] = "method",
    };
    return name[v.kind];
}

bool nb_value_is_seq(nb_value v)
{
    return v.kind >= NB_V_LIST && v.kind <= NB_V_ITERATOR;
}

bool nb_value_truth(nb_value v)
{
    switch (v.kind) {
    case NB_V_ABSENT:
    case NB_V_UNDEFINED:
    case NB_V_NONE: return false;
    case NB_V_BOOL: return v.truth;
    case NB_V_INT: return v.integer != 0;
    case NB_V_FLOAT: return v.real != 0;
    case NB_V_STR: return v.text.len > 0;
    case NB_V_LIST:
    case NB_V_TUPLE:
    case NB_V_RANGE:
    case NB_V_VIEW: return v.seq->n > 0;
    case NB_V_DICT: return v.dict->n > 0;
    default: return true;
    }
}

bool nb_value_is_int(nb_value v, int64_t *out)
{
    if (v.kind != NB_V_INT && v.kind != NB_V_BOOL) return false;
    *out = v.kind == NB_V_INT ? v.integer : v.truth;
    return true;
}

bool nb_value_is_number(nb_value v, double *out)
{
    int64_t integer;
    if (nb_value_is_int(v, &integer))
        *out = (double)integer;
    else if (v.kind == NB_V_FLOAT)
        *out = v.real;
    else
        return false;
    return true;
}

// ---- Equality and order

static bool equal_seq(nb_jinja *j, const nb_seq *a, const nb_seq *b)
{
    if (a->n != b->n) return false;
    for (int64_t i = 0; i < a->n; i++)
        if (!nb_value_equal(j, a->item[i], b->item[i])) return false;
    return true;
}

static bool equal_dict(nb_jinja *j, const nb_dict *a, const nb_dict *b)
{
    if (a->n != b->n) return false;
    for (int64_t i = 0; i < a->n; i++) {
        const nb_value *other = nb_value_get(j, b, a->key[i]);
        if (!other || !nb_value_equal(j, a->item[i], *other)) return false;
    }
    return true;
}

static bool equal_same_kind(nb_jinja *j, nb_value a, nb_value b)
{
    switch (a.kind) {
    case NB_V_NONE:
    case NB_V_UNDEFINED: return true;
    case NB_V_BIGINT:
    case NB_V_STR: nb_jinja_charge(j, a.text.len / 64); return nb_str_equal(a.text, b.text);
    case NB_V_LIST:
    case NB_V_TUPLE:
    case NB_V_RANGE:
    case NB_V_VIEW: return equal_seq(j, a.seq, b.seq);
    case NB_V_DICT: return equal_dict(j, a.dict, b.dict);
    case NB_V_FUNCTION: return a.native == b.native;
    default: return a.seq == b.seq; // things that are equal only to themselves
    }
}

bool nb_value_equal(nb_jinja *j, nb_value a, nb_value b)
{
    int64_t i, k;
    double x, y;
    nb_jinja_charge(j, 1);
    if (nb_value_is_int(a, &i) && nb_value_is_int(b, &k)) return i == k;
    if (nb_value_is_number(a, &x) && nb_value_is_number(b, &y)) return x == y;
    if (a.kind != b.kind) return false;
    nb_jinja_enter(j);
    bool equal = equal_same_kind(j, a, b);
    nb_jinja_leave(j);
    return equal;
}

static int compare_text(nb_jinja *j, nb_str a, nb_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    nb_jinja_charge(j, n / 64);
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0; // UTF-8 sorts as its code points do
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_seq(nb_jinja *j, const nb_seq *a, const nb_seq *b, const char *op)
{
    int order = 0;
    nb_jinja_enter(j);
    for (int64_t i = 0; i < a->n && i < b->n && !order; i++)
        if (!nb_value_equal(j, a->item[i], b->item[i])) order = nb_value_compare(j, a->item[i], b->item[i], op);
    nb_jinja_leave(j);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

int nb_value_compare(nb_jinja *j, nb_value a, nb_value b, const char *op)
{
    int64_t i, k;
    double x, y;
    nb_jinja_charge(j, 1);
    if (nb_value_is_int(a, &i) && nb_value_is_int(b, &k)) return (i > k) - (i < k);
    if (nb_value_is_number(a, &x) && nb_value_is_number(b, &y)) return (x > y) - (x < y);
    if (a.kind == b.kind && a.kind == NB_V_STR) return compare_text(j, a.text, b.text);
    if (a.kind == b.kind && (a.kind == NB_V_LIST || a.kind == NB_V_TUPLE)) return compare_seq(j, a.seq, b.seq, op);
    if (a.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", a.text.ptr);
    if (b.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", b.text.ptr);
    nb_jinja_fail(j, "'%s' not supported between instances of '%s' and '%s'", op, nb_value_type(a), nb_value_type(b));
}

// Merge sort of positions by key: stable, and its work is charged by the comparisons.
static void sort_positions(nb_jinja *j, const nb_value *key, bool reverse, int64_t *at, int64_t *spare, int64_t n)
{
    if (n < 2) return;
    int64_t half = n / 2, a = 0, b = half;
    sort_positions(j, key, reverse, at, spare, half);
    sort_positions(j, key, reverse, at + half, spare, n - half);
    for (int64_t i = 0; i < n; i++) {
        bool take_b = a == half || (b < n && (reverse ? nb_value_compare(j, key[at[a]], key[at[b]], "<") < 0
                                                      : nb_value_compare(j, key[at[b]], key[at[a]], "<") < 0));
        spare[i] = take_b ? at[b++] : at[a++];
    }
    memcpy(at, spare, sizeof(*at) * (size_t)n);
}

nb_value nb_value_sorted(nb_jinja *j, nb_seq items, const nb_value *keys, bool reverse)
{
    int64_t *at = NB_JINJA_ARRAY(j, int64_t, 2 * items.n);
    nb_value *sorted = NB_JINJA_ARRAY(j, nb_value, items.n);
    for (int64_t i = 0; i < items.n; i++) at[i] = i;
    sort_positions(j, keys, reverse, at, at + items.n, items.n);
    for (int64_t i = 0; i < items.n; i++) sorted[i] = items.item[at[i]];
    return nb_value_list(j, sorted, items.n);
}

// ---- Dictionaries. They are small (messages, schemas), so a key is found by looking through them

const nb_value *nb_value_get(nb_jinja *j, const nb_dict *dict, nb_value key)
{
    nb_jinja_charge(j, (size_t)dict->n / 16);
    for (int64_t i = 0; i < dict->n; i++) {
        const nb_value *k = &dict->key[i];
        bool found =
            key.kind == NB_V_STR && k->kind == NB_V_STR ? nb_str_equal(key.text, k->text) : nb_value_equal(j, *k, key);
        if (found) return &dict->item[i];
    }
    return NULL;
}

static void grow_dict(nb_jinja *j, nb_dict *dict)
{
    int64_t cap = dict->cap < 4 ? 8 : 2 * dict->cap;
    nb_value *key = NB_JINJA_ARRAY(j, nb_value, cap), *item = NB_JINJA_ARRAY(j, nb_value, cap);
    for (int64_t i = 0; i < dict->n; i++) {
        key[i] = dict->key[i];
        item[i] = dict->item[i];
    }
    dict->key = key;
    dict->item = item;
    dict->cap = cap;
}

void nb_value_set(nb_jinja *j, nb_dict *dict, nb_value key, nb_value item)
{
    if (key.kind == NB_V_LIST || key.kind == NB_V_DICT) nb_jinja_fail(j, "unhashable type: '%s'", nb_value_type(key));
    const nb_value *old = nb_value_get(j, dict, key);
    if (old) {
        dict->item[old - dict->item] = item;
        return;
    }
    if (dict->n == dict->cap) grow_dict(j, dict);
    dict->key[dict->n] = key;
    dict->item[dict->n++] = item;
}

nb_str nb_value_need_str(nb_jinja *j, nb_value v, const char *what)
{
    if (v.kind != NB_V_STR) nb_jinja_fail(j, "%s must be str, not %s", what, nb_value_type(v));
    return v.text;
}

int64_t nb_value_need_int(nb_jinja *j, nb_value v, const char *what)
{
    int64_t integer;
    if (!nb_value_is_int(v, &integer)) nb_jinja_fail(j, "%s must be int, not %s", what, nb_value_type(v));
    return integer;
}
