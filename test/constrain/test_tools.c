// Tool calls drawn at random are read back by the tool-call parser, with arguments that validate.
#include "support/check.h"
#include "support/json_validator.h"
#include "support/random_schema.h"
#include "support/walker.h"

#include <string.h>

#include "constrain/constrain.h"

typedef struct calls { // what the parser saw
    nb_buf name, arguments, content;
    int n_call;
    const json_t *tools;
} calls;

static void check_call(calls *c)
{
    char why[200];
    json_t *value = NULL;
    const json_t *tool;
    nb_error err = {0};
    size_t i;
    if (nb_json_parse_last(nb_buf_str(&c->arguments), "arguments", &value, &err) != NB_OK)
        fail_msg("%s: %s", err.text, c->arguments.ptr);
    json_array_foreach(c->tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function"), *schema = json_object_get(function, "parameters");
        if (!nb_str_equal_c(nb_buf_str(&c->name), json_string_value(json_object_get(function, "name")))) continue;
        if (schema && !json_validates(schema, schema, value, why))
            fail_msg("%s\n%s\n%s", why, c->arguments.ptr, json_dumps(schema, 0));
        json_decref(value);
        return;
    }
    fail_msg("a call of \"%s\"", c->name.ptr);
}

static void on_part(void *user, const nb_part *part)
{
    calls *c = user;
    switch (part->kind) {
    case NB_PART_TOOL_BEGIN:
        nb_buf_clear(&c->name);
        nb_buf_clear(&c->arguments);
        nb_buf_add_str(&c->name, part->text);
        c->n_call++;
        break;
    case NB_PART_TOOL_ARGUMENTS: nb_buf_add_str(&c->arguments, part->text); break;
    case NB_PART_TOOL_END: check_call(c); break;
    default: nb_buf_add_str(&c->content, part->text); break;
    }
}

static int read_back(const json_t *tools, nb_tool_format format, nb_str text, nb_buf *content)
{
    calls c = {.tools = tools};
    nb_output_parser *parser = nb_output_parser_open(&(nb_output_parser_options){.tool = format, .tools = tools});
    nb_output_parser_feed(parser, text, on_part, &c);
    nb_output_parser_end(parser, on_part, &c);
    nb_output_parser_close(parser);
    nb_buf_drop(&c.name);
    nb_buf_drop(&c.arguments);
    *content = c.content;
    return c.n_call;
}

static nb_automaton *compile(const json_t *tools, const nb_tool_rules *rules)
{
    nb_automaton *a = NULL;
    nb_error err = {0};
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_TOOLS, .value = tools, .tools = *rules};
    return nb_constrain_compile(&spec, &a, &err) == NB_OK ? a : NULL;
}

static json_t *parameters(uint64_t *seed, bool xml)
{
    for (;;) {
        json_t *schema = random_schema(seed);
        bool plain = !json_object_get(schema, "patternProperties") && !json_object_get(schema, "minProperties") &&
                     !json_object_get(schema, "propertyNames") && !json_object_get(schema, "allOf");
        // Names that a tag cannot hold are nothing for XML.
        const char *key;
        json_t *value;
        json_object_foreach(json_object_get(schema, "properties"), key, value) plain &=
            !xml || (*key && !strchr(key, '"'));
        if (plain) return schema;
        json_decref(schema);
    }
}

static void check_format(nb_tool_format format, int n)
{
    uint64_t seed = 21;
    nb_buf text = {0}, content;
    int n_text = 0;
    for (int i = 0; i < n; i++) {
        json_t *schema = parameters(&seed, format != NB_TOOL_HERMES);
        json_t *tools = json_pack("[{s:s,s:{s:s,s:O}},{s:s,s:{s:s}}]", "type", "function", "function", "name", "first",
                                  "parameters", schema, "type", "function", "function", "name", "second_one");
        nb_tool_rules rules = {.format = format, .several = i % 2, .name = i % 3 ? NB_STR("first") : (nb_str){0}};
        nb_automaton *a = compile(tools, &rules);
        for (int k = 0; a && k < 4; k++) {
            if (!walk_text(a, &seed, 4000, 2, &text)) continue;
            n_text++;
            int n_call = read_back(tools, format, nb_buf_str(&text), &content);
            if (n_call < 1 || (n_call > 1 && !rules.several)) fail_msg("%d calls in %s", n_call, text.ptr);
            if (content.len) fail_msg("\"%s\" is left of %s", content.ptr, text.ptr);
        }
        nb_automaton_close(a);
        json_decref(tools);
        json_decref(schema);
    }
    nb_buf_drop(&text);
    assert_true(n_text > n);
}

