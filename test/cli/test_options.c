// cli/options: what a table accepts, what it refuses and how the message helps.
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli_internal.h"
#include "cli/commands.h"

static bool verbose;
static int64_t max_tokens, memory;
static double temperature;
static const char *device;
static nb_option_list stop;

static const nb_option options[] = {
    {"verbose", 'v', NB_OPTION_FLAG, &verbose, NULL, "say more"},
    {"max-tokens", 'n', NB_OPTION_INT, &max_tokens, "N", "longest answer"},
    {"device-memory", 0, NB_OPTION_BYTES, &memory, "SIZE", "memory of the device"},
    {"temperature", 't', NB_OPTION_DOUBLE, &temperature, "X", "0 is greedy"},
    {"device", 0, NB_OPTION_STRING, &device, "auto|cpu|cuda", "where to run"},
    {"stop", 0, NB_OPTION_LIST, &stop, "TEXT", "ends the answer"},
    {"trust-remote-code", 0, NB_OPTION_IGNORED, NULL, NULL, "no code is ever loaded"},
    {"swap-space", 0, NB_OPTION_IGNORED, NULL, "SIZE", "nothing is swapped"},
    {0},
};
static const nb_command command = {"try", "CKPT [PROMPT]", "tries", "nibble try x", options, 1, 2};

static nb_error err;
static const char *argument[2];
static int n_argument;

static int reset(void **state)
{
    (void)state;
    verbose = false;
    max_tokens = 16;
    memory = 0;
    temperature = 1;
    device = "auto";
    stop = (nb_option_list){0};
    err = (nb_error){0};
    return 0;
}

static int release(void **state)
{
    (void)state;
    free(stop.item);
    return 0;
}

// Parses the words of `line`, which are separated by single spaces.
static int parse(const char *line)
{
    static char text[256];
    static char *argv[16];
    int argc = 0;
    snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    return nb_command_parse(&command, argc, argv, argument, &n_argument, &err);
}

static void every_spelling_of_a_value_works(void **state)
{
    (void)state;
    nb_test_ok(parse("ckpt -v --max_tokens=5 -t0.5 --device cuda --stop a --stop=b -- -n"), &err);
    assert_true(verbose);
    assert_int_equal(max_tokens, 5);
    assert_true(temperature == 0.5);
    assert_string_equal(device, "cuda");
    assert_int_equal(stop.n, 2);
    assert_string_equal(stop.item[1], "b");
    assert_int_equal(n_argument, 2);
    assert_string_equal(argument[1], "-n");
    nb_test_ok(parse("ckpt -n -3 --no-verbose -"), &err);
    assert_int_equal(max_tokens, -3);
    assert_false(verbose);
    assert_string_equal(argument[1], "-");
    nb_test_ok(parse("ckpt --verbose=true"), &err);
    assert_true(verbose);
}

static void sizes_have_decimal_and_binary_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t n_byte;
    } cases[] = {{"80G", 80000000000}, {"512M", 512000000}, {"1.5Gi", 3ll << 29}, {"7", 7},
                 {"2KiB", 2048},       {"3kb", 3000},       {"1T", 1000000000000}};
    char line[64];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(line, sizeof line, "ckpt --device-memory %s", cases[i].text);
        nb_test_ok(parse(line), &err);
        assert_int_equal(memory, cases[i].n_byte);
    }
    nb_test_fails(parse("ckpt --device-memory 8X"), &err, "'8X' is not a size");
    nb_test_fails(parse("ckpt --device-memory -8G"), &err, "is not a size");
    nb_test_fails(parse("ckpt --device-memory nan"), &err, "is not a size");
    nb_test_fails(parse("ckpt --device-memory 9e30G"), &err, "is not a size");
}

