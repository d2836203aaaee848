// The template engine against Python's jinja2 (test vectors of the language itself) and against hostile templates.
#include "support/check.h"
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NOW = 1785069296 }; // 2026-07-26 12:34:56 UTC, the clock of the vectors

// Renders into `out`; the code of opening or rendering.
static int run(const char *source, const json_t *context, nb_buf *out, nb_error *err)
{
    nb_template *template = NULL;
    int code = nb_template_open(nb_str_from(source), &template, err);
    if (code == NB_OK) code = nb_template_render(template, context, NOW, out, err);
    nb_template_close(template);
    return code;
}

static void expect(const char *source, const char *context_json, const char *wanted)
{
    json_t *context = NULL;
    nb_error err = {0};
    nb_buf out = {0};
    nb_test_ok(nb_json_parse(nb_str_from(context_json), "context", &context, &err), &err);
    int code = run(source, context, &out, &err);
    if (code != NB_OK || !nb_str_equal_c(nb_buf_str(&out), wanted))
        print_error("%s\n  gave %s\n  not  %s\n", source, code == NB_OK ? out.ptr : err.text, wanted);
    assert_int_equal(code, NB_OK);
    assert_true(nb_str_equal_c(nb_buf_str(&out), wanted));
    nb_buf_drop(&out);
    json_decref(context);
}

static void expect_failure(const char *source, const char *part)
{
    json_t *context = json_pack("{s:{s:i}, s:i}", "d", "x", 1, "a", 1);
    nb_error err = {0};
    nb_buf out = {0};
    int code = run(source, context, &out, &err);
    if (code == NB_OK) print_error("%.80s did not fail\n", source);
    nb_test_fails(code, &err, part);
    assert_int_equal(out.len, 0);
    nb_buf_drop(&out);
    json_decref(context);
}

// ---- Python's jinja2

// lipsum, cycler and joiner are no part of this engine: no chat template uses them.
static bool is_supported(const char *source)
{
    return !strstr(source, "lipsum");
}

static bool is_feature_right(const json_t *context, const json_t *test)
{
    const char *source = json_string_value(json_object_get(test, "template"));
    const json_t *expected = json_object_get(test, "expected");
    const char *error = json_string_value(json_object_get(test, "error"));
    nb_error err = {0};
    nb_buf out = {0};
    int code = run(source, context, &out, &err);
    bool right;
    if (expected)
        right = code == NB_OK &&
                nb_str_equal(nb_buf_str(&out), (nb_str){json_string_value(expected), json_string_length(expected)});
    else
        right = code == NB_ERR_INPUT && (strcmp(error, "raise_exception") ||
                                         !strcmp(err.text, json_string_value(json_object_get(test, "message"))));
    if (!right) print_error("%s\n  gave %s\n", source, code == NB_OK ? out.ptr : err.text);
    nb_buf_drop(&out);
    return right;
}

static void features_are_those_of_python(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/jinja/features.json");
    if (!path) skip();
    json_t *file = nb_test_json(path), *test;
    size_t i, n_wrong = 0, n = 0;
    json_array_foreach(json_object_get(file, "cases"), i, test)
    {
        if (!is_supported(json_string_value(json_object_get(test, "template")))) continue;
        n++;
        n_wrong += !is_feature_right(json_object_get(file, "context"), test);
    }
    json_decref(file);
    assert_int_equal(n, 133);
    assert_int_equal(n_wrong, 0);
}

// ---- What the vectors do not reach

static void generation_tags_are_a_scope(void **state)
{
    (void)state;
    expect("{% generation %}{% set x = 1 %}a{{ x }}{% endgeneration %}{{ x }}", "{}", "a1");
}

static void recursive_loops_descend(void **state)
{
    (void)state;
    expect("{% for n in t recursive %}{{ n.v }}{{ loop.depth }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% endfor %}",
           "{\"t\": [{\"v\": 1, \"c\": [{\"v\": 2}, {\"v\": 3}]}, {\"v\": 4}]}", "11(2232)41");
}

static void arguments_unpack(void **state)
{
    (void)state;
    expect("{% macro f(a, b, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(*[1, 2], **{'c': 3}) }}", "{}", "123");
}

static void formats_follow_python(void **state)
{
    (void)state;
    expect(
        "{{ '{:>6}|{:<6}|{:^6}|{:06.2f}|{:,}|{!r}|{a[k]}'.format('x', 'y', 'z', 3.14159, 1234567, 's', a={'k': 5}) }}",
        "{}", "     x|y     |  z   |003.14|1,234,567|'s'|5");
    expect("{{ '%-5s|%5s|%+d|%x|%%|%(k)s' % {'k': 1} if false else '%-5s|%5s|%+d|%x|%%' % ('a', 'b', 3, 255) }}", "{}",
           "a    |    b|+3|ff|%");
}

static void methods_follow_python(void **state)
{
    (void)state;
    expect("{{ 'a.b.c'.rsplit('.', 1) }}{{ 'a.b.c'.rpartition('.') }}{{ 'x'.find('x', 1) }}{{ 'äbc'.find('c') }}", "{}",
           "['a.b', 'c']('a.b', '.', 'c')-12");
    expect("{{ \"they're bill's\".title() }}|{{ 'A b'.split(None, 0) }}|{{ ' a  b '.split(' ') }}|{{ 'x'.center(4, "
           "'*') }}",
           "{}", "They'Re Bill'S|['A b']|['', 'a', '', 'b', '']|*x**");
}

