// Looking into values: length, items of a loop, attributes, subscripts, slices. `v.name` tries the attribute before the
// key and `v[key]` the key before the attribute, as Jinja does; what is not there is undefined, not an error.
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

static nb_value chars_of(nb_jinja *j, nb_str s)
{
    int64_t n = (int64_t)nb_text_count(j, s);
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, n);
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t from = at;
        nb_utf8_decode(s, &at);
        item[i] = nb_value_str(nb_str_slice(s, from, at));
    }
    return nb_value_list(j, item, n);
}

int64_t nb_value_length(nb_jinja *j, nb_value v)
{
    switch (v.kind) {
    case NB_V_UNDEFINED: return 0;
    case NB_V_STR: return (int64_t)nb_text_count(j, v.text);
    case NB_V_LIST:
    case NB_V_TUPLE:
    case NB_V_RANGE:
    case NB_V_VIEW: return v.seq->n;
    case NB_V_DICT: return v.dict->n;
    case NB_V_LOOP: return v.loop->n;
    default: nb_jinja_fail(j, "object of type '%s' has no len()", nb_value_type(v));
    }
}

static nb_seq items_of(nb_jinja *j, nb_value v)
{
    if (nb_value_is_seq(v)) return *v.seq;
    if (v.kind == NB_V_DICT) return (nb_seq){.item = v.dict->key, .n = v.dict->n};
    if (v.kind == NB_V_STR) return *chars_of(j, v.text).seq;
    if (v.kind == NB_V_UNDEFINED) return (nb_seq){0};
    nb_jinja_fail(j, "'%s' object is not iterable", nb_value_type(v));
}

nb_seq nb_value_items(nb_jinja *j, nb_value v)
{
    nb_seq items = items_of(j, v);
    if (!items.item) items.item = &NB_NONE; // so that callers may add offsets
    return items;
}

static const nb_native *find_method(nb_value v, nb_str name)
{
    switch (v.kind) {
    case NB_V_STR: return nb_jinja_find(nb_jinja_methods_str, name);
    case NB_V_DICT: return nb_jinja_find(nb_jinja_methods_dict, name);
    case NB_V_LIST:
    case NB_V_TUPLE: return nb_jinja_find(nb_jinja_methods_list, name);
    case NB_V_LOOP: return nb_jinja_find(nb_jinja_methods_loop, name);
    default: return NULL;
    }
}

// loop.index and its like; NB_V_ABSENT for other names.
static nb_value loop_attr(nb_jinja *j, const nb_loop *loop, nb_str name)
{
    int64_t i = loop->index, n = loop->n;
    if (nb_str_equal_c(name, "index")) return nb_value_int(i + 1);
    if (nb_str_equal_c(name, "index0")) return nb_value_int(i);
    if (nb_str_equal_c(name, "revindex")) return nb_value_int(n - i);
    if (nb_str_equal_c(name, "revindex0")) return nb_value_int(n - i - 1);
    if (nb_str_equal_c(name, "first")) return nb_value_bool(i == 0);
    if (nb_str_equal_c(name, "last")) return nb_value_bool(i == n - 1);
    if (nb_str_equal_c(name, "length")) return nb_value_int(n);
    if (nb_str_equal_c(name, "depth")) return nb_value_int(loop->depth + 1);
    if (nb_str_equal_c(name, "depth0")) return nb_value_int(loop->depth);
    if (nb_str_equal_c(name, "previtem"))
        return i > 0 ? loop->item[i - 1] : nb_value_undefined(j, "there is no previous item");
    if (nb_str_equal_c(name, "nextitem"))
        return i < n - 1 ? loop->item[i + 1] : nb_value_undefined(j, "there is no next item");
    return (nb_value){0};
}

// What Python's getattr(v, name) gives; NB_V_ABSENT when there is no such attribute.
static nb_value own_attr(nb_jinja *j, nb_value v, nb_str name)
{
    if (v.kind == NB_V_LOOP) {
        nb_value found = loop_attr(j, v.loop, name);
        if (found.kind != NB_V_ABSENT) return found;
    }
    if (v.kind == NB_V_NAMESPACE) {
        const nb_value *found = nb_value_get(j, v.dict, nb_value_str(name));
        return found ? *found : (nb_value){0};
    }
    if (v.kind == NB_V_TUPLE && v.seq->is_group) {
        if (nb_str_equal_c(name, "grouper")) return v.seq->item[0];
        if (nb_str_equal_c(name, "list")) return v.seq->item[1];
    }
    if (nb_jinja_is_unsafe_method(v, name))
        return nb_value_undefined(j, "access to attribute '%.*s' of '%s' object is unsafe.", (int)name.len, name.ptr,
                                  nb_value_type(v));
    const nb_native *native = find_method(v, name);
    if (!native) return (nb_value){0};
    nb_bound *bound = NB_JINJA_ARRAY(j, nb_bound, 1);
    *bound = (nb_bound){.self = v, .native = native};
    return (nb_value){.kind = NB_V_METHOD, .bound = bound};
}

