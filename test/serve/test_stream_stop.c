// serve/stream_stop: what is found does not depend on how the text was cut, and nothing is held back without need.
#include "support/check.h"

#include "serve/stream_stop.h"

typedef struct outcome {
    nb_buf text;
    int found;
} outcome;

// Feeds `text` in two or three pieces, cut at `a` and `b`.
static outcome feed(const nb_str *stop, int n, bool include, nb_str text, size_t a, size_t b)
{
    const size_t cut[] = {0, a, b, text.len};
    nb_stop s = {.text = stop, .n = n, .include = include};
    outcome out = {.found = -1};
    nb_buf_add_c(&out.text, "");
    for (int i = 0; i < 3 && out.found < 0; i++)
        out.found = nb_stop_feed(&s, nb_str_slice(text, cut[i], cut[i + 1]), &out.text);
    if (out.found < 0) nb_stop_end(&s, &out.text);
    nb_stop_drop(&s);
    return out;
}

typedef struct example {
    const char *text;
    nb_str stop[3];
    int n;
    bool include;
    const char *wanted;
    int found;
} example;

static const example examples[] = {
    {"hello world", {NB_STR("wor")}, 1, false, "hello ", 0},
    {"hello world", {NB_STR("wor")}, 1, true, "hello wor", 0},
    {"hello world", {NB_STR("worm")}, 1, false, "hello world", -1},
    {"hello world", {NB_STR("d")}, 1, false, "hello worl", 0},
    {"aaab", {NB_STR("aab")}, 1, false, "a", 0},
    {"abababac", {NB_STR("ababac")}, 1, false, "ab", 0},
    {"one two three", {NB_STR("three"), NB_STR("two")}, 2, false, "one ", 1},
    {"\xc3\xa9t\xc3\xa9", {NB_STR("t\xc3\xa9")}, 1, false, "\xc3\xa9", 0},
    {"", {NB_STR("x")}, 1, false, "", -1},
    {"no stops", {{0}}, 0, false, "no stops", -1},
    {"x\n\nUser:", {NB_STR("\n\nUser:"), NB_STR("\n\nHuman:"), NB_STR("<|end|>")}, 3, false, "x", 0},
};

static void found_wherever_the_text_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        const example *e = &examples[i];
        nb_str text = nb_str_from(e->text);
        for (size_t a = 0; a <= text.len; a++)
            for (size_t b = a; b <= text.len; b++) {
                outcome got = feed(e->stop, e->n, e->include, text, a, b);
                assert_string_equal(got.text.ptr, e->wanted);
                assert_int_equal(got.found, e->found);
                nb_buf_drop(&got.text);
            }
    }
}

static void only_a_possible_beginning_is_held_back(void **state)
{
    (void)state;
    const nb_str stop[] = {NB_STR("END"), NB_STR("EEL")};
    nb_stop s = {.text = stop, .n = 2};
    nb_buf out = {0};
    assert_int_equal(nb_stop_feed(&s, NB_STR("abcE"), &out), -1);
    assert_string_equal(out.ptr, "abc");
    assert_int_equal(nb_stop_feed(&s, NB_STR("E"), &out), -1); // "EE" may become EEL
    assert_string_equal(out.ptr, "abc");
    assert_int_equal(nb_stop_feed(&s, NB_STR("N"), &out), -1); // "EN" may become END, the E before it is free
    assert_string_equal(out.ptr, "abcE");
    assert_int_equal(nb_stop_feed(&s, NB_STR("T"), &out), -1);
    assert_string_equal(out.ptr, "abcEENT");
    nb_stop_drop(&s);
    nb_buf_drop(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_wherever_the_text_is_cut),
        cmocka_unit_test(only_a_possible_beginning_is_held_back),
    };
    return nb_test_run("serve/stream_stop", tests);
}
