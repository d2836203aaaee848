// See grammar_tools.h. JSON arguments are schemas as everywhere. In the XML format each parameter is a tag of its own:
// strings stand there as they are, all other values as JSON.
#include "constrain/grammar_tools.h"

#include <string.h>

#include "constrain/grammar_schema_internal.h"

typedef struct tool {
    const json_t *tools; // all of them
    const char *name;
    const json_t *parameters; // NULL: none are described
    bool strict;
} tool;

static tool tool_of(const json_t *tools, const json_t *item)
{
    const json_t *function = json_object_get(item, "function"), *own = json_is_object(function) ? function : item;
    const json_t *parameters = json_object_get(own, "parameters");
    return (tool){
        .tools = tools,
        .name = json_string_value(json_object_get(own, "name")),
        .parameters = json_is_object(parameters) ? parameters : NULL,
        .strict = json_is_true(json_object_get(own, "strict")),
    };
}

static nb_expr seq3(nb_grammar *g, nb_expr a, nb_expr b, nb_expr c)
{
    return nb_grammar_seq2(g, nb_grammar_seq2(g, a, b), c);
}

// Any text in which none of the tags (up to NULL) stands.
static nb_expr text_without(nb_grammar *g, const char *const *tags)
{
    nb_expr_list list = {0};
    nb_expr any = nb_grammar_repeat(g, nb_grammar_any_char(g), 0, NB_REPEAT_FOREVER);
    for (; *tags; tags++) nb_expr_list_add(&list, nb_grammar_text(g, *tags));
    return nb_grammar_minus(g, any, seq3(g, any, nb_grammar_any(g, &list), any));
}

// ---- Hermes

static int hermes_arguments(nb_grammar_json *json, const tool *t, nb_expr *out, nb_error *err)
{
    nb_schema s;
    *out = nb_grammar_call(json->g, json->object);
    if (!t->parameters) return NB_OK;
    json_t *object = json_pack("{s:s}", "type", "object");
    nb_schema_open(&s, json, t->parameters, err);
    *out = nb_schema_call_both(&s, t->parameters, object, "#");
    int code = nb_schema_run(&s);
    nb_schema_close(&s);
    json_decref(object);
    return code;
}

static int hermes_call(nb_grammar_json *json, const tool *t, nb_expr *out, nb_error *err)
{
    nb_grammar *g = json->g;
    nb_expr arguments;
    nb_expr name = nb_grammar_json_quoted(g, nb_grammar_json_text(g, nb_str_from(t->name)));
    NB_TRY(hermes_arguments(json, t, &arguments, err));
    nb_expr head = seq3(g, nb_grammar_text(g, "{\"name\": "), name, nb_grammar_text(g, ", \"arguments\": "));
    *out = seq3(g, head, arguments, nb_grammar_text(g, "}"));
    return NB_OK;
}

// ---- XML

static const char *const closing_tags[] = {"</parameter>", "</function>", "</tool_call>", "\n<parameter=", NULL};

// A parameter being translated. The parser decides by `types`, its reading of the schema, what a text means: where
// strings are possible it is one (or null), where they are not it is JSON, and with 0 it is what it looks like.
typedef struct value_maker {
    nb_schema *s;
    const char *path;
    unsigned types;
} value_maker;

static bool reads_as_string(const value_maker *v)
{
    return v->types & NB_TYPE_STRING;
}

// Texts that look like another value than a string, and some more.
static nb_expr like_json(nb_grammar *g)
{
    nb_char_set blank = {0}, sign = {0}, bracket = {0};
    nb_char_set_add(&blank, '\t', '\r');
    nb_char_set_add(&blank, ' ', ' ');
    nb_char_set_add(&sign, '+', '9');
    nb_char_set_add(&sign, 'E', 'E');
    nb_char_set_add(&sign, 'e', 'e');
    nb_char_set_add(&bracket, '[', '[');
    nb_char_set_add(&bracket, '{', '{');
    nb_expr space = nb_grammar_repeat(g, nb_grammar_chars(g, &blank), 0, NB_REPEAT_FOREVER);
    nb_expr any = nb_grammar_repeat(g, nb_grammar_any_char(g), 0, NB_REPEAT_FOREVER);
    nb_expr_list forms = {0};
    nb_expr_list_add(&forms, nb_grammar_repeat(g, nb_grammar_chars(g, &sign), 0, NB_REPEAT_FOREVER));
    nb_expr_list_add(&forms, nb_grammar_seq2(g, nb_grammar_chars(g, &bracket), any));
    nb_expr_list_add(&forms, nb_grammar_text(g, "true"));
    nb_expr_list_add(&forms, nb_grammar_text(g, "false"));
    nb_expr_list_add(&forms, nb_grammar_text(g, "null"));
    nb_char_set_drop(&blank);
    nb_char_set_drop(&sign);
    nb_char_set_drop(&bracket);
    return seq3(g, space, nb_grammar_any(g, &forms), space);
}

