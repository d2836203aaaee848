// Chat templates of checkpoints: where they are found, what they get, and the demo's conversations.
#include "support/check.h"
#include "base/file.h"
#include "text/chat.h"

#include <string.h>
#include <sys/stat.h>

// ---- The demo checkpoint

static void demo_conversations_render_as_in_python(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_chat *chat = NULL;
    nb_test_ok(nb_chat_open(nb_test_path("models/demo"), NULL, &chat, &err), &err);
    json_t *cases = nb_test_json(nb_test_path("test/data/demo/chat_golden.json")), *test;
    size_t i;
    json_array_foreach(cases, i, test)
    {
        json_t *arguments = json_object_get(test, "arguments"), *tools = json_object_get(test, "tools");
        nb_buf out = {0};
        nb_chat_input input = {
            .messages = json_object_get(test, "messages"),
            .tools = json_is_array(tools) ? tools : NULL,
            .variables = arguments,
            .add_generation_prompt = json_is_true(json_object_get(arguments, "add_generation_prompt")),
        };
        nb_test_ok(nb_chat_render(chat, &input, &out, &err), &err);
        assert_string_equal(out.ptr, json_string_value(json_object_get(test, "rendered")));
        nb_buf_drop(&out);
    }
    assert_int_equal(json_array_size(cases), 82);
    json_decref(cases);
    nb_chat_close(chat);
}

// ---- Folders made here

static const char *folder_with(const char *config, const char *template)
{
    static char folder[300];
    static int n;
    snprintf(folder, sizeof(folder), "%s/%d", nb_test_tmp(), n++);
    assert_int_equal(mkdir(folder, 0700), 0);
    nb_arena *arena = nb_arena_open(0);
    nb_error err = {0};
    if (config)
        nb_test_ok(nb_file_replace(nb_path_join(arena, folder, "tokenizer_config.json"), nb_str_from(config), &err),
                   &err);
    if (template)
        nb_test_ok(nb_file_replace(nb_path_join(arena, folder, "chat_template.jinja"), nb_str_from(template), &err),
                   &err);
    nb_arena_close(arena);
    return folder;
}

// Renders messages (JSON text) and compares; `input` gives everything else.
static void expect(const nb_chat *chat, const char *messages, nb_chat_input input, const char *wanted)
{
    json_t *parsed = NULL;
    nb_error err = {0};
    nb_buf out = {0};
    nb_test_ok(nb_json_parse(nb_str_from(messages), "messages", &parsed, &err), &err);
    input.messages = parsed;
    nb_test_ok(nb_chat_render(chat, &input, &out, &err), &err);
    assert_string_equal(out.ptr ? out.ptr : "", wanted);
    nb_buf_drop(&out);
    json_decref(parsed);
}

static void expect_failure(const nb_chat *chat, const char *messages, nb_chat_input input, const char *part)
{
    json_t *parsed = NULL;
    nb_error err = {0};
    nb_buf out = {0};
    nb_test_ok(nb_json_parse(nb_str_from(messages), "messages", &parsed, &err), &err);
    input.messages = parsed;
    nb_test_fails(nb_chat_render(chat, &input, &out, &err), &err, part);
    nb_buf_drop(&out);
    json_decref(parsed);
}

static nb_chat *open_folder(const char *config, const char *template)
{
    nb_error err = {0};
    nb_chat *chat = NULL;
    nb_test_ok(nb_chat_open(folder_with(config, template), NULL, &chat, &err), &err);
    return chat;
}

static void template_may_stand_in_tokenizer_config(void **state)
{
    (void)state;
    nb_chat *chat = open_folder("{\"chat_template\": \"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}\","
                                " \"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}}",
                                NULL);
    expect(chat, "[{\"role\": \"user\", \"content\": \"hi\"}]", (nb_chat_input){0}, "<s>hi</s>");
    nb_chat_close(chat);
}

static void named_templates_are_chosen_by_tools(void **state)
{
    (void)state;
    nb_chat *chat = open_folder("{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"},"
                                " {\"name\": \"tool_use\", \"template\": \"with {{ tools | length }}\"}]}",
                                NULL);
    json_t *tools = json_pack("[{s:s}]", "type", "function");
    expect(chat, "[]", (nb_chat_input){0}, "plain");
    expect(chat, "[]", (nb_chat_input){.tools = tools}, "with 1");
    json_decref(tools);
    nb_chat_close(chat);
}