// Python's v[key]; NB_V_ABSENT when that raises.
static nb_value own_item(nb_jinja *j, nb_value v, nb_value key)
{
    int64_t i;
    if (v.kind == NB_V_DICT) {
        const nb_value *found = nb_value_get(j, v.dict, key);
        return found ? *found : (nb_value){0};
    }
    bool indexable = v.kind == NB_V_LIST || v.kind == NB_V_TUPLE || v.kind == NB_V_RANGE || v.kind == NB_V_STR;
    if (!indexable || !nb_value_is_int(key, &i)) return (nb_value){0};
    int64_t n = nb_value_length(j, v);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return (nb_value){0};
    return v.kind == NB_V_STR ? nb_value_str(nb_text_sub(v.text, i, i + 1)) : v.seq->item[i];
}

// "None" or "dict object".
static void describe(nb_value v, char out[40])
{
    if (v.kind == NB_V_NONE)
        strcpy(out, "None");
    else
        snprintf(out, 40, "%s object", nb_value_type(v));
}

static nb_value missing(nb_jinja *j, nb_value v, nb_value key)
{
    char what[40];
    describe(v, what);
    nb_str shown = key.kind == NB_V_STR ? key.text : nb_text_repr(j, key);
    if (key.kind == NB_V_STR)
        return nb_value_undefined(j, "'%s' has no attribute '%.*s'", what, (int)shown.len, shown.ptr);
    return nb_value_undefined(j, "%s has no element %.*s", what, (int)shown.len, shown.ptr);
}

nb_value nb_value_attr(nb_jinja *j, nb_value v, nb_str name)
{
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    nb_value found = own_attr(j, v, name);
    if (found.kind == NB_V_ABSENT) found = own_item(j, v, nb_value_str(name));
    return found.kind == NB_V_ABSENT ? missing(j, v, nb_value_str(name)) : found;
}

nb_value nb_value_item(nb_jinja *j, nb_value v, nb_value key)
{
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    nb_value found = own_item(j, v, key);
    if (found.kind == NB_V_ABSENT && key.kind == NB_V_STR) found = own_attr(j, v, key.text);
    return found.kind == NB_V_ABSENT ? missing(j, v, key) : found;
}

static bool is_number_text(nb_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
    return s.len > 0 && s.len < 10;
}

nb_value nb_value_path(nb_jinja *j, nb_value v, nb_value path)
{
    if (path.kind != NB_V_STR) return nb_value_item(j, v, path);
    for (size_t from = 0; from <= path.text.len;) {
        int64_t dot = nb_str_find(path.text, NB_STR("."), from);
        nb_str part = nb_str_slice(path.text, from, dot < 0 ? path.text.len : (size_t)dot);
        int64_t index = 0;
        for (size_t i = 0; is_number_text(part) && i < part.len; i++) index = 10 * index + (part.ptr[i] - '0');
        v = nb_value_item(j, v, is_number_text(part) ? nb_value_int(index) : nb_value_str(part));
        from += part.len + 1;
    }
    return v;
}

// ---- Slices

// Python's rules for [start:stop:step] of n items: the first position, and how many follow.
typedef struct span {
    int64_t first, step, n;
} span;

static int64_t clamp_bound(nb_jinja *j, nb_value v, int64_t missing_value, int64_t low, int64_t high, int64_t n)
{
    if (v.kind == NB_V_ABSENT || v.kind == NB_V_NONE) return missing_value;
    int64_t i = nb_value_need_int(j, v, "slice indices");
    if (i < 0) i += n;
    return i < low ? low : i > high ? high : i;
}

static span resolve_slice(nb_jinja *j, const nb_value bound[3], int64_t n)
{
    bool has_step = bound[2].kind != NB_V_ABSENT && bound[2].kind != NB_V_NONE;
    int64_t step = has_step ? nb_value_need_int(j, bound[2], "slice indices") : 1;
    if (step == 0) nb_jinja_fail(j, "slice step cannot be zero");
    if (step > n + 1) step = n + 1; // the same items, and no overflow below
    if (step < -n - 1) step = -n - 1;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    int64_t start = clamp_bound(j, bound[0], step > 0 ? low : high, low, high, n);
    int64_t stop = clamp_bound(j, bound[1], step > 0 ? high : low, low, high, n);
    int64_t distance = step > 0 ? stop - start : start - stop, size = step > 0 ? step : -step;
    return (span){.first = start, .step = step, .n = distance > 0 ? (distance + size - 1) / size : 0};
}

static nb_value slice_text(nb_jinja *j, nb_str s, span at)
{
    if (at.step == 1) return nb_value_str(nb_text_sub(s, at.first, at.first + at.n));
    const nb_seq *chars = chars_of(j, s).seq;
    nb_text t = {0};
    for (int64_t i = 0; i < at.n; i++) nb_text_add(j, &t, chars->item[at.first + i * at.step].text);
    return nb_value_str(nb_text_str(&t));
}

nb_value nb_value_slice(nb_jinja *j, nb_value v, const nb_value bound[3])
{
    bool can = v.kind == NB_V_STR || v.kind == NB_V_LIST || v.kind == NB_V_TUPLE || v.kind == NB_V_RANGE;
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    if (!can) nb_jinja_fail(j, "'%s' object is not subscriptable", nb_value_type(v));
    span at = resolve_slice(j, bound, nb_value_length(j, v));
    nb_jinja_charge(j, (size_t)at.n / 16);
    if (v.kind == NB_V_STR) return slice_text(j, v.text, at);
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, at.n);
    for (int64_t i = 0; i < at.n; i++) item[i] = v.seq->item[at.first + i * at.step];
    return nb_value_seq(j, v.kind == NB_V_TUPLE ? NB_V_TUPLE : NB_V_LIST, item, at.n);
}
