// "One of" is "any of" where no text fits two branches: whether two schemas can be told apart.
#include <stdlib.h>
#include <string.h>

#include "constrain/grammar_schema_internal.h"

enum { DEPTH_MAX = 4, COMPARED_MAX = 100 * 1000 };

static const json_t *member(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

static bool has(const json_t *array, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (json_equal(json_array_get(array, i), value)) return true;
    return false;
}

static bool lists_apart(const json_t *a, const json_t *b)
{
    if (!a || !b || json_array_size(a) * json_array_size(b) > COMPARED_MAX) return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (has(b, json_array_get(a, i))) return false;
    return true;
}

static bool bounds_apart(const json_t *a, const json_t *b)
{
    const json_t *hi = member(a, "maximum"), *lo = member(b, "minimum");
    if (hi && lo && nb_schema_value(hi) < nb_schema_value(lo)) return true;
    hi = member(b, "maximum"), lo = member(a, "minimum");
    return hi && lo && nb_schema_value(hi) < nb_schema_value(lo);
}

// Keys that texts of `a` can have.
static bool may_write(const json_t *a, const char *key)
{
    const json_t *rest = member(a, "additionalProperties");
    const json_t *own = json_object_get(member(a, "properties"), key);
    if (own) return !json_is_false(own);
    if (member(a, "patternProperties")) return true;
    if (rest) return !json_is_false(rest);
    return !member(a, "properties");
}

// `b` refuses a key that it does not know.
static bool refuses(const json_t *b, const char *key)
{
    const json_t *rest = member(b, "additionalProperties"), *own = json_object_get(member(b, "properties"), key);
    if (own) return json_is_false(own);
    return !member(b, "patternProperties") && json_is_false(rest);
}

static bool objects_apart(nb_schema *s, const json_t *a, const json_t *b, int depth)
{
    const json_t *name;
    size_t i;
    json_array_foreach(member(b, "required"), i, name)
    {
        if (json_is_string(name) && !may_write(a, json_string_value(name))) return true;
    }
    json_array_foreach(member(a, "required"), i, name)
    {
        const char *key = json_string_value(name);
        if (!key) continue;
        if (refuses(b, key)) return true;
        const json_t *x = json_object_get(member(a, "properties"), key),
                     *y = json_object_get(member(b, "properties"), key);
        json_t *fx = NULL, *fy = NULL;
        nb_schema quiet = *s;
        quiet.err = NULL;
        bool apart = x && y && nb_schema_flatten(&quiet, x, "", 0, &fx) == NB_OK &&
                     nb_schema_flatten(&quiet, y, "", 0, &fy) == NB_OK && nb_schema_apart(s, fx, fy, depth + 1);
        s->n_flat = quiet.n_flat;
        json_decref(fx);
        json_decref(fy);
        if (apart) return true;
    }
    return false;
}

bool nb_schema_apart(nb_schema *s, const json_t *a, const json_t *b, int depth)
{
    if (depth > DEPTH_MAX) return false;
    if (member(a, NB_SCHEMA_NEVER) || member(b, NB_SCHEMA_NEVER)) return true;
    if (lists_apart(member(a, "enum"), member(b, "enum"))) return true;
    bool typed_a = member(a, "type") || member(a, "enum"), typed_b = member(b, "type") || member(b, "enum");
    if (!typed_a || !typed_b) return false;
    unsigned both = nb_schema_types(a) & nb_schema_types(b);
    if (!both) return true;
    unsigned numbers = NB_TYPE_INTEGER | NB_TYPE_NUMBER;
    if (!(both & ~numbers)) return bounds_apart(a, b);
    return both == NB_TYPE_OBJECT && objects_apart(s, a, b, depth);
}

// ---- oneOf

// The branch with its listed properties required: they are what tells branches apart, and writing them is always valid.
static json_t *with_tags(const json_t *branch, const json_t *flat)
{
    json_t *names = json_array(), *value;
    const char *key;
    json_object_foreach(json_object_get(flat, "properties"), key, value)
    {
        if (member(value, "const") || member(value, "enum")) json_array_append_new(names, json_string(key));
    }
    return json_pack("{s:[O,{s:o}]}", "allOf", branch, "required", names);
}

typedef struct branches {
    json_t *list; // as in the schema, or with tags
    json_t **flat;
    size_t n;
} branches;

static void drop_flat(branches *b)
{
    for (size_t i = 0; i < b->n; i++) json_decref(b->flat[i]);
    memset(b->flat, 0, sizeof(*b->flat) * b->n);
}

static int flatten_all(nb_schema *s, branches *b, const json_t *rest, const char *path)
{
    drop_flat(b);
    for (size_t i = 0; i < b->n; i++) {
        json_t *both = nb_schema_both(rest, json_array_get(b->list, i));
        int code = nb_schema_flatten(s, both, path, 0, &b->flat[i]);
        json_decref(both);
        NB_TRY(code);
    }
    return NB_OK;
}

static bool all_apart(nb_schema *s, const branches *b, size_t *x, size_t *y)
{
    for (*x = 0; *x < b->n; ++*x)
        for (*y = *x + 1; *y < b->n; ++*y)
            if (!nb_schema_apart(s, b->flat[*x], b->flat[*y], 0) || !nb_schema_apart(s, b->flat[*y], b->flat[*x], 0))
                return false;
    return true;
}

static int tell_apart(nb_schema *s, branches *b, const json_t *rest, const char *path)
{
    size_t x, y;
    NB_TRY(flatten_all(s, b, rest, path));
    if (all_apart(s, b, &x, &y)) return NB_OK;
    json_t *tagged = json_array();
    for (size_t i = 0; i < b->n; i++) json_array_append_new(tagged, with_tags(json_array_get(b->list, i), b->flat[i]));
    json_decref(b->list);
    b->list = tagged;
    NB_TRY(flatten_all(s, b, rest, path));
    if (all_apart(s, b, &x, &y)) return NB_OK;
    return nb_schema_refuse(
        s, path, "oneOf",
        "has the branches %zu and %zu, which one text may satisfy both: use anyOf, or tell them apart "
        "by a property with a const",
        x, y);
}

int nb_schema_one_of(nb_schema *s, const json_t *flat, const char *path, json_t **out)
{
    json_t *rest = json_copy((json_t *)flat);
    branches b = {.list = json_incref(json_object_get(flat, "oneOf"))};
    b.n = json_array_size(b.list);
    b.flat = nb_alloc(sizeof(*b.flat) * (b.n + 1));
    json_object_del(rest, "oneOf");
    int code = b.n > NB_SCHEMA_COMBINED_MAX ? nb_schema_refuse(s, path, "oneOf", "has too many branches")
                                            : tell_apart(s, &b, rest, path);
    *out = rest;
    json_object_set(rest, "oneOf", b.list);
    drop_flat(&b);
    json_decref(b.list);
    free(b.flat);
    return code;
}
