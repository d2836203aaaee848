// YAML option files become the arguments a person would have typed.
#include "support/check.h"

#include "cli/config_file.h"

static nb_error err;
static char *arg[NB_CONFIG_FILE_ARGS_MAX];
static int n_arg;

static int parse(const char *yaml)
{
    static nb_arena *arena;
    nb_arena_close(arena);
    arena = nb_arena_open(0);
    return nb_config_file_parse(nb_str_from(yaml), "serve.yaml", arena, arg, &n_arg, &err);
}

static void scalars_flags_and_lists_become_arguments(void **state)
{
    (void)state;
    nb_test_ok(parse("port: 9000\nenable-auto-tool-choice: true\nenforce-eager: false\napi-key: [a, 'true']\n"
                     "root-path: \"/x y\"\n"),
               &err);
    const char *expected[] = {"--port=9000", "--enable-auto-tool-choice", "--api-key=a", "--api-key=true",
                              "--root-path=/x y"};
    assert_int_equal(n_arg, 5);
    for (int i = 0; i < 5; i++) assert_string_equal(arg[i], expected[i]);
}

static void an_empty_file_gives_none(void **state)
{
    (void)state;
    nb_test_ok(parse(""), &err);
    assert_int_equal(n_arg, 0);
}

static void what_is_not_a_flat_mapping_is_refused_with_its_line(void **state)
{
    (void)state;
    nb_test_fails(parse("port: 1\nssl:\n  cert: a\n"), &err, "line 3");
    nb_test_fails(parse("- a\n- b\n"), &err, "line 1");
    nb_test_fails(parse("just text"), &err, "line 1");
    nb_test_fails(parse("a: [b, [c]]\n"), &err, "line 1");
    nb_test_fails(parse("a: \"unclosed\n"), &err, "not YAML");
    nb_test_fails(parse("a: &x 1\nb: *x\n"), &err, "aliases");
}

static void the_command_line_comes_after_the_file(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    char *argv[] = {"CKPT", "--port", "1"}, **out;
    int n;
    nb_test_ok(nb_config_file_expand(3, argv, arena, &n, &out, &err), &err);
    assert_ptr_equal(out, argv);
    assert_int_equal(n, 3);
    nb_arena_close(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_flags_and_lists_become_arguments),
        cmocka_unit_test(an_empty_file_gives_none),
        cmocka_unit_test(what_is_not_a_flat_mapping_is_refused_with_its_line),
        cmocka_unit_test(the_command_line_comes_after_the_file),
    };
    return nb_test_run("config_file", tests);
}
