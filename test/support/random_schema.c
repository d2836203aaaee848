#include "support/random_schema.h"

#include <stdio.h>

#include "support/walker.h"

static uint32_t below(uint64_t *seed, uint32_t n)
{
    return walk_random(seed) % n;
}

static bool chance(uint64_t *seed, uint32_t percent)
{
    return below(seed, 100) < percent;
}

static void set_int(json_t *schema, const char *key, int64_t value)
{
    json_object_set_new(schema, key, json_integer(value));
}

static json_t *random_value(uint64_t *seed)
{
    static const char *const word[] = {"red", "green", "a \"b\"\\", "é€", "", "tab\there"};
    switch (below(seed, 6)) {
    case 0: return json_integer((int)below(seed, 2000) - 1000);
    case 1: return json_real(((int)below(seed, 2000) - 1000) / 8.0);
    case 2: return chance(seed, 50) ? json_null() : json_boolean(chance(seed, 50));
    case 3: return json_pack("[i,s]", (int)below(seed, 9), "x");
    case 4: return json_pack("{s:i,s:[b]}", "k", (int)below(seed, 9), "l", 1);
    default: return json_string(word[below(seed, 6)]);
    }
}

static json_t *string_schema(uint64_t *seed)
{
    static const char *const pattern[] = {"^[a-z]{2,6}$", "^(foo|ba[rz])+$", "[0-9]{2}", "^\\d{3}-\\w+$",
                                          "[\"\\\\\\n]x", "^.{1,4}$",        "é|ü$",     "^[^a-z]*$"};
    json_t *s = json_pack("{s:s}", "type", "string");
    if (chance(seed, 35)) set_int(s, "minLength", below(seed, 6));
    if (chance(seed, 45)) set_int(s, "maxLength", 6 + below(seed, 12));
    if (chance(seed, 35)) json_object_set_new(s, "pattern", json_string(pattern[below(seed, 8)]));
    return s;
}

static void add_bound(json_t *s, uint64_t *seed, const char *closed, const char *open, double value, bool whole)
{
    json_t *bound = whole ? json_integer((int64_t)value) : json_real(value);
    json_object_set_new(s, chance(seed, 50) ? closed : open, bound);
}

static json_t *number_schema(uint64_t *seed, bool integer)
{
    json_t *s = json_pack("{s:s}", "type", integer ? "integer" : "number");
    double lo = (int)below(seed, 3000) - 1500, hi = lo + 3 + below(seed, 2000);
    bool whole = integer ? chance(seed, 80) : chance(seed, 30);
    if (!whole) lo += below(seed, 1000) / 1000.0, hi += below(seed, 64) / 64.0;
    if (chance(seed, 50)) add_bound(s, seed, "minimum", "exclusiveMinimum", lo, whole);
    if (chance(seed, 50)) add_bound(s, seed, "maximum", "exclusiveMaximum", hi, whole);
    if (integer && json_object_size(s) != 2 && chance(seed, 20)) set_int(s, "multipleOf", 1 + below(seed, 12));
    return s;
}

static json_t *any_schema(uint64_t *seed, int depth);

static json_t *list_schema(uint64_t *seed);

static json_t *array_schema(uint64_t *seed, int depth)
{
    if (chance(seed, 15))
        return json_pack("{s:s,s:o,s:b}", "type", "array", "items", list_schema(seed), "uniqueItems", 1);
    json_t *s = json_pack("{s:s}", "type", "array");
    int64_t least = below(seed, 4);
    if (chance(seed, 25)) {
        json_t *prefix = json_array();
        for (uint32_t i = 0; i < 1 + below(seed, 3); i++) json_array_append_new(prefix, any_schema(seed, depth - 1));
        json_object_set_new(s, "prefixItems", prefix);
    }
    if (chance(seed, 85)) json_object_set_new(s, "items", any_schema(seed, depth - 1));
    if (chance(seed, 40)) set_int(s, "minItems", least);
    if (chance(seed, 60)) set_int(s, "maxItems", least + below(seed, 4));
    return s;
}

static const char *property_name(uint64_t *seed)
{
    static const char *const name[] = {"a",     "ab", "abc", "name",  "n_1",  "n_2",
                                       "\"q\"", "é",  "",    "value", "type", "items"};
    return name[below(seed, sizeof(name) / sizeof(name[0]))];
}

