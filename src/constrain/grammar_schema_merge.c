// Flattening: a schema with its references and allOf as one object, whose keywords all hold at once.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/grammar_schema_internal.h"

// ---- Merging

enum { COMPARED_MAX = 4 * 1000 * 1000 }; // pairs of values of two lists

static void never(json_t *into)
{
    json_object_set_new(into, NB_SCHEMA_NEVER, json_true());
}

static const json_t *member(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

// A property that one side names must satisfy what the other side says of those that it does not name.
static json_t *merge_properties(const json_t *a, const json_t *b)
{
    const json_t *pa = member(a, "properties"), *pb = member(b, "properties");
    const json_t *rest_a = member(a, "additionalProperties"), *rest_b = member(b, "additionalProperties");
    json_t *out = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)pa, key, value)
        json_object_set_new(out, key, nb_schema_both(value, member(pb, key) ? member(pb, key) : rest_b));
    json_object_foreach((json_t *)pb, key, value) if (!member(pa, key))
        json_object_set_new(out, key, nb_schema_both(value, rest_a));
    return out;
}

static json_t *merge_patterns(const json_t *pa, const json_t *pb)
{
    json_t *out = json_copy((json_t *)pa), *value;
    const char *key;
    json_object_foreach((json_t *)pb, key, value) json_object_set_new(out, key, nb_schema_both(value, member(pa, key)));
    return out;
}

static int merge_objects(nb_schema *s, json_t *a, const json_t *b, const char *path)
{
    const json_t *pa = member(a, "patternProperties"), *pb = member(b, "patternProperties");
    const json_t *rest_a = member(a, "additionalProperties"), *rest_b = member(b, "additionalProperties");
    if ((pa && rest_b && !json_is_true(rest_b)) || (pb && rest_a && !json_is_true(rest_a)))
        return nb_schema_refuse(s, path, "patternProperties", "cannot be combined with additionalProperties by allOf");
    if (member(a, "properties") || member(b, "properties")) {
        json_t *properties = merge_properties(a, b);
        json_object_set_new(a, "properties", properties);
    }
    if (rest_b) json_object_set_new(a, "additionalProperties", nb_schema_both(rest_a, rest_b));
    if (pb) json_object_set_new(a, "patternProperties", pa ? merge_patterns(pa, pb) : json_incref((json_t *)pb));
    return NB_OK;
}

static void merge_items(json_t *a, const json_t *b)
{
    const json_t *pa = member(a, "prefixItems"), *pb = member(b, "prefixItems");
    const json_t *rest_a = member(a, "items"), *rest_b = member(b, "items");
    size_t na = json_array_size(pa), nb = json_array_size(pb);
    if (pb) {
        json_t *prefix = json_array();
        for (size_t i = 0; i < na || i < nb; i++) {
            json_t *x =
                nb_schema_both(i < na ? json_array_get(pa, i) : rest_a, i < nb ? json_array_get(pb, i) : rest_b);
            json_array_append_new(prefix, x ? x : json_true());
        }
        json_object_set_new(a, "prefixItems", prefix);
    } else if (pa && rest_b) {
        json_t *prefix = json_array();
        for (size_t i = 0; i < na; i++) json_array_append_new(prefix, nb_schema_both(json_array_get(pa, i), rest_b));
        json_object_set_new(a, "prefixItems", prefix);
    }
    if (rest_b) json_object_set_new(a, "items", nb_schema_both(rest_a, rest_b));
}

static bool has_value(const json_t *array, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (json_equal(json_array_get(array, i), value)) return true;
    return false;
}

static int merge_enum(nb_schema *s, json_t *a, const json_t *values, const char *path)
{
    const json_t *own = member(a, "enum"), *value;
    if (json_array_size(own) * json_array_size(values) > COMPARED_MAX)
        return nb_schema_refuse(s, path, "enum", "is too long to be combined with another one");
    json_t *out = json_array();
    size_t i;
    json_array_foreach(values, i, value) if (!own || has_value(own, value)) json_array_append(out, (json_t *)value);
    json_object_set_new(a, "enum", out);
    return NB_OK;
}

static void merge_required(json_t *a, const json_t *names)
{
    json_t *out = member(a, "required") ? json_copy((json_t *)member(a, "required")) : json_array();
    json_t *known_names = nb_schema_set(out);
    const json_t *name;
    size_t i;
    json_array_foreach(names, i, name)
    {
        if (!json_is_string(name) || !json_object_get(known_names, json_string_value(name)))
            json_array_append(out, (json_t *)name);
    }
    json_decref(known_names);
    json_object_set_new(a, "required", out);
}

