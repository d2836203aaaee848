// The output parsers: what they make of texts, and that no cut of a text changes it.
#include "support/check.h"
#include "text/output_parser.h"

#include <stdlib.h>
#include <string.h>

// ---- Events as one line: R"..." C"..." then for each call name(arguments)

typedef struct record {
    nb_buf text;
    int kind; // of the last event
} record;

static void on_part(void *user, const nb_part *part)
{
    static const char *const begin[] = {
        [NB_PART_REASONING] = "|R:", [NB_PART_CONTENT] = "|C:", [NB_PART_TOOL_BEGIN] = "|T"};
    record *r = user;
    bool joins = r->kind == (int)part->kind && part->kind != NB_PART_TOOL_BEGIN;
    if (part->kind == NB_PART_TOOL_BEGIN)
        nb_buf_printf(&r->text, "|T%d:%.*s(", part->tool_index, (int)part->text.len, part->text.ptr);
    else if (part->kind == NB_PART_TOOL_END)
        nb_buf_add_c(&r->text, ")");
    else
        nb_buf_printf(&r->text, "%s%.*s", joins || part->kind == NB_PART_TOOL_ARGUMENTS ? "" : begin[part->kind],
                      (int)part->text.len, part->text.ptr);
    r->kind = (int)part->kind;
}

// Feeds text[0..cut), text[cut..) and so on; cut 0: byte by byte.
static nb_buf events_of(const nb_output_parser_options *options, nb_str text, size_t cut)
{
    record r = {.kind = -1};
    nb_output_parser *p = nb_output_parser_open(options);
    if (cut == 0) {
        for (size_t i = 0; i < text.len; i++) nb_output_parser_feed(p, nb_str_slice(text, i, i + 1), on_part, &r);
    } else {
        nb_output_parser_feed(p, nb_str_slice(text, 0, cut), on_part, &r);
        nb_output_parser_feed(p, nb_str_slice(text, cut, text.len), on_part, &r);
    }
    nb_output_parser_end(p, on_part, &r);
    nb_output_parser_close(p);
    if (!r.text.ptr) nb_buf_add_c(&r.text, "");
    return r.text;
}

// The events are `wanted`, for each cut of the text in two and for single bytes.
static void expect_cut(const nb_output_parser_options *options, nb_str text, const char *wanted)
{
    for (size_t cut = 0; cut <= text.len; cut++) {
        nb_buf got = events_of(options, text, cut);
        if (strcmp(got.ptr, wanted)) print_error("cut at %zu of\n%.*s\n", cut, (int)text.len, text.ptr);
        assert_string_equal(got.ptr, wanted);
        nb_buf_drop(&got);
    }
}