static void add_others(json_t *s, uint64_t *seed, int depth)
{
    static const char *const pattern[] = {"^n_", "[0-9]$", "^x", "a"};
    if (chance(seed, 20)) {
        json_t *patterns = json_object();
        for (uint32_t i = 0; i < 1 + below(seed, 2); i++)
            json_object_set_new(patterns, pattern[below(seed, 4)], any_schema(seed, depth - 1));
        json_object_set_new(s, "patternProperties", patterns);
    }
    if (chance(seed, 15))
        json_object_set_new(s, "propertyNames", json_pack("{s:s,s:i}", "pattern", "^[a-z_0-9é\"]*$", "maxLength", 8));
    uint32_t kind = below(seed, 4);
    if (kind == 0) json_object_set_new(s, "additionalProperties", json_false());
    if (kind == 1) json_object_set_new(s, "additionalProperties", any_schema(seed, depth - 1));
    if (kind == 2 && chance(seed, 50)) json_object_set_new(s, "additionalProperties", json_true());
    if (chance(seed, 20))
        set_int(s, "maxProperties", 1 + below(seed, 4) + (int64_t)json_array_size(json_object_get(s, "required")));
    if (chance(seed, 15)) set_int(s, "minProperties", below(seed, 3));
}

static json_t *object_schema(uint64_t *seed, int depth)
{
    json_t *s = json_pack("{s:s}", "type", "object"), *properties = json_object(), *required = json_array();
    uint32_t n = below(seed, 5);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = property_name(seed);
        if (chance(seed, 40) && !json_object_get(properties, name)) json_array_append_new(required, json_string(name));
        if (!json_object_get(properties, name)) json_object_set_new(properties, name, any_schema(seed, depth - 1));
    }
    if (n > 0 || chance(seed, 50)) json_object_set(s, "properties", properties);
    if (json_array_size(required)) json_object_set(s, "required", required);
    json_decref(properties);
    json_decref(required);
    add_others(s, seed, depth);
    return s;
}

static json_t *list_schema(uint64_t *seed)
{
    json_t *values = json_array();
    for (uint32_t i = 0; i < 1 + below(seed, 4); i++) json_array_append_new(values, random_value(seed));
    if (chance(seed, 25)) {
        json_t *s = json_pack("{s:O}", "const", json_array_get(values, 0));
        json_decref(values);
        return s;
    }
    return json_pack("{s:o}", "enum", values);
}

static json_t *branches(uint64_t *seed, int depth)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < 2 + below(seed, 2); i++) json_array_append_new(list, any_schema(seed, depth - 1));
    return list;
}

// Alternatives that a const in a required property tells apart.
static json_t *tagged(uint64_t *seed, int depth)
{
    static const char *const tag[] = {"cat", "dog", "eel"};
    json_t *list = json_array();
    for (int i = 0; i < 3; i++)
        json_array_append_new(list, json_pack("{s:s,s:{s:{s:s},s:o},s:[s]}", "type", "object", "properties", "kind",
                                              "const", tag[i], "v", any_schema(seed, depth - 1), "required", "kind"));
    return json_pack("{s:o}", "oneOf", list);
}

static json_t *combined(uint64_t *seed, int depth)
{
    switch (below(seed, 4)) {
    case 0: return json_pack("{s:o}", "anyOf", branches(seed, depth));
    case 1: return json_pack("{s:[o,{s:s}]}", "anyOf", any_schema(seed, depth - 1), "type", "null");
    case 2: return tagged(seed, depth);
    default: return json_pack("{s:[o,o]}", "allOf", object_schema(seed, depth), object_schema(seed, depth));
    }
}

static json_t *any_schema(uint64_t *seed, int depth)
{
    uint32_t kind = below(seed, depth > 0 ? 16 : 7);
    if (kind == 0) return json_pack("{s:s}", "type", chance(seed, 50) ? "boolean" : "null");
    if (kind <= 2) return string_schema(seed);
    if (kind <= 4) return number_schema(seed, kind == 3);
    if (kind == 5) return list_schema(seed);
    if (kind == 6) return json_pack("{s:[s,s]}", "type", "string", chance(seed, 50) ? "null" : "integer");
    if (kind <= 9) return object_schema(seed, depth);
    if (kind <= 11) return array_schema(seed, depth);
    if (kind <= 13) return combined(seed, depth);
    if (kind == 14) return chance(seed, 30) ? json_true() : json_object();
    return json_pack("{s:s}", "$ref", chance(seed, 50) ? "#/$defs/one" : "#/$defs/two");
}

// "two" is recursive.
json_t *random_schema(uint64_t *seed)
{
    json_t *s = chance(seed, 80) ? object_schema(seed, 3) : json_pack("{s:[o]}", "allOf", any_schema(seed, 3));
    json_t *two =
        json_pack("{s:s,s:{s:o,s:{s:s,s:{s:s},s:i}},s:[s]}", "type", "object", "properties", "v", any_schema(seed, 0),
                  "next", "type", "array", "items", "$ref", "#/$defs/two", "maxItems", 2, "required", "v");
    json_object_set_new(s, "$defs", json_pack("{s:o,s:o}", "one", any_schema(seed, 0), "two", two));
    return s;
}