static void file_goes_before_config_and_option_before_both(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_chat *chat = open_folder("{\"chat_template\": \"config\"}", "file");
    expect(chat, "[]", (nb_chat_input){0}, "file");
    nb_chat_close(chat);
    nb_arena *arena = nb_arena_open(0);
    const char *folder = folder_with("{\"bos_token\": \"B\"}", "option {{ bos_token }}");
    const char *path = nb_path_join(arena, folder, "chat_template.jinja");
    nb_test_ok(nb_chat_open(folder_with("{\"bos_token\": \"C\"}", "file"), path, &chat, &err), &err);
    expect(chat, "[]", (nb_chat_input){0}, "option C");
    nb_chat_close(chat);
    nb_arena_close(arena);
}

static void folder_without_template_is_an_error(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_chat *chat = NULL;
    nb_test_fails(nb_chat_open(folder_with("{}", NULL), NULL, &chat, &err), &err, "no chat template");
    nb_test_fails(nb_chat_open(folder_with("{\"chat_template\": \"{% if %}\"}", NULL), NULL, &chat, &err), &err,
                  "tokenizer_config.json: chat template line 1");
    nb_test_fails(nb_chat_open(folder_with("{", NULL), NULL, &chat, &err), &err, "not valid JSON");
}

static void tool_arguments_become_objects(void **state)
{
    (void)state;
    nb_chat *chat =
        open_folder(NULL, "{% for c in messages[0].tool_calls %}{{ c.function.arguments | tojson }};{% endfor %}");
    expect(chat,
           "[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"arguments\": \"{\\\"a\\\": 1, \\\"b\\\": "
           "12345678901234567890}\"}}, {\"function\": {\"arguments\": {\"c\": 1.0}}}, {\"function\": {}}, "
           "{\"function\": {\"arguments\": \"\"}}]}]",
           (nb_chat_input){0}, "{\"a\": 1, \"b\": 12345678901234567890};{\"c\": 1.0};{};{};");
    expect_failure(chat, "[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"arguments\": \"{\"}}]}]",
                   (nb_chat_input){0}, "messages[0].tool_calls[0].function.arguments");
    nb_chat_close(chat);
}

static void text_parts_are_joined_for_templates_of_strings(void **state)
{
    (void)state;
    const char *messages = "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "
                           "\"text\", \"text\": \"b\"}]}]";
    nb_chat *strings = open_folder(NULL, "{% for m in messages %}{{ m.content }}{% endfor %}");
    expect(strings, messages, (nb_chat_input){0}, "a\nb");
    nb_chat_close(strings);
    nb_chat *parts = open_folder(NULL, "{% for p in messages[0].content %}<{{ p.text }}>{% endfor %}");
    expect(parts, messages, (nb_chat_input){0}, "<a><b>");
    nb_chat_close(parts);
}

static void final_message_can_be_continued(void **state)
{
    (void)state;
    nb_chat *chat = open_folder(NULL, "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<end>{% endfor %}"
                                      "{% if add_generation_prompt %}[assistant]{% endif %}");
    nb_chat_input go_on = {.continue_final_message = true};
    expect(chat, "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \" The answer \"}]",
           go_on, "[user]q<end>[assistant]The answer");
    expect_failure(chat, "[{\"role\": \"user\"}]", go_on, "no text");
    go_on.add_generation_prompt = true;
    expect_failure(chat, "[]", go_on, "exclude each other");
    nb_chat_close(chat);
}

static void wrong_messages_are_named(void **state)
{
    (void)state;
    nb_chat *chat = open_folder(NULL, "{% if messages[0].role == 'x' %}{{ raise_exception('no x: é') }}{% endif %}");
    expect_failure(chat, "{}", (nb_chat_input){0}, "messages must be an array");
    expect_failure(chat, "[1]", (nb_chat_input){0}, "messages[0] must be an object");
    expect_failure(chat, "[{\"role\": 1}]", (nb_chat_input){0}, "messages[0].role");
    expect_failure(chat, "[{\"role\": \"a\", \"tool_calls\": 1}]", (nb_chat_input){0}, "messages[0].tool_calls");
    expect_failure(chat, "[{\"role\": \"a\", \"tool_calls\": [1]}]", (nb_chat_input){0}, "messages[0].tool_calls[0]");
    expect_failure(chat, "[{\"role\": \"x\"}]", (nb_chat_input){0}, "no x: é");
    nb_chat_close(chat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_conversations_render_as_in_python),
        cmocka_unit_test(template_may_stand_in_tokenizer_config),
        cmocka_unit_test(named_templates_are_chosen_by_tools),
        cmocka_unit_test(file_goes_before_config_and_option_before_both),
        cmocka_unit_test(folder_without_template_is_an_error),
        cmocka_unit_test(tool_arguments_become_objects),
        cmocka_unit_test(text_parts_are_joined_for_templates_of_strings),
        cmocka_unit_test(final_message_can_be_continued),
        cmocka_unit_test(wrong_messages_are_named),
    };
    return nb_test_run("chat", tests);
}