// A string as it is: what the schema says of it, without what the parser would take for the value's end.
static int raw_string(const value_maker *v, const json_t *flat, nb_expr *out)
{
    nb_grammar *g = v->s->g;
    nb_expr form;
    bool unsaid;
    *out = text_without(g, closing_tags);
    NB_TRY(nb_schema_content(v->s, flat, v->path, &unsaid, &form));
    if (!unsaid) *out = nb_grammar_both(g, *out, form);
    if (v->types == 0 && nb_schema_types(flat) != 0) *out = nb_grammar_minus(g, *out, like_json(g));
    if (v->types & NB_TYPE_NULL && !unsaid) *out = nb_grammar_minus(g, *out, nb_grammar_text(g, "null"));
    return NB_OK;
}

// Listed strings stand as they are, other listed values as JSON.
static nb_expr listed(const value_maker *v, const json_t *flat)
{
    nb_grammar *g = v->s->g;
    const json_t *value;
    nb_expr_list strings = {0}, others = {0};
    size_t i;
    json_array_foreach(json_object_get(flat, "enum"), i, value)
    {
        unsigned type = nb_schema_type_of(value);
        if (type == NB_TYPE_STRING)
            nb_expr_list_add(&strings,
                             nb_grammar_bytes(g, (nb_str){json_string_value(value), json_string_length(value)}));
        else if (!reads_as_string(v) || type == NB_TYPE_NULL)
            nb_expr_list_add(&others, nb_grammar_json_literal(v->s->json, value));
    }
    nb_expr x = nb_grammar_any(g, &strings);
    if (v->types == 0) x = nb_grammar_minus(g, x, like_json(g));
    x = nb_grammar_both(g, x, text_without(g, closing_tags));
    nb_expr_list_add(&others, v->types & NB_TYPE_NULL ? nb_grammar_minus(g, x, nb_grammar_text(g, "null")) : x);
    return nb_grammar_any(g, &others);
}

static int parameter_value(const value_maker *v, const json_t *schema, int depth, nb_expr *out);

static int any_parameter_value(const value_maker *v, const json_t *flat, const char *keyword, int depth, nb_expr *out)
{
    json_t *rest = json_copy((json_t *)flat);
    const json_t *branch;
    nb_expr_list forms = {0};
    size_t i;
    int code = NB_OK;
    json_object_del(rest, keyword);
    json_array_foreach(json_object_get(flat, keyword), i, branch)
    {
        nb_expr x = 0;
        json_t *both = nb_schema_both(json_object_size(rest) ? rest : NULL, branch);
        if (code == NB_OK) code = parameter_value(v, both, depth + 1, &x);
        nb_expr_list_add(&forms, x);
        json_decref(both);
    }
    json_decref(rest);
    *out = nb_grammar_any(v->s->g, &forms);
    return code;
}

static nb_expr json_value(const value_maker *v, const json_t *schema, unsigned types)
{
    json_t *only = json_pack("{s:o}", "type", nb_schema_write_types(types));
    nb_expr x = nb_schema_call_both(v->s, schema, only, v->path);
    json_decref(only);
    return x;
}

static int typed_value(const value_maker *v, const json_t *schema, const json_t *flat, nb_expr *out)
{
    unsigned types = nb_schema_types(flat), others = types & ~(unsigned)NB_TYPE_STRING;
    if (json_object_get(flat, NB_SCHEMA_NEVER)) return NB_OK;
    if ((types == 0 || types & NB_TYPE_STRING) && (reads_as_string(v) || v->types == 0))
        NB_TRY(raw_string(v, flat, out));
    if (reads_as_string(v)) others &= v->types & NB_TYPE_NULL;
    if (others) *out = nb_grammar_any2(v->s->g, *out, json_value(v, schema, others));
    return NB_OK;
}