static void numbers_print_as_in_python(void **state)
{
    (void)state;
    expect("{{ [1e15, 1e16, 1.5e-5, 0.0001, 123456.789, 5e-324, 1.7976931348623157e308, -0.0] }}", "{}",
           "[1000000000000000.0, 1e+16, 1.5e-05, 0.0001, 123456.789, 5e-324, 1.7976931348623157e+308, -0.0]");
    expect("{{ v }}{{ v | tojson }}{{ [v] }}{{ v is integer }}", "{\"v\": 123456789012345678901234567890}",
           "123456789012345678901234567890123456789012345678901234567890[123456789012345678901234567890]True");
}

static void text_is_quoted_as_in_python(void **state)
{
    (void)state;
    expect("{{ [v] }}", "{\"v\": \"a\\u0001\\u00a0\\u200b'\\u00e9\\n\"}", "[\"a\\x01\\xa0\\u200b'é\\n\"]");
}

static void sandbox_hides_what_would_change_values(void **state)
{
    (void)state;
    expect_failure("{{ [1].append(2) }}", "unsafe");
    expect_failure("{{ d.pop('x') }}", "unsafe");
    expect("{{ 'y' if [].append is defined else 'n' }}", "{}", "n");
}

static void errors_name_the_line(void **state)
{
    (void)state;
    expect_failure("a\nb\n{{ missing.x }}", "line 3: 'missing' is undefined");
    expect_failure("a\n{% if %}", "line 2: expected an expression, got %}");
    expect_failure("{% for x in [1] %}\n{% include 'x' %}{% endfor %}", "line 2");
    expect_failure("{{ 1 | nothing }}", "no filter 'nothing'");
}

// ---- Hostile templates end soon

static void loops_are_bounded(void **state)
{
    (void)state;
    expect_failure("{{ range(10**9) | list }}", "range too big");
    expect_failure("{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9999) %}{% endfor %}{% "
                   "endfor %}{% endfor %}",
                   "more than");
    expect_failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper");
    expect_failure("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper");
}

static void text_is_bounded(void **state)
{
    (void)state;
    expect_failure("{{ 'x' * 10**10 }}", "too long");
    expect_failure("{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                   "more than");
    expect_failure("{% for i in range(90000) %}{{ 'x' * 10**6 }}{% endfor %}", "more than");
    expect_failure("{{ 'x'.ljust(10**12) }}", "too long");
    expect_failure("{{ '%99999999d' % 1 }}", "over");
    expect_failure("{{ 'a' | indent(10**11) }}", "too long");
    expect_failure("{{ [0] * 10**12 }}", "too long");
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const char *const piece[][2] = {{"(", ")"},     {"[", "]"},  {"not ", ""}, {"-", ""},
                                           {"{'a':", "}"}, {"x[", "]"}, {"a(", ")"}};
    for (size_t i = 0; i < sizeof(piece) / sizeof(piece[0]); i++) {
        nb_buf source = {0};
        nb_buf_add_c(&source, "{{ ");
        for (int k = 0; k < N; k++) nb_buf_add_c(&source, piece[i][0]);
        nb_buf_add_c(&source, "1");
        for (int k = 0; k < N; k++) nb_buf_add_c(&source, piece[i][1]);
        nb_buf_add_c(&source, " }}");
        expect_failure(source.ptr, "nested");
        nb_buf_drop(&source);
    }
    expect_failure(
        "{% set ns = namespace(l=[]) %}{% for i in range(999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        "nested");
}

static void long_chains_are_fine(void **state)
{
    (void)state;
    nb_buf source = {0};
    nb_buf_add_c(&source, "{{ ''");
    for (int k = 0; k < 5000; k++) nb_buf_add_c(&source, " ~ a");
    nb_buf_add_c(&source, " }}{% if 0 %}");
    for (int k = 0; k < 5000; k++) nb_buf_add_c(&source, "{% elif 0 %}");
    nb_buf_add_c(&source, "{% endif %}");
    json_t *context = json_pack("{s:s}", "a", "x");
    nb_error err = {0};
    nb_buf out = {0};
    nb_test_ok(run(source.ptr, context, &out, &err), &err);
    assert_int_equal(out.len, 5000);
    nb_buf_drop(&out);
    nb_buf_drop(&source);
    json_decref(context);
}

static void broken_sources_are_errors(void **state)
{
    (void)state;
    static const char *const source[] = {"{{",
                                         "{%",
                                         "{#",
                                         "{{ 'a",
                                         "{{ a",
                                         "{% if",
                                         "{% raw %}",
                                         "{{ ) }}",
                                         "{{ (] }}",
                                         "{{ 1 + }}",
                                         "{{ a. }}",
                                         "{{ a[ }}",
                                         "{{ a | }}",
                                         "{{ a is }}",
                                         "{% set %}",
                                         "{% for %}",
                                         "{% for x %}",
                                         "{% set 1 = 2 %}",
                                         "{% macro %}",
                                         "{% break %}",
                                         "{{ '\\xz' }}",
                                         "{{ \\ }}",
                                         "{{ a b }}",
                                         "{% endif %}",
                                         "{% call 1 %}{% endcall %}",
                                         "{{ {1} }}",
                                         "{{ ? }}"};
    for (size_t i = 0; i < sizeof(source) / sizeof(source[0]); i++) expect_failure(source[i], "line 1");
    expect_failure("\xff", "UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_those_of_python),
        cmocka_unit_test(generation_tags_are_a_scope),
        cmocka_unit_test(recursive_loops_descend),
        cmocka_unit_test(arguments_unpack),
        cmocka_unit_test(formats_follow_python),
        cmocka_unit_test(methods_follow_python),
        cmocka_unit_test(numbers_print_as_in_python),
        cmocka_unit_test(text_is_quoted_as_in_python),
        cmocka_unit_test(sandbox_hides_what_would_change_values),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(loops_are_bounded),
        cmocka_unit_test(text_is_bounded),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(long_chains_are_fine),
        cmocka_unit_test(broken_sources_are_errors),
    };
    return nb_test_run("jinja", tests);
}
