// Keywords and types: what a schema may say, and of which types it speaks.
#include <math.h>
#include <string.h>

#include "constrain/grammar_schema_internal.h"

// ---- Keywords

bool nb_schema_is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(word, *list)) return true;
    return false;
}

static const char *const known[] = {"$ref",
                                    "type",
                                    "enum",
                                    "const",
                                    "anyOf",
                                    "oneOf",
                                    "allOf",
                                    "properties",
                                    "required",
                                    "additionalProperties",
                                    "unevaluatedProperties",
                                    "patternProperties",
                                    "propertyNames",
                                    "minProperties",
                                    "maxProperties",
                                    "items",
                                    "prefixItems",
                                    "additionalItems",
                                    "minItems",
                                    "maxItems",
                                    "minLength",
                                    "maxLength",
                                    "pattern",
                                    "format",
                                    "minimum",
                                    "maximum",
                                    "exclusiveMinimum",
                                    "exclusiveMaximum",
                                    "multipleOf",
                                    "uniqueItems",
                                    NULL};

static const char *const unsupported[] = {"not",
                                          "if",
                                          "then",
                                          "else",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "dependencies",
                                          "unevaluatedItems",
                                          "$dynamicRef",
                                          "$recursiveRef",
                                          NULL};

bool nb_schema_is_known(const char *keyword)
{
    return nb_schema_is_one_of(keyword, known);
}

// Keywords without effect as they are given here.
static bool is_idle(const char *key, const json_t *value)
{
    if (!strcmp(key, "then") || !strcmp(key, "else")) return false;
    if (!strcmp(key, "dependentRequired") || !strcmp(key, "dependentSchemas") || !strcmp(key, "dependencies"))
        return json_is_object(value) && json_object_size(value) == 0;
    return false;
}

// Shapes that the code behind relies on.
static int check_shape(nb_schema *s, const char *key, const json_t *value, const char *path)
{
    static const char *const objects[] = {"properties", "patternProperties", NULL};
    static const char *const arrays[] = {"required", "enum", "anyOf", "oneOf", "allOf", "prefixItems", NULL};
    static const char *const schemas[] = {"additionalProperties", "unevaluatedProperties", "propertyNames",
                                          "additionalItems", NULL};
    static const char *const strings[] = {"format", "$ref", NULL};
    static const char *const numbers[] = {"minimum",          "maximum",    "exclusiveMinimum",
                                          "exclusiveMaximum", "multipleOf", NULL};
    bool schema = json_is_object(value) || json_is_boolean(value);
    if (nb_schema_is_one_of(key, objects) && !json_is_object(value))
        return nb_schema_refuse(s, path, key, "must be an object");
    if (nb_schema_is_one_of(key, arrays) && !json_is_array(value))
        return nb_schema_refuse(s, path, key, "must be an array");
    if (nb_schema_is_one_of(key, schemas) && !schema) return nb_schema_refuse(s, path, key, "must be a schema");
    if (nb_schema_is_one_of(key, strings) && !json_is_string(value))
        return nb_schema_refuse(s, path, key, "must be a string");
    if (nb_schema_is_one_of(key, numbers) && !json_is_number(value) && !nb_json_big_integer(value).ptr)
        return nb_schema_refuse(s, path, key, "must be a number");
    if (!strcmp(key, "items") && !schema && !json_is_array(value))
        return nb_schema_refuse(s, path, key, "must be a schema");
    return NB_OK;
}

int nb_schema_check(nb_schema *s, const json_t *schema, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value)
    {
        if (nb_schema_is_one_of(key, unsupported) && !is_idle(key, value))
            return nb_schema_refuse(s, path, key, "is not supported: leave it out, or check it afterwards");
        NB_TRY(check_shape(s, key, value, path));
    }
    return NB_OK;
}

// ---- Types

