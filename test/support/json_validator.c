#include "support/json_validator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static const json_t *root_schema;

static bool valid(const json_t *schema, const json_t *value, char *why);

static bool no(char *why, const char *keyword)
{
    snprintf(why, 200, "%s", keyword);
    return false;
}

static double number_of(const json_t *value)
{
    nb_str big = nb_json_big_integer(value);
    return big.ptr ? strtod(big.ptr, NULL) : json_number_value(value);
}

static bool is_number(const json_t *value)
{
    return json_is_number(value) || nb_json_big_integer(value).ptr;
}

static bool has_type(const json_t *value, const char *type)
{
    bool number = is_number(value);
    if (!strcmp(type, "object")) return json_is_object(value);
    if (!strcmp(type, "array")) return json_is_array(value);
    if (!strcmp(type, "string")) return json_is_string(value) && !number;
    if (!strcmp(type, "null")) return json_is_null(value);
    if (!strcmp(type, "boolean")) return json_is_boolean(value);
    if (!strcmp(type, "number")) return number;
    return number && floor(number_of(value)) == number_of(value);
}

static bool types_ok(const json_t *type, const json_t *value)
{
    if (json_is_string(type)) return has_type(value, json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++)
        if (has_type(value, json_string_value(json_array_get(type, i)))) return true;
    return false;
}

static bool matches(const char *pattern, nb_str text)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
    if (!re) return false;
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int n = pcre2_match(re, (PCRE2_SPTR)text.ptr, text.len, 0, 0, match, NULL);
    pcre2_match_data_free(match);
    pcre2_code_free(re);
    return n >= 0;
}

static int64_t chars_of(nb_str text)
{
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) n += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return n;
}

static bool count_ok(const json_t *schema, const char *least, const char *most, int64_t n)
{
    const json_t *lo = json_object_get(schema, least), *hi = json_object_get(schema, most);
    return (!lo || (double)n >= json_number_value(lo)) && (!hi || (double)n <= json_number_value(hi));
}

static bool string_ok(const json_t *schema, const json_t *value, char *why)
{
    const json_t *pattern = json_object_get(schema, "pattern");
    nb_str text = {json_string_value(value), json_string_length(value)};
    if (!count_ok(schema, "minLength", "maxLength", chars_of(text))) return no(why, "minLength or maxLength");
    if (pattern && !matches(json_string_value(pattern), text)) return no(why, "pattern");
    return true;
}

static bool number_ok(const json_t *schema, double x, char *why)
{
    const json_t *bound;
    if ((bound = json_object_get(schema, "minimum")) && x < json_number_value(bound)) return no(why, "minimum");
    if ((bound = json_object_get(schema, "maximum")) && x > json_number_value(bound)) return no(why, "maximum");
    if ((bound = json_object_get(schema, "exclusiveMinimum")) && x <= json_number_value(bound))
        return no(why, "exclusiveMinimum");
    if ((bound = json_object_get(schema, "exclusiveMaximum")) && x >= json_number_value(bound))
        return no(why, "exclusiveMaximum");
    if ((bound = json_object_get(schema, "multipleOf")) && fmod(x, json_number_value(bound)) != 0)
        return no(why, "multipleOf");
    return true;
}

static bool same(const json_t *a, const json_t *b);

static bool all_differ(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        for (size_t k = 0; k < i; k++)
            if (same(json_array_get(value, i), json_array_get(value, k))) return false;
    return true;
}

static bool array_ok(const json_t *schema, const json_t *value, char *why)
{
    const json_t *prefix = json_object_get(schema, "prefixItems"), *items = json_object_get(schema, "items");
    if (!count_ok(schema, "minItems", "maxItems", (int64_t)json_array_size(value)))
        return no(why, "minItems or maxItems");
    if (json_is_true(json_object_get(schema, "uniqueItems")) && !all_differ(value)) return no(why, "uniqueItems");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *of = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (of && !valid(of, json_array_get(value, i), why)) return false;
    }
    return true;
}

static bool member_ok(const json_t *schema, const char *key, const json_t *value, char *why)
{
    const json_t *own = json_object_get(json_object_get(schema, "properties"), key);
    const json_t *rest = json_object_get(schema, "additionalProperties");
    bool known = own != NULL;
    const char *pattern;
    json_t *of;
    if (own && !valid(own, value, why)) return false;
    json_object_foreach(json_object_get(schema, "patternProperties"), pattern, of)
    {
        if (!matches(pattern, nb_str_from(key))) continue;
        known = true;
        if (!valid(of, value, why)) return false;
    }
    const json_t *names = json_object_get(schema, "propertyNames");
    json_t *name = json_string(key);
    bool named = !names || valid(names, name, why);
    json_decref(name);
    if (!named) return no(why, "propertyNames");
    if (known || !rest) return true;
    return valid(rest, value, why) || (json_is_false(rest) && no(why, "additionalProperties"));
}

static bool object_ok(const json_t *schema, const json_t *value, char *why)
{
    const json_t *required = json_object_get(schema, "required");
    const char *key;
    json_t *of;
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_object_get(value, json_string_value(json_array_get(required, i)))) return no(why, "required");
    if (!count_ok(schema, "minProperties", "maxProperties", (int64_t)json_object_size(value)))
        return no(why, "minProperties or maxProperties");
    json_object_foreach((json_t *)value, key, of)
    {
        if (!member_ok(schema, key, of, why)) return false;
    }
    return true;
}

static bool same(const json_t *a, const json_t *b)
{
    return is_number(a) && is_number(b) ? number_of(a) == number_of(b) : json_equal(a, b);
}

static int count_valid(const json_t *branches, const json_t *value)
{
    char ignored[200];
    int n = 0;
    for (size_t i = 0; i < json_array_size(branches); i++) n += valid(json_array_get(branches, i), value, ignored);
    return n;
}

static bool combined_ok(const json_t *schema, const json_t *value, char *why)
{
    const json_t *any = json_object_get(schema, "anyOf"), *one = json_object_get(schema, "oneOf");
    const json_t *all = json_object_get(schema, "allOf"), *ref = json_object_get(schema, "$ref");
    if (any && count_valid(any, value) == 0) return no(why, "anyOf");
    if (one && count_valid(one, value) != 1) return no(why, "oneOf");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (!valid(json_array_get(all, i), value, why)) return false;
    if (!ref) return true;
    const char *name = json_string_value(ref);
    if (!strcmp(name, "#")) return valid(root_schema, value, why);
    return valid(json_object_get(json_object_get(root_schema, "$defs"), strrchr(name, '/') + 1), value, why);
}

static bool listed(const json_t *values, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(values); i++)
        if (same(json_array_get(values, i), value)) return true;
    return false;
}

static bool valid(const json_t *schema, const json_t *value, char *why)
{
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum");
    const json_t *constant = json_object_get(schema, "const");
    if (json_is_boolean(schema)) return json_is_true(schema) || no(why, "false");
    if (type && !types_ok(type, value)) return no(why, "type");
    if (values && !listed(values, value)) return no(why, "enum");
    if (constant && !same(constant, value)) return no(why, "const");
    if (is_number(value)) return number_ok(schema, number_of(value), why) && combined_ok(schema, value, why);
    if (json_is_string(value) && !string_ok(schema, value, why)) return false;
    if (json_is_array(value) && !array_ok(schema, value, why)) return false;
    if (json_is_object(value) && !object_ok(schema, value, why)) return false;
    return combined_ok(schema, value, why);
}

bool json_validates(const json_t *root, const json_t *schema, const json_t *value, char *why)
{
    root_schema = root;
    return valid(schema, value, why);
}