// Patterns and formats gather in an array: all of them hold.
static void merge_texts(json_t *a, const char *key, const json_t *value)
{
    const json_t *own = member(a, key);
    json_t *out = json_is_array(own) ? json_copy((json_t *)own) : json_array();
    if (json_is_string(own)) json_array_append(out, (json_t *)own);
    if (json_is_array(value))
        json_array_extend(out, (json_t *)value);
    else
        json_array_append(out, (json_t *)value);
    json_object_set_new(a, key, out);
}

static void merge_bound(json_t *a, const char *key, const json_t *value, bool larger)
{
    const json_t *own = member(a, key);
    if (own && (nb_schema_value(own) > nb_schema_value(value)) == larger) return;
    json_object_set(a, key, (json_t *)value);
}

// Any of these and any of those is any of their pairs.
static int merge_any_of(nb_schema *s, json_t *a, const json_t *branches, const char *path)
{
    const json_t *own = member(a, "anyOf"), *x, *y;
    json_t *out = json_array();
    size_t i, k;
    if (!own) {
        json_decref(out);
        json_object_set(a, "anyOf", (json_t *)branches);
        return NB_OK;
    }
    if (json_array_size(own) * json_array_size(branches) > NB_SCHEMA_COMBINED_MAX) {
        json_decref(out);
        return nb_schema_refuse(s, path, "anyOf", "has too many combinations with other anyOf");
    }
    json_array_foreach(own, i, x) json_array_foreach(branches, k, y) json_array_append_new(out, nb_schema_both(x, y));
    json_object_set_new(a, "anyOf", out);
    return NB_OK;
}

static int merge_types(nb_schema *s, json_t *a, const json_t *type, const char *path)
{
    unsigned types, own;
    NB_TRY(nb_schema_read_types(s, type, path, &types));
    if (member(a, "type")) {
        NB_TRY(nb_schema_read_types(s, member(a, "type"), path, &own));
        types &= own;
    }
    if (types == 0) never(a);
    json_object_set_new(a, "type", nb_schema_write_types(types));
    return NB_OK;
}

static int merge_key(nb_schema *s, json_t *a, const char *key, const json_t *value, const char *path)
{
    static const char *const lower[] = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", NULL};
    static const char *const upper[] = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", NULL};
    if (!strcmp(key, "type")) return merge_types(s, a, value, path);
    if (!strcmp(key, "anyOf")) return merge_any_of(s, a, value, path);
    if (!strcmp(key, "uniqueItems") && !json_is_true(value)) return NB_OK;
    if (!strcmp(key, "uniqueItems")) return json_object_set(a, key, (json_t *)value), NB_OK;
    if (!strcmp(key, "enum")) return merge_enum(s, a, value, path);
    if (!strcmp(key, "required"))
        merge_required(a, value);
    else if (nb_schema_is_one_of(key, lower))
        merge_bound(a, key, value, true);
    else if (nb_schema_is_one_of(key, upper))
        merge_bound(a, key, value, false);
    else if ((!strcmp(key, "pattern") || !strcmp(key, "format")) && member(a, key))
        merge_texts(a, key, value);
    else if (!strcmp(key, "propertyNames"))
        json_object_set_new(a, key, nb_schema_both(member(a, key), value));
    else if (member(a, key) && !json_equal(member(a, key), value))
        return nb_schema_refuse(s, path, key,
                                "stands twice, with different values, where allOf or $ref combine schemas");
    else
        json_object_set(a, key, (json_t *)value);
    return NB_OK;
}

static int merge_all(nb_schema *s, json_t *into, const json_t *other, const char *path)
{
    static const char *const together[] = {
        "properties", "additionalProperties", "patternProperties", "prefixItems", "items", NULL};
    const char *key;
    json_t *value;
    NB_TRY(merge_objects(s, into, other, path));
    merge_items(into, other);
    json_object_foreach((json_t *)other, key, value)
    {
        if (!nb_schema_is_one_of(key, together)) NB_TRY(merge_key(s, into, key, value, path));
    }
    return NB_OK;
}

// ---- References