static json_t *tools(void)
{
    json_t *value = NULL;
    nb_error err = {0};
    nb_test_ok(
        nb_json_parse(
            NB_STR("[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": {"
                   "\"s\": {\"type\": \"string\"}, \"i\": {\"type\": \"integer\"}, \"n\": {\"type\": \"number\"},"
                   "\"b\": {\"type\": \"boolean\"}, \"o\": {\"type\": \"object\"}, \"a\": {\"type\": \"array\"},"
                   "\"z\": {\"type\": \"null\"}, \"ns\": {\"type\": [\"string\", \"null\"]},"
                   "\"ni\": {\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"null\"}]},"
                   "\"e\": {\"enum\": [\"1\", \"2\"]}, \"u\": {}}}}}]"),
            "tools", &value, &err),
        &err);
    return value;
}

static void expect(nb_tool_format format, const char *text, const char *wanted)
{
    json_t *t = tools();
    nb_output_parser_options options = {.reasoning = NB_REASONING_QWEN3, .tool = format, .tools = t};
    expect_cut(&options, nb_str_from(text), wanted);
    json_decref(t);
}

static void expect_xml(const char *text, const char *wanted)
{
    expect(NB_TOOL_QWEN3_XML, text, wanted);
}
static void expect_hermes(const char *text, const char *wanted)
{
    expect(NB_TOOL_HERMES, text, wanted);
}

// One call of f with the parameter: its JSON value.
static void expect_typed(const char *key, const char *value, const char *json)
{
    char text[500], wanted[500];
    snprintf(text, sizeof(text),
             "<tool_call>\n<function=f>\n<parameter=%s>\n%s\n</parameter>\n</function>\n</tool_call>", key, value);
    snprintf(wanted, sizeof(wanted), "|T0:f({\"%s\": %s})", key, json);
    expect_xml(text, wanted);
}

// ---- Reasoning

static void reasoning_ends_at_its_tag(void **state)
{
    (void)state;
    nb_output_parser_options open = {.reasoning = NB_REASONING_QWEN3, .starts_in_reasoning = true};
    expect_cut(&open, NB_STR("\nlet me see\n\nyes\n</think>\n\nFour."), "|R:let me see\n\nyes|C:Four.");
    expect_cut(&open, NB_STR("</think>\n\nFour."), "|C:Four.");
    expect_cut(&open, NB_STR("never ends </thin"), "|R:never ends </thin");
    expect_cut(&open, NB_STR("a</think>b</think>c"), "|R:a|C:b</think>c");
    expect_cut(&open, NB_STR("é日本</think> 𝔘 "), "|R:é日本|C: 𝔘 ");
    expect_cut(&open, NB_STR(""), "");
}

static void text_may_open_its_own_reasoning(void **state)
{
    (void)state;
    nb_output_parser_options closed = {.reasoning = NB_REASONING_QWEN3};
    expect_cut(&closed, NB_STR("<think>\nhm\n</think>\n\nok"), "|R:hm|C:ok");
    expect_cut(&closed, NB_STR("plain <think> text"), "|C:plain <think> text");
    expect_cut(&closed, NB_STR(" <thin"), "|C: <thin");
    nb_output_parser_options none = {0};
    expect_cut(&none, NB_STR("<think>a</think> <tool_call>"), "|C:<think>a</think> <tool_call>");
}

// ---- qwen3_xml

static void xml_calls_become_arguments(void **state)
{
    (void)state;
    expect_xml(
        "Let me "
        "look.\n\n<tool_call>\n<function=f>\n<parameter=s>\nParis\n</parameter>\n<parameter=i>\n3\n</parameter>\n"
        "</function>\n</tool_call>\n",
        "|C:Let me look.|T0:f({\"s\": \"Paris\", \"i\": 3})");
    expect_xml("<tool_call>\n<function=f>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</"
               "tool_call>done",
               "|T0:f({})|T1:g({})|C:done");
    expect_xml("<tool_call><function=f><parameter=s>x</parameter></function></tool_call>", "|T0:f({\"s\": \"x\"})");
    expect_xml("<think>\nCall f.\n</think>\n\n<tool_call>\n<function=f>\n</function>\n</tool_call>",
               "|R:Call f.|T0:f({})");
}

static void values_have_the_types_of_the_schema(void **state)
{
    (void)state;
    expect_typed("s", "12", "\"12\"");
    expect_typed("s", "null", "\"null\"");
    expect_typed("s", " a\n\n\"b\"\\\t", "\" a\\n\\n\\\"b\\\"\\\\\\t\"");
    expect_typed("s", "", "\"\"");
    expect_typed("i", "-12", "-12");
    expect_typed("i", "12345678901234567890", "12345678901234567890");
    expect_typed("i", "1.5", "\"1.5\"");
    expect_typed("i", "many", "\"many\"");
    expect_typed("n", "1e3", "1e3");
    expect_typed("n", "7", "7");
    expect_typed("b", "true", "true");
    expect_typed("b", "False", "false");
    expect_typed("b", "maybe", "\"maybe\"");
    expect_typed("o", "{\"k\": [1, {}]}", "{\"k\": [1, {}]}");
    expect_typed("o", "{'k': 1}", "\"{'k': 1}\"");
    expect_typed("a", "[1,\n 2]", "[1,\n 2]");
    expect_typed("a", "{}", "\"{}\"");
    expect_typed("z", "null", "null");
    expect_typed("ns", "null", "null");
    expect_typed("ns", "nullable", "\"nullable\"");
    expect_typed("ns", "nu", "\"nu\"");
    expect_typed("ns", "12", "\"12\"");
    expect_typed("ni", "None", "null");
    expect_typed("ni", "4", "4");
    expect_typed("e", "1", "\"1\"");
    expect_typed("u", "[1]", "[1]");
    expect_typed("other", "5", "5");
    expect_typed("other", "five", "\"five\"");
}

static void values_may_hold_tags(void **state)
{
    (void)state;
    expect_typed("s", "<parameter=x>\n1\n</parameter> <function=f> </function> <tool_call> <",
                 "\"<parameter=x>\\n1\\n</parameter> <function=f> </function> <tool_call> <\"");
    expect_typed("s", "</parameter", "\"</parameter\"");
    expect_typed("s", "é<b>日本</b>\n𝔘", "\"é<b>日本</b>\\n𝔘\"");
}

static void missing_xml_tags_are_forgiven(void **state)
{
    (void)state;
    expect_xml("<tool_call>\n<function=f>\n<parameter=s>\nx", "|T0:f({\"s\": \"x\"})");
    expect_xml("<tool_call>\n<function=f>\n<parameter=s>\nx\n</parameter>", "|T0:f({\"s\": \"x\"})");
    expect_xml("<tool_call>\n<function=f>\n<parameter=i>\n1\n</parameter>\n</function>", "|T0:f({\"i\": 1})");
    expect_xml("<tool_call>\n<function=f>\n<parameter=s>\nx\n<parameter=i>\n1\n</parameter>\n</function>\n</tool_call>",
               "|T0:f({\"s\": \"x\", \"i\": 1})");
    expect_xml("<tool_call>\n<function=f>\n<parameter=s>\nx\n</function>\n</tool_call>", "|T0:f({\"s\": \"x\"})");
    expect_xml("<tool_call>\n<function=f>\n<parameter=s>\nx\n</parameter>\n</tool_call> y",
               "|T0:f({\"s\": \"x\"})|C:y");
    expect_xml("a\n<function=f>\n<parameter=s>\nx\n</parameter>\n</function>\n</tool_call>",
               "|C:a|T0:f({\"s\": \"x\"})");
    expect_xml("<tool_call>\n<function=f>\n<parameter=s>\n1\n</parameter>\n<parameter=s>\n2\n</parameter>\n</"
               "function>\n</tool_call>",
               "|T0:f({\"s\": \"1\"})");
}

static void what_is_no_xml_call_is_content(void **state)
{
    (void)state;
    expect_xml("the tag <tool_call> opens a call", "|C:the tag <tool_call> opens a call");
    expect_xml("x <tool_call>", "|C:x <tool_call>");
    expect_xml("x <tool_call>\n<function=f", "|C:x <tool_call>\n<function=f");
    expect_xml("see <function=unknown> there", "|C:see <function=unknown> there");
    expect_xml("a < b <t <tool_cal", "|C:a < b <t <tool_cal");
    expect_xml("text \n ", "|C:text \n ");
}

// ---- hermes

static void hermes_calls_become_arguments(void **state)
{
    (void)state;
    expect_hermes("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"a\\\"}\\u00e9\", \"i\": [1, -2.5e3, null], "
                  "\"o\": {}}}\n</tool_call>",
                  "|T0:f({\"s\": \"a\\\"}\\u00e9\", \"i\": [1, -2.5e3, null], \"o\": {}})");
    expect_hermes(
        "hi\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"g\"}</tool_call>bye",
        "|C:hi|T0:f({})|T1:g({})|C:bye");
    expect_hermes("<tool_call>{\"arguments\": {\"s\": \"</tool_call>\"}, \"name\": \"f\"}</tool_call>",
                  "|T0:f({\"s\":\"</tool_call>\"})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"id\": [1, \"}\"], \"arguments\": {\"s\": 1}, \"x\": 2}</tool_call>",
                  "|T0:f({\"s\": 1})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"s\\\": 1}\"}</tool_call>", "|T0:f({\"s\":1})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "|T0:f({})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"</tool_call>\n\"}}</tool_call>",
                  "|T0:f({\"s\": \"</tool_call>\\u000a\"})");
}

static void broken_hermes_calls_are_closed(void **state)
{
    (void)state;
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"ab\\u00", "|T0:f({\"s\": \"ab\"})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": [1, 2", "|T0:f({\"s\": [1, 2]})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": 1, \"t", "|T0:f({\"s\": 1})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": 1,}}</tool_call>ok", "|T0:f({\"s\": 1})|C:ok");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": tru}}</tool_call>ok", "|T0:f({})|C:ok");
    expect_hermes("<tool_call>{\"name\": \"f\", ", "|T0:f({})");
    expect_hermes("<tool_call>{\"name\": \"f\"", "|T0:f({})");
    expect_hermes("<tool_call>{\"name\": \"f\", \"arguments\": {}}", "|T0:f({})");
}

static void what_is_no_hermes_call_is_content(void **state)
{
    (void)state;
    expect_hermes("use <tool_call> like this", "|C:use <tool_call> like this");
    expect_hermes("<tool_call>{\"nam", "|C:<tool_call>{\"nam");
    expect_hermes("<tool_call>{\"x\": 1}</tool_call>", "|C:<tool_call>{\"x\": 1}</tool_call>");
    expect_hermes("<tool_call>\n", "|C:<tool_call>\n");
}

// ---- The demo's conversations: every assistant text, cut everywhere, gives the message it was rendered from

typedef struct message {
    nb_buf reasoning, content, call; // calls as name(arguments)
} message;

static void collect(void *user, const nb_part *part)
{
    message *m = user;
    nb_buf *to = part->kind == NB_PART_REASONING ? &m->reasoning
                 : part->kind == NB_PART_CONTENT ? &m->content
                                                 : &m->call;
    nb_buf_add_str(to, part->text);
    if (part->kind == NB_PART_TOOL_BEGIN) nb_buf_add_c(to, " ");
    if (part->kind == NB_PART_TOOL_END) nb_buf_add_c(to, "\n");
}

static void check_calls(const json_t *calls, const char *text)
{
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call)
    {
        const json_t *wrapped = json_object_get(call, "function"), *function = wrapped ? wrapped : call;
        const char *name = json_string_value(json_object_get(function, "name")), *end = strchr(text, '\n');
        assert_non_null(end);
        assert_memory_equal(text, name, strlen(name));
        json_t *arguments = NULL;
        nb_error err = {0};
        const char *json = text + strlen(name) + 1;
        nb_test_ok(nb_json_parse((nb_str){json, (size_t)(end - json)}, "arguments", &arguments, &err), &err);
        assert_true(json_equal(arguments, json_object_get(function, "arguments")));
        json_decref(arguments);
        text = end + 1;
    }
    assert_string_equal(text, "");
}

// Templates trim the content.
static nb_str trimmed(const char *text)
{
    nb_str s = nb_str_from(text);
    while (s.len && strchr(" \n", s.ptr[0])) s = nb_str_slice(s, 1, s.len);
    while (s.len && strchr(" \n", s.ptr[s.len - 1])) s.len--;
    return s;
}

static void check_message(const json_t *expected, const json_t *t, nb_str text)
{
    nb_output_parser_options options = {.reasoning = NB_REASONING_QWEN3, .tool = NB_TOOL_QWEN3_XML, .tools = t};
    message m = {0};
    nb_output_parser *p = nb_output_parser_open(&options);
    nb_output_parser_feed(p, text, collect, &m);
    nb_output_parser_end(p, collect, &m);
    nb_output_parser_close(p);
    const char *content = json_string_value(json_object_get(expected, "content"));
    const char *inlined =
        content ? strstr(content, "</think>\n\n") : NULL; // the template takes this part for reasoning
    if (inlined) content = inlined + strlen("</think>\n\n");
    assert_true(nb_str_equal(nb_buf_str(&m.content), trimmed(content)));
    check_calls(json_object_get(expected, "tool_calls"), m.call.ptr ? m.call.ptr : "");
    nb_buf_drop(&m.reasoning);
    nb_buf_drop(&m.content);
    nb_buf_drop(&m.call);
    nb_buf whole = events_of(&options, text, text.len);
    expect_cut(&options, text, whole.ptr);
    nb_buf_drop(&whole);
}

static void golden_texts_give_their_messages(void **state)
{
    (void)state;
    json_t *cases = nb_test_json(nb_test_path("test/data/demo/chat_golden.json")), *test, *expected;
    size_t i, k;
    int n = 0;
    json_array_foreach(cases, i, test)
    {
        nb_str begin = NB_STR("<|im_start|>assistant\n"),
               rendered = nb_str_from(json_string_value(json_object_get(test, "rendered")));
        size_t from = 0;
        json_array_foreach(json_object_get(test, "messages"), k, expected)
        {
            if (strcmp(json_string_value(json_object_get(expected, "role")), "assistant")) continue;
            int64_t at = nb_str_find(rendered, begin, from);
            from = (size_t)at + begin.len;
            int64_t end = nb_str_find(rendered, NB_STR("<|im_end|>"), from);
            check_message(expected, json_object_get(test, "tools"), nb_str_slice(rendered, from, (size_t)end));
            n++;
        }
    }
    json_decref(cases);
    assert_true(n >= 20);
}

static void formats_are_found_by_name(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_tool_format tool;
    nb_reasoning_format reasoning;
    nb_test_ok(nb_tool_format_parse("qwen3_coder", &tool, &err), &err);
    assert_int_equal(tool, NB_TOOL_QWEN3_XML);
    nb_test_ok(nb_reasoning_format_parse("qwen3", &reasoning, &err), &err);
    assert_int_equal(reasoning, NB_REASONING_QWEN3);
    nb_test_fails(nb_tool_format_parse("x", &tool, &err), &err, "known are none, qwen3_xml, qwen3_coder, hermes");
    nb_test_fails(nb_reasoning_format_parse("x", &reasoning, &err), &err, "known are none, qwen3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasoning_ends_at_its_tag),
        cmocka_unit_test(text_may_open_its_own_reasoning),
        cmocka_unit_test(xml_calls_become_arguments),
        cmocka_unit_test(values_have_the_types_of_the_schema),
        cmocka_unit_test(values_may_hold_tags),
        cmocka_unit_test(missing_xml_tags_are_forgiven),
        cmocka_unit_test(what_is_no_xml_call_is_content),
        cmocka_unit_test(hermes_calls_become_arguments),
        cmocka_unit_test(broken_hermes_calls_are_closed),
        cmocka_unit_test(what_is_no_hermes_call_is_content),
        cmocka_unit_test(golden_texts_give_their_messages),
        cmocka_unit_test(formats_are_found_by_name),
    };
    return nb_test_run("output_parser", tests);
}