static int parameter_value(const value_maker *v, const json_t *schema, int depth, nb_expr *out)
{
    json_t *flat = NULL;
    *out = nb_grammar_nothing(v->s->g);
    if (depth > NB_SCHEMA_REFS_MAX) return nb_schema_refuse(v->s, v->path, "anyOf", "is nested too deeply");
    NB_TRY(nb_schema_flatten(v->s, schema, v->path, 0, &flat));
    int code = NB_OK;
    if (json_object_get(flat, "anyOf"))
        code = any_parameter_value(v, flat, "anyOf", depth, out);
    else if (json_object_get(flat, "oneOf"))
        code = any_parameter_value(v, flat, "oneOf", depth, out);
    else if (json_object_get(flat, "enum"))
        *out = listed(v, flat);
    else
        code = typed_value(v, schema, flat, out);
    json_decref(flat);
    return code;
}

static nb_expr parameter(nb_grammar *g, nb_expr key, nb_expr value)
{
    nb_expr open = seq3(g, nb_grammar_text(g, "<parameter="), key, nb_grammar_text(g, ">\n"));
    return seq3(g, open, value, nb_grammar_text(g, "\n</parameter>\n"));
}

// Parameters whose names the schema leaves open, all of one kind of value.
static nb_expr free_parameters(nb_grammar *g, nb_expr value)
{
    nb_char_set word = {0};
    nb_char_set_add(&word, 'a', 'z');
    nb_char_set_add(&word, 'A', 'Z');
    nb_char_set_add(&word, '0', '9');
    nb_char_set_add(&word, '_', '_');
    nb_expr key = nb_grammar_repeat(g, nb_grammar_chars(g, &word), 1, 64);
    nb_char_set_drop(&word);
    return nb_grammar_repeat(g, parameter(g, key, value), 0, NB_REPEAT_FOREVER);
}

static int open_parameters(nb_schema *s, const json_t *flat, nb_expr *out)
{
    const json_t *rest = json_object_get(flat, "additionalProperties");
    value_maker v = {.s = s, .path = "#/additionalProperties"};
    nb_expr value = 0;
    NB_TRY(parameter_value(&v, rest ? rest : json_true(), 0, &value));
    *out = free_parameters(s->g, value);
    return NB_OK;
}

// Names that stand in a tag and can be read back.
static bool fits_tag(const char *name)
{
    return *name && !strpbrk(name, "<>\n") && strlen(name) <= 200;
}

static int check_names(nb_schema *s, const json_t *properties)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)properties, key, value)
    {
        if (!fits_tag(key))
            return nb_schema_refuse(s, "#", "properties", "has the name \"%.80s\", which cannot stand in a tag", key);
    }
    return NB_OK;
}

// In the order of the schema, whatever is required among them.
static int described_parameters(nb_schema *s, const tool *t, const json_t *flat, nb_expr *out)
{
    json_t *required = nb_schema_set(json_object_get(flat, "required")), *schema;
    const json_t *properties = json_object_get(flat, "properties");
    const char *key;
    nb_expr_list list = {0};
    int code = NB_OK;
    json_object_foreach((json_t *)properties, key, schema)
    {
        nb_expr value = 0;
        value_maker v = {.s = s, .path = nb_schema_path(s, "#", "properties", key)};
        nb_tool_schema_parameter(t->tools, nb_str_from(t->name), nb_str_from(key), &v.types);
        if (code == NB_OK) code = parameter_value(&v, schema, 0, &value);
        nb_expr x = parameter(s->g, nb_grammar_text(s->g, key), value);
        nb_expr_list_add(&list, json_object_get(required, key) ? x : nb_grammar_optional(s->g, x));
    }
    json_object_foreach(required, key, schema)
    {
        if (json_object_get(properties, key)) continue;
        nb_expr_list_add(&list, parameter(s->g, nb_grammar_text(s->g, key), text_without(s->g, closing_tags)));
    }
    json_decref(required);
    *out = nb_grammar_seq(s->g, &list);
    return code;
}

