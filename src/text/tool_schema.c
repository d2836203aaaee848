// See tool_schema.h.
#include "text/tool_schema.h"

#include <string.h>
#include <strings.h>

enum { SCHEMA_DEPTH_MAX = 8 }; // of anyOf inside anyOf, and of references

static nb_str string_of(const json_t *value)
{
    return (nb_str){json_string_value(value), json_string_length(value)};
}

// Tools are {"type": "function", "function": {...}}, or the function's object itself.
static const json_t *find_function(const json_t *tools, nb_str name)
{
    const json_t *tool;
    size_t i;
    json_array_foreach(tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function"), *own = json_is_object(function) ? function : tool;
        const json_t *own_name = json_object_get(own, "name");
        if (json_is_string(own_name) && nb_str_equal(string_of(own_name), name)) return own;
    }
    return NULL;
}

bool nb_tool_schema_has(const json_t *tools, nb_str function)
{
    return find_function(tools, function) != NULL;
}

// Besides the names of JSON schema, those that hand-written tools use.
static unsigned type_by_name(const char *name)
{
    static const struct {
        const char *name;
        unsigned type;
    } known[] = {
        {"string", NB_TYPE_STRING},   {"str", NB_TYPE_STRING},    {"text", NB_TYPE_STRING},
        {"integer", NB_TYPE_INTEGER}, {"int", NB_TYPE_INTEGER},   {"number", NB_TYPE_NUMBER},
        {"float", NB_TYPE_NUMBER},    {"double", NB_TYPE_NUMBER}, {"boolean", NB_TYPE_BOOLEAN},
        {"bool", NB_TYPE_BOOLEAN},    {"object", NB_TYPE_OBJECT}, {"dict", NB_TYPE_OBJECT},
        {"array", NB_TYPE_ARRAY},     {"list", NB_TYPE_ARRAY},    {"null", NB_TYPE_NULL},
    };
    for (size_t i = 0; name && i < sizeof(known) / sizeof(known[0]); i++)
        if (!strcasecmp(name, known[i].name)) return known[i].type;
    return 0;
}

static unsigned type_of_value(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return NB_TYPE_OBJECT;
    case JSON_ARRAY: return NB_TYPE_ARRAY;
    case JSON_STRING: return nb_json_big_integer(value).ptr ? NB_TYPE_INTEGER : NB_TYPE_STRING;
    case JSON_INTEGER: return NB_TYPE_INTEGER;
    case JSON_REAL: return NB_TYPE_NUMBER;
    case JSON_NULL: return NB_TYPE_NULL;
    default: return NB_TYPE_BOOLEAN;
    }
}

static unsigned types_of_schema(const json_t *root, const json_t *schema, int depth);

// The types of all alternatives; one that says nothing makes the whole say nothing.
static unsigned types_of_list(const json_t *root, const json_t *list, int depth)
{
    const json_t *item;
    size_t i;
    unsigned types = 0;
    json_array_foreach(list, i, item)
    {
        unsigned own =
            json_is_string(item) ? type_by_name(json_string_value(item)) : types_of_schema(root, item, depth + 1);
        if (!own) return 0;
        types |= own;
    }
    return types;
}

// Where "#/$defs/name" leads.
static const json_t *target_of(const json_t *root, const json_t *ref)
{
    const char *at = json_is_string(ref) ? json_string_value(ref) : "";
    if (*at++ != '#') return NULL;
    for (size_t n; root && *at == '/'; at += n) {
        n = strcspn(++at, "/");
        root = json_object_getn(root, at, n);
    }
    return root;
}

static unsigned own_types(const json_t *root, const json_t *schema, int depth)
{
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum"), *item;
    const json_t *constant = json_object_get(schema, "const"), *any = json_object_get(schema, "anyOf");
    unsigned types = json_is_true(json_object_get(schema, "nullable")) ? NB_TYPE_NULL : 0;
    size_t i;
    if (json_is_string(type)) {
        unsigned own = type_by_name(json_string_value(type));
        return own ? own | types : 0;
    }
    if (json_is_array(type)) return types_of_list(root, type, depth);
    if (constant) return type_of_value(constant) | types;
    if (json_is_array(values)) {
        json_array_foreach(values, i, item) types |= type_of_value(item);
        return types;
    }
    return types_of_list(root, json_is_array(any) ? any : json_object_get(schema, "oneOf"), depth);
}