static void wrong_lines_are_refused_with_help(void **state)
{
    (void)state;
    nb_test_fails(parse("ckpt --max-token 5"), &err, "did you mean --max-tokens?");
    nb_test_fails(parse("ckpt --tempreature 5"), &err, "did you mean --temperature?");
    nb_test_fails(parse("ckpt --zzz"), &err, "'nibble try --help' lists them");
    nb_test_fails(parse("ckpt -x"), &err, "no option -x");
    nb_test_fails(parse("ckpt -vn"), &err, "-v takes no value");
    nb_test_fails(parse("ckpt --max-tokens"), &err, "--max-tokens needs a value");
    nb_test_fails(parse("ckpt --max-tokens 5x"), &err, "'5x' is not an integer");
    nb_test_fails(parse("ckpt --max-tokens 99999999999999999999"), &err, "is not an integer");
    nb_test_fails(parse("ckpt --temperature inf"), &err, "'inf' is not a number");
    nb_test_fails(parse("ckpt --device tpu"), &err, "'tpu' is not one of auto|cpu|cuda");
    nb_test_fails(parse("ckpt --verbose=maybe"), &err, "is not true or false");
    nb_test_fails(parse("--verbose"), &err, "try needs CKPT [PROMPT]");
    nb_test_fails(parse("a b c"), &err, "'c' is one argument too many");
    assert_int_equal(parse("a b c"), NB_ERR_USAGE);
}

static void ignored_options_take_only_what_is_theirs(void **state)
{
    (void)state;
    nb_test_ok(parse("--trust-remote-code ckpt --swap-space 4 --swap-space --verbose"), &err);
    assert_int_equal(n_argument, 1);
    assert_string_equal(argument[0], "ckpt");
    assert_true(verbose);
}

static void help_lists_every_option_with_its_default(void **state)
{
    (void)state;
    nb_buf text = {0};
    memory = 3 << 20;
    nb_usage_write(&command, &text);
    for (const nb_option *o = options; o->name; o++) {
        if (!strstr(text.ptr, o->name) || !strstr(text.ptr, o->help)) fail_msg("--%s is missing", o->name);
    }
    assert_non_null(strstr(text.ptr, "longest answer [16]"));
    assert_non_null(strstr(text.ptr, "memory of the device [3Mi]"));
    assert_non_null(strstr(text.ptr, "where to run [auto]"));
    nb_buf_drop(&text);
}

static void nearest_command_is_suggested(void **state)
{
    (void)state;
    assert_non_null(nb_command_find("help", &err));
    assert_null(nb_command_find("hlep", &err));
    assert_string_equal(err.text, "there is no command 'hlep'; did you mean 'help'?");
    assert_null(nb_command_find("xyzzy", &err));
    assert_non_null(strstr(err.text, "'nibble help' lists them"));
}

// Every row must be usable: a value where the kind needs one, a help text, no name or letter twice.
static void tables_of_all_commands_are_sound(void **state)
{
    (void)state;
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        const nb_command *c = e->command;
        assert_true(c->name && c->arguments && c->summary && c->example);
        for (const nb_command_entry *f = nb_commands; f < e; f++) assert_string_not_equal(f->command->name, c->name);
        for (const nb_option *o = c->option; o && o->name; o++) {
            if (!o->help || (!o->value && o->kind != NB_OPTION_IGNORED)) fail_msg("%s --%s", c->name, o->name);
            if (nb_option_takes_value(o) && !o->argument) fail_msg("%s --%s has no argument name", c->name, o->name);
            for (const nb_option *p = c->option; p < o; p++) {
                bool same = strcmp(p->name, o->name) == 0 || (o->letter && p->letter == o->letter);
                if (same) fail_msg("%s --%s and --%s", c->name, p->name, o->name);
            }
        }
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, reset, release)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_spelling_of_a_value_works),          TEST(sizes_have_decimal_and_binary_units),
        TEST(wrong_lines_are_refused_with_help),        TEST(ignored_options_take_only_what_is_theirs),
        TEST(help_lists_every_option_with_its_default), TEST(nearest_command_is_suggested),
        TEST(tables_of_all_commands_are_sound),
    };
    return nb_test_run("cli/options", tests);
}