// One step of a JSON pointer, with ~0, ~1 and %HH.
static const json_t *step_into(const json_t *at, nb_str part)
{
    nb_buf name = {0};
    nb_buf_add_c(&name, "");
    for (size_t i = 0; i < part.len; i++) {
        char c = part.ptr[i];
        unsigned hex;
        if (c == '~' && i + 1 < part.len) {
            c = part.ptr[++i] == '1' ? '/' : '~';
        } else if (c == '%' && i + 2 < part.len &&
                   sscanf((char[]){part.ptr[i + 1], part.ptr[i + 2], 0}, "%x", &hex) == 1) {
            c = (char)hex;
            i += 2;
        }
        nb_buf_add_char(&name, c);
    }
    const json_t *next =
        json_is_array(at) ? json_array_get(at, strtoul(name.ptr, NULL, 10)) : json_object_getn(at, name.ptr, name.len);
    nb_buf_drop(&name);
    return next;
}

static int resolve(nb_schema *s, const json_t *ref, const char *path, const json_t **out)
{
    nb_str text = {json_string_value(ref), json_string_length(ref)};
    const json_t *at = s->root;
    if (text.len == 0 || text.ptr[0] != '#' || (text.len > 1 && text.ptr[1] != '/'))
        return nb_schema_refuse(s, path, "$ref",
                                "is \"%.80s\"; only pointers into the same schema, as in \"#/$defs/name\", "
                                "are supported",
                                text.ptr);
    for (size_t i = 1; i < text.len && at;) {
        size_t end = i + 1;
        while (end < text.len && text.ptr[end] != '/') end++;
        at = step_into(at, nb_str_slice(text, i + 1, end));
        i = end;
    }
    if (!json_is_object(at) && !json_is_boolean(at))
        return nb_schema_refuse(s, path, "$ref", "leads to \"%.80s\", which is not there", text.ptr);
    *out = at;
    return NB_OK;
}

// ---- Flattening

// Keywords of the schema itself; the forms of older drafts become today's.
static int copy_own(nb_schema *s, const json_t *schema, json_t *out, const char *path)
{
    const json_t *items = member(schema, "items"), *rest = member(schema, "additionalItems");
    const json_t *constant = member(schema, "const");
    static const char *const elsewhere[] = {"$ref", "allOf", "const", "items", "additionalItems", "type", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value)
    {
        if (nb_schema_is_known(key) && !nb_schema_is_one_of(key, elsewhere)) json_object_set(out, key, value);
    }
    if (member(schema, "type")) NB_TRY(merge_types(s, out, member(schema, "type"), path));
    if (json_is_array(items)) {
        json_object_set(out, "prefixItems", (json_t *)items);
        if (rest) json_object_set(out, "items", (json_t *)rest);
    } else if (items) {
        json_object_set(out, "items", (json_t *)items);
    }
    if (constant) {
        json_t *one = json_pack("[O]", constant);
        int code = merge_enum(s, out, one, path);
        json_decref(one);
        NB_TRY(code);
    }
    return NB_OK;
}

static int merge_schema(nb_schema *s, const json_t *schema, json_t *into, const char *path, int depth)
{
    json_t *flat = NULL;
    int code = nb_schema_flatten(s, schema, path, depth + 1, &flat);
    if (code == NB_OK) code = merge_all(s, into, flat, path);
    json_decref(flat);
    return code;
}

static int flatten(nb_schema *s, const json_t *schema, json_t *out, const char *path, int depth)
{
    const json_t *ref = member(schema, "$ref"), *all = member(schema, "allOf"), *target = NULL;
    if (++s->n_flat > NB_SCHEMA_FLAT_MAX) return nb_schema_refuse(s, path, "", "combines too many schemas");
    if (depth > NB_SCHEMA_REFS_MAX) return nb_schema_refuse(s, path, "", "leads to itself by $ref or allOf alone");
    if (json_is_false(schema)) never(out);
    if (json_is_boolean(schema)) return NB_OK;
    if (!json_is_object(schema)) return nb_schema_refuse(s, path, "", "must be an object or a boolean");
    NB_TRY(nb_schema_check(s, schema, path));
    NB_TRY(copy_own(s, schema, out, path));
    if (ref) {
        NB_TRY(resolve(s, ref, path, &target));
        NB_TRY(merge_schema(s, target, out, path, depth));
    }
    for (size_t i = 0; i < json_array_size(all); i++) NB_TRY(merge_schema(s, json_array_get(all, i), out, path, depth));
    return NB_OK;
}

int nb_schema_flatten(nb_schema *s, const json_t *schema, const char *path, int depth, json_t **out)
{
    *out = json_object();
    int code = flatten(s, schema, *out, path, depth);
    if (code == NB_OK) return NB_OK;
    json_decref(*out);
    *out = NULL;
    return code;
}