static void hermes_calls_are_read_back_with_valid_arguments(void **state)
{
    (void)state;
    check_format(NB_TOOL_HERMES, 150);
}

static void xml_calls_are_read_back_with_valid_arguments(void **state)
{
    (void)state;
    check_format(NB_TOOL_QWEN3_XML, 150);
}

static void free_text_may_stand_around_strict_calls(void **state)
{
    (void)state;
    json_t *tools = json_pack("[{s:{s:s,s:b,s:{s:s,s:{s:{s:s}},s:[s]}}}]", "function", "name", "add", "strict", 1,
                              "parameters", "type", "object", "properties", "x", "type", "integer", "required", "x");
    for (int k = 0; k < 2; k++) {
        nb_tool_rules rules = {.format = k ? NB_TOOL_HERMES : NB_TOOL_QWEN3_XML, .free_text = true, .several = true};
        const char *call =
            k ? "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": 12}}\n</tool_call>"
              : "<tool_call>\n<function=add>\n<parameter=x>\n12\n</parameter>\n</function>\n</tool_call>";
        const char *wrong =
            k ? "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"x\": \"a\"}}\n</tool_call>"
              : "<tool_call>\n<function=add>\n<parameter=x>\na\n</parameter>\n</function>\n</tool_call>";
        nb_automaton *a = compile(tools, &rules);
        nb_buf text = {0};
        assert_true(walk_accepts(a, NB_STR("")));
        assert_true(walk_accepts(a, NB_STR("Just text < tool <tool_ call>.")));
        nb_buf_printf(&text, "I will add.\n%s", call);
        assert_true(walk_accepts(a, nb_buf_str(&text)));
        nb_buf_printf(&text, "\n%s then \xc3\xa9.", call);
        assert_true(walk_accepts(a, nb_buf_str(&text)));
        nb_buf_printf(&text, "%s", wrong);
        assert_false(walk_accepts(a, nb_buf_str(&text)));
        assert_false(walk_accepts(a, NB_STR("<tool_call>\n{\"name\": \"sub\"")));
        assert_false(walk_accepts(a, NB_STR("<tool_call>")));
        nb_buf_drop(&text);
        nb_automaton_close(a);
    }
    json_decref(tools);
}

static void a_strict_tool_with_a_schema_that_cannot_be_kept_is_named(void **state)
{
    (void)state;
    nb_automaton *a;
    nb_error err = {0};
    json_t *tools = json_pack("[{s:{s:s,s:{s:{s:{s:b}}}}}]", "function", "name", "f", "parameters", "properties", "p",
                              "uniqueItems", 1);
    for (int k = 0; k < 2; k++) {
        nb_constrain_spec spec = {
            .kind = NB_CONSTRAIN_TOOLS, .value = tools, .tools = {.format = k ? NB_TOOL_HERMES : NB_TOOL_QWEN3_XML}};
        nb_test_fails(nb_constrain_compile(&spec, &a, &err), &err,
                      "the tool \"f\": the schema's #/properties/p/uniqueItems");
    }
    json_decref(tools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hermes_calls_are_read_back_with_valid_arguments),
        cmocka_unit_test(xml_calls_are_read_back_with_valid_arguments),
        cmocka_unit_test(free_text_may_stand_around_strict_calls),
        cmocka_unit_test(a_strict_tool_with_a_schema_that_cannot_be_kept_is_named),
    };
    return nb_test_run("tools", tests);
}