static int xml_parameters(nb_schema *s, const tool *t, nb_expr *out)
{
    static const char *const other[] = {"enum",          "anyOf",         "oneOf",        "patternProperties",
                                        "propertyNames", "minProperties", "maxProperties"};
    json_t *flat = NULL;
    NB_TRY(nb_schema_flatten(s, t->parameters, "#", 0, &flat));
    int code = NB_OK;
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]) && code == NB_OK; i++)
        if (json_object_get(flat, other[i]))
            code = nb_schema_refuse(
                s, "#", other[i], "is not supported at the top of a function's parameters with this tool-call parser");
    if (code == NB_OK && json_object_get(flat, "type") && !(nb_schema_types(flat) & NB_TYPE_OBJECT))
        code = nb_schema_refuse(s, "#", "type", "must be \"object\" in a function's parameters");
    if (code == NB_OK) code = check_names(s, json_object_get(flat, "properties"));
    bool named = json_object_size(json_object_get(flat, "properties")) || json_object_get(flat, "required");
    if (code == NB_OK) code = named ? described_parameters(s, t, flat, out) : open_parameters(s, flat, out);
    json_decref(flat);
    return code;
}

static int xml_call(nb_grammar_json *json, const tool *t, nb_expr *out, nb_error *err)
{
    nb_grammar *g = json->g;
    nb_schema s;
    nb_expr parameters = free_parameters(g, text_without(g, closing_tags));
    int code = fits_tag(t->name) ? NB_OK
                                 : nb_error_set(err, NB_ERR_INPUT,
                                                "its name cannot stand in a tag, as this tool-call "
                                                "parser wants");
    if (code == NB_OK && t->parameters) {
        nb_schema_open(&s, json, t->parameters, err);
        s.raw = true;
        code = xml_parameters(&s, t, &parameters);
        s.raw = false;
        if (code == NB_OK) code = nb_schema_run(&s);
        nb_schema_close(&s);
    }
    nb_expr head = seq3(g, nb_grammar_text(g, "<function="), nb_grammar_text(g, t->name), nb_grammar_text(g, ">\n"));
    *out = seq3(g, head, parameters, nb_grammar_text(g, "</function>"));
    return code;
}

// ---- Calls

static int one_call(nb_grammar_json *json, const json_t *tools, const nb_tool_rules *rules, nb_expr *out, nb_error *err)
{
    const json_t *item;
    nb_expr_list forms = {0};
    size_t i;
    int code = NB_OK;
    json_array_foreach(tools, i, item)
    {
        nb_expr x = 0;
        tool t = tool_of(tools, item);
        if (code != NB_OK || !t.name || (rules->name.len && !nb_str_equal_c(rules->name, t.name))) continue;
        if (rules->free_text && !t.strict) t.parameters = NULL;
        code = rules->format == NB_TOOL_HERMES ? hermes_call(json, &t, &x, err) : xml_call(json, &t, &x, err);
        if (code != NB_OK) nb_error_wrap(err, "the tool \"%.80s\": ", t.name);
        nb_expr_list_add(&forms, x);
    }
    nb_grammar *g = json->g;
    nb_expr any = nb_grammar_any(g, &forms);
    *out = seq3(g, nb_grammar_text(g, "<tool_call>\n"), any, nb_grammar_text(g, "\n</tool_call>"));
    return code;
}

int nb_grammar_tools(nb_grammar_json *json, const json_t *tools, const nb_tool_rules *rules, nb_expr *out,
                     nb_error *err)
{
    static const char *const opening_tags[] = {"<tool_call>", "<function=", NULL};
    nb_grammar *g = json->g;
    nb_expr call;
    NB_TRY(one_call(json, tools, rules, &call, err));
    if (rules->free_text) {
        nb_expr text = text_without(g, opening_tags), more = nb_grammar_seq2(g, call, text);
        *out = nb_grammar_seq2(g, text, nb_grammar_repeat(g, more, 0, rules->several ? NB_REPEAT_FOREVER : 1));
    } else {
        nb_expr more = nb_grammar_seq2(g, nb_grammar_text(g, "\n"), call);
        *out = nb_grammar_seq2(g, call, nb_grammar_repeat(g, more, 0, rules->several ? NB_REPEAT_FOREVER : 0));
    }
    return NB_OK;
}
