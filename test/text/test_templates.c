// 17 published chat templates, each with 104 conversations, rendered byte for byte as Python's jinja2 does.
#include "support/check.h"
#include "base/file.h"
#include "text/jinja.h"

#include <string.h>

enum { NOW = 1785069296 }; // the clock of the vectors

static bool is_right(const nb_template *template, const json_t *test, const char *name)
{
    const json_t *expected = json_object_get(test, "expected");
    const char *error = json_string_value(json_object_get(test, "error"));
    const char *message = json_string_value(json_object_get(test, "message"));
    nb_error err = {0};
    nb_buf out = {0};
    int code = nb_template_render(template, json_object_get(test, "context"), NOW, &out, &err);
    nb_str text = {json_string_value(expected), json_string_length(expected)};
    bool right = expected ? code == NB_OK && nb_str_equal(nb_buf_str(&out), text)
                          : code != NB_OK && (strcmp(error, "raise_exception") || !strcmp(err.text, message));
    if (!right)
        print_error("%s, %s:\n%s\n---- should be\n%s\n", name, json_string_value(json_object_get(test, "name")),
                    code == NB_OK ? out.ptr : err.text, expected ? text.ptr : message);
    nb_buf_drop(&out);
    return right;
}

static void check_template(const char *name)
{
    char relative[200];
    nb_error err = {0};
    nb_template *template;
    nb_str source;
    nb_arena *arena = nb_arena_open(0);
    snprintf(relative, sizeof(relative), "golden/templates/%s.jinja", name);
    nb_test_ok(nb_file_read(nb_test_shared(relative), NB_JINJA_SOURCE_MAX, arena, &source, &err), &err);
    nb_test_ok(nb_template_open(source, &template, &err), &err);
    snprintf(relative, sizeof(relative), "golden/templates/%s.json", name);
    json_t *file = nb_test_json(nb_test_shared(relative)), *test, *cases = json_object_get(file, "cases");
    size_t i, n_wrong = 0;
    json_array_foreach(cases, i, test) n_wrong += !is_right(template, test, name);
    assert_int_equal(n_wrong, 0);
    assert_int_equal(json_array_size(cases), 104);
    json_decref(file);
    nb_template_close(template);
    nb_arena_close(arena);
}

static void published_templates_render_as_in_python(void **state)
{
    (void)state;
    static const char *const names[] = {
        "deepseek-r1-distill-qwen",
        "deepseek-v3",
        "deepseek-v3.1",
        "devstral-small-2507",
        "gemma-2",
        "gemma-3",
        "gpt-oss",
        "hermes-3-tool-use",
        "llama-3.1",
        "llama-3.2",
        "mistral-nemo",
        "qwen2.5",
        "qwen3-coder",
        "qwen3.5",
        "qwen3.6",
        "qwen3",
        "qwq",
    };
    if (!nb_test_shared("golden/templates/qwen3.6.json")) skip();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) check_template(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_templates_render_as_in_python)};
    return nb_test_run("templates", tests);
}