// What both say; 0 says nothing.
static unsigned both_types(unsigned a, unsigned b)
{
    if (!a || !b) return a | b;
    if (a & NB_TYPE_NUMBER) a |= NB_TYPE_INTEGER;
    if (b & NB_TYPE_NUMBER) b |= NB_TYPE_INTEGER;
    return a & b;
}

static unsigned types_of_schema(const json_t *root, const json_t *schema, int depth)
{
    const json_t *ref = json_object_get(schema, "$ref"), *all = json_object_get(schema, "allOf"), *item;
    size_t i;
    if (depth > SCHEMA_DEPTH_MAX) return 0;
    unsigned types = own_types(root, schema, depth);
    if (ref) types = both_types(types, types_of_schema(root, target_of(root, ref), depth + 1));
    json_array_foreach(all, i, item) types = both_types(types, types_of_schema(root, item, depth + 1));
    return types;
}

bool nb_tool_schema_parameter(const json_t *tools, nb_str function, nb_str parameter, unsigned *types)
{
    const json_t *parameters = json_object_get(find_function(tools, function), "parameters");
    const json_t *schema = json_object_getn(json_object_get(parameters, "properties"), parameter.ptr, parameter.len);
    *types = schema ? types_of_schema(parameters, schema, 0) : 0;
    return schema != NULL;
}

// ---- Values

void nb_tool_schema_escape(nb_str text, nb_buf *out)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        const char *known = c ? strchr(from, c) : NULL;
        if (known)
            nb_buf_printf(out, "\\%c", to[known - from]);
        else if (c < 0x20)
            nb_buf_printf(out, "\\u%04x", c);
        else
            nb_buf_add_char(out, (char)c);
    }
}

static void add_string(nb_str text, nb_buf *out)
{
    nb_buf_add_char(out, '"');
    nb_tool_schema_escape(text, out);
    nb_buf_add_char(out, '"');
}

static nb_str trim(nb_str s)
{
    static const char space[] = " \t\r\n";
    while (s.len && strchr(space, s.ptr[0])) s = nb_str_slice(s, 1, s.len);
    while (s.len && strchr(space, s.ptr[s.len - 1])) s.len--;
    return s;
}

static bool equals_word(nb_str s, const char *word)
{
    return s.len == strlen(word) && !strncasecmp(s.ptr, word, s.len);
}

// Models write Python's True and None now and then.
static const char *loose_word(nb_str s, unsigned types)
{
    if ((types & NB_TYPE_BOOLEAN) && equals_word(s, "true")) return "true";
    if ((types & NB_TYPE_BOOLEAN) && equals_word(s, "false")) return "false";
    if ((types & NB_TYPE_NULL) && (equals_word(s, "null") || equals_word(s, "none"))) return "null";
    return NULL;
}

static unsigned type_of_text(nb_str s)
{
    json_t *value = NULL;
    nb_error err;
    if (s.len == 0 || nb_json_parse(s, "", &value, &err) != NB_OK) return 0;
    unsigned type = type_of_value(value);
    json_decref(value);
    return type;
}

void nb_tool_schema_convert(nb_str text, unsigned types, nb_buf *out)
{
    nb_str bare = trim(text);
    bool is_null = (types & NB_TYPE_STRING) && (types & NB_TYPE_NULL) && nb_str_equal_c(bare, "null");
    const char *word = types & NB_TYPE_STRING ? (is_null ? "null" : NULL) : loose_word(bare, types);
    if (types & NB_TYPE_NUMBER) types |= NB_TYPE_INTEGER;
    unsigned allowed = types ? types : ~(unsigned)NB_TYPE_STRING;
    if (word)
        nb_buf_add_c(out, word);
    else if (!(types & NB_TYPE_STRING) && (type_of_text(bare) & allowed & ~(unsigned)NB_TYPE_STRING))
        nb_buf_add_str(out, bare);
    else
        add_string(text, out);
}