static const struct {
    const char *name;
    unsigned bits;
} type_names[] = {
    {"string", NB_TYPE_STRING},   {"integer", NB_TYPE_INTEGER}, {"number", NB_TYPE_NUMBER | NB_TYPE_INTEGER},
    {"boolean", NB_TYPE_BOOLEAN}, {"object", NB_TYPE_OBJECT},   {"array", NB_TYPE_ARRAY},
    {"null", NB_TYPE_NULL},
};
enum { N_TYPE = sizeof(type_names) / sizeof(type_names[0]) };

static unsigned type_bits(const json_t *name)
{
    for (int i = 0; i < N_TYPE; i++)
        if (json_is_string(name) && !strcmp(json_string_value(name), type_names[i].name)) return type_names[i].bits;
    return 0;
}

int nb_schema_read_types(nb_schema *s, const json_t *type, const char *path, unsigned *out)
{
    *out = json_is_array(type) ? 0 : type_bits(type);
    bool known_all = json_is_array(type) || *out;
    for (size_t i = 0; i < json_array_size(type); i++) {
        unsigned bits = type_bits(json_array_get(type, i));
        known_all &= bits != 0;
        *out |= bits;
    }
    if (known_all) return NB_OK;
    return nb_schema_refuse(
        s, path, "type",
        "must be \"string\", \"integer\", \"number\", \"boolean\", \"object\", \"array\" or \"null\", or "
        "an array of these");
}

json_t *nb_schema_write_types(unsigned types)
{
    json_t *out = json_array();
    for (int i = 0; i < N_TYPE; i++) {
        if ((type_names[i].bits & types) != type_names[i].bits) continue;
        if (type_names[i].bits == NB_TYPE_INTEGER && types & NB_TYPE_NUMBER) continue;
        json_array_append_new(out, json_string(type_names[i].name));
    }
    return out;
}

static unsigned types_of_keyword(const char *key)
{
    static const char *const object[] = {"properties",        "required",      "additionalProperties",
                                         "patternProperties", "propertyNames", "unevaluatedProperties",
                                         "minProperties",     "maxProperties", NULL};
    static const char *const array[] = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", NULL};
    static const char *const string[] = {"minLength", "maxLength", "pattern", "format", NULL};
    if (nb_schema_is_one_of(key, object)) return NB_TYPE_OBJECT;
    if (nb_schema_is_one_of(key, array)) return NB_TYPE_ARRAY;
    static const char *const number[] = {"minimum",          "maximum",    "exclusiveMinimum",
                                         "exclusiveMaximum", "multipleOf", NULL};
    if (nb_schema_is_one_of(key, string)) return NB_TYPE_STRING;
    return nb_schema_is_one_of(key, number) ? NB_TYPE_NUMBER | NB_TYPE_INTEGER : 0;
}

unsigned nb_schema_type_of(const json_t *value)
{
    if (nb_json_big_integer(value).ptr) return NB_TYPE_INTEGER;
    switch (json_typeof(value)) {
    case JSON_OBJECT: return NB_TYPE_OBJECT;
    case JSON_ARRAY: return NB_TYPE_ARRAY;
    case JSON_STRING: return NB_TYPE_STRING;
    case JSON_INTEGER: return NB_TYPE_INTEGER;
    case JSON_REAL: return floor(json_real_value(value)) == json_real_value(value) ? NB_TYPE_INTEGER : NB_TYPE_NUMBER;
    case JSON_NULL: return NB_TYPE_NULL;
    default: return NB_TYPE_BOOLEAN;
    }
}

// A list of values has their types. A keyword for strings means strings: nobody who writes "maxLength" alone wants a
// number.
unsigned nb_schema_types(const json_t *flat)
{
    const json_t *type = json_object_get(flat, "type");
    unsigned types = json_is_array(type) ? 0 : type_bits(type);
    const char *key;
    json_t *value;
    for (size_t i = 0; i < json_array_size(type); i++) types |= type_bits(json_array_get(type, i));
    if (type) return types;
    const json_t *values = json_object_get(flat, "enum");
    for (size_t i = 0; i < json_array_size(values); i++) types |= nb_schema_type_of(json_array_get(values, i));
    if (values) return types;
    json_object_foreach((json_t *)flat, key, value) types |= types_of_keyword(key);
    return types;
}
