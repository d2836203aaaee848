// Values that a schema lists, as far as its other keywords allow them.
#include "constrain/grammar_schema_internal.h"

#include <string.h>

// Only what is in "type" limits a list of values; keywords of one type alone do not (see nb_schema_types).
static unsigned stated_types(const json_t *flat)
{
    return json_object_get(flat, "type") ? nb_schema_types(flat) : ~0u;
}

static bool speaks_of_containers(const json_t *flat)
{
    static const char *const keys[] = {"properties",        "required",      "additionalProperties",
                                       "patternProperties", "propertyNames", "unevaluatedProperties",
                                       "minProperties",     "maxProperties", "items",
                                       "prefixItems",       "minItems",      "maxItems"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (json_object_get(flat, keys[i])) return true;
    return false;
}

int nb_schema_enum(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    const json_t *values = json_object_get(flat, "enum"), *value;
    unsigned types = stated_types(flat), type;
    nb_expr_list strings = {0}, others = {0};
    nb_expr content = 0;
    bool unsaid = true;
    size_t i;
    int code = nb_schema_content(s, flat, path, &unsaid, &content);
    json_array_foreach(values, i, value)
    {
        type = nb_schema_type_of(value);
        if (code != NB_OK || !(types & type)) continue;
        if ((type == NB_TYPE_OBJECT || type == NB_TYPE_ARRAY) && speaks_of_containers(flat))
            code = nb_schema_refuse(s, path, "enum", "lists objects or arrays beside keywords for them");
        if (type & (NB_TYPE_INTEGER | NB_TYPE_NUMBER) && !nb_schema_number_fits(flat, value)) continue;
        nb_expr_list_add(type == NB_TYPE_STRING ? &strings : &others, nb_grammar_json_literal(s->json, value));
    }
    nb_expr x = nb_grammar_any(s->g, &strings);
    if (!unsaid) x = nb_grammar_both(s->g, x, nb_grammar_json_quoted(s->g, content));
    nb_expr_list_add(&others, x);
    *out = nb_grammar_any(s->g, &others);
    return code;
}
