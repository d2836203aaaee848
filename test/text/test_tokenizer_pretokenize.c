// text/pretokenize: pieces equal those of Oniguruma on the published strings; behaviors; the translated dialect.
#include "support/check.h"

#include <string.h>

#include "text/pretokenize.h"

#define QWEN2                                                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" \
    "\\s+(?!\\S)|\\s+"
#define QWEN35                                                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static json_t *byte_level(void)
{
    return json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
}

static json_t *split(const char *kind, const char *pattern, const char *behavior, bool invert)
{
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", kind, pattern, "behavior", behavior,
                     "invert", (int)invert);
}

// Takes the references.
static int open_steps(json_t *first, json_t *second, nb_pretokenizer **out, nb_error *err)
{
    json_t *list = json_array();
    json_array_append_new(list, first);
    if (second) json_array_append_new(list, second);
    json_array_append_new(list, byte_level());
    json_t *root = json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
    int code = nb_pretokenize_open(root, out, err);
    json_decref(root);
    return code;
}

static int add_piece(void *user, nb_str piece, nb_error *err)
{
    (void)err;
    return json_array_append_new(user, json_stringn(piece.ptr, piece.len));
}

static json_t *pieces_of(const nb_pretokenizer *p, nb_str text)
{
    nb_error err = {0};
    json_t *pieces = json_array();
    nb_test_ok(nb_pretokenize(p, text, add_piece, pieces, &err), &err);
    return pieces;
}

static void expect_pieces(json_t *first, json_t *second, const char *text, const char *want)
{
    nb_error err = {0};
    nb_pretokenizer *p = NULL;
    nb_test_ok(open_steps(first, second, &p, &err), &err);
    json_t *pieces = pieces_of(p, nb_str_from(text));
    nb_buf got = {0};
    for (size_t i = 0; i < json_array_size(pieces); i++)
        nb_buf_printf(&got, "%s%s", i ? "|" : "", json_string_value(json_array_get(pieces, i)));
    assert_string_equal(got.ptr ? got.ptr : "", want);
    nb_buf_drop(&got);
    json_decref(pieces);
    nb_pretokenize_close(p);
}

static void check_splits(const char *pattern, const char *key)
{
    const char *path = nb_test_shared("golden/tokenizer/splits.json");
    if (!path) skip();
    nb_error err = {0};
    nb_pretokenizer *p = NULL;
    nb_test_ok(open_steps(split("Regex", pattern, "Isolated", false), NULL, &p, &err), &err);
    json_t *cases = nb_test_json(path), *one;
    size_t i;
    assert_true(json_array_size(cases) > 500);
    json_array_foreach(cases, i, one)
    {
        const json_t *text = json_object_get(one, "text");
        json_t *pieces = pieces_of(p, (nb_str){json_string_value(text), json_string_length(text)});
        if (!json_equal(pieces, json_object_get(one, key)))
            fail_msg("case %zu is cut differently: %s", i, json_string_value(text));
        json_decref(pieces);
    }
    json_decref(cases);
    nb_pretokenize_close(p);
}

static void published_strings_are_cut_as_qwen2_does(void **state)
{
    (void)state;
    check_splits(QWEN2, "qwen2");
}

static void published_strings_are_cut_as_qwen35_does(void **state)
{
    (void)state;
    check_splits(QWEN35, "qwen35");
}

static void behaviors_say_what_becomes_of_matches(void **state)
{
    (void)state;
    static const char text[] = "-a--b-";
    expect_pieces(split("Regex", "-", "Isolated", false), NULL, text, "-|a|-|-|b|-");
    expect_pieces(split("Regex", "-", "Removed", false), NULL, text, "a|b");
    expect_pieces(split("Regex", "-", "Removed", true), NULL, text, "-|-|-|-");
    expect_pieces(split("Regex", "-", "MergedWithPrevious", false), NULL, text, "-|a-|-|b-");
    expect_pieces(split("Regex", "-", "MergedWithNext", false), NULL, text, "-a|-|-b|-");
    expect_pieces(split("Regex", "-", "Contiguous", false), NULL, text, "-|a|--|b|-");
    expect_pieces(split("String", "--", "Isolated", false), NULL, "a--b.-", "a|--|b.-");
    expect_pieces(split("String", ".", "Isolated", false), NULL, "ab.c", "ab|.|c");
}

static void steps_see_only_their_piece(void **state)
{
    (void)state;
    expect_pieces(split("Regex", "[0-9]+", "Isolated", false), split("Regex", "^.|(?<=1).", "Isolated", false),
                  "ab12cd", "a|b|1|2|c|d");
    expect_pieces(json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1), NULL, "a12", "a|1|2");
    expect_pieces(json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 0), NULL, "a12", "a|12");
}

static void classes_mean_what_they_mean_in_oniguruma(void **state)
{
    (void)state;
    expect_pieces(split("Regex", "\\s+", "Isolated", false), NULL,
                  "a\xC2\x85\xE2\x80\x83"
                  "b",
                  "a|\xC2\x85\xE2\x80\x83|b");
    expect_pieces(split("Regex", "\\s+", "Isolated", false), NULL,
                  "a\xE1\xA0\x8E\xE2\x80\x8B"
                  "b",
                  "a\xE1\xA0\x8E\xE2\x80\x8B"
                  "b"); // U+180E and U+200B are no white space
    expect_pieces(split("Regex", "[^\\s]+", "Removed", false), NULL, "a b", " ");
    expect_pieces(split("Regex", "\\w+", "Isolated", false), NULL, "-e\xCC\x81_9-", "-|e\xCC\x81_9|-");
    expect_pieces(split("Regex", "(?i:'S)", "Isolated", false), NULL, "it's", "it|'s");
    expect_pieces(split("Regex", "[\\[\\]&]", "Isolated", false), NULL, "a[b&", "a|[|b|&");
    expect_pieces(split("Regex", "b*", "Isolated", false), NULL, "abba", "a|bb|a"); // empty matches do not cut
}

static void expect_refused(const char *pattern, const char *part)
{
    nb_error err = {0};
    nb_pretokenizer *p = NULL;
    nb_test_fails(open_steps(split("Regex", pattern, "Isolated", false), NULL, &p, &err), &err, part);
}

static void what_cannot_be_translated_is_refused(void **state)
{
    (void)state;
    expect_refused("\\h", "\\h");
    expect_refused("[a[b]]", "set inside");
    expect_refused("[a&&b]", "&&");
    expect_refused("(?m:.)", "flag m");
    expect_refused("(*UTF)a", "(*");
    expect_refused("(a", "does not compile");
    expect_refused("", "bytes");
    nb_error err = {0};
    nb_pretokenizer *p = NULL;
    nb_test_fails(open_steps(split("Regex", "a", "Sometimes", false), NULL, &p, &err), &err, "Sometimes");
    nb_test_fails(open_steps(byte_level(), NULL, &p, &err), &err, "twice");
}

static void an_expression_that_explodes_ends_with_an_error(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_pretokenizer *p = NULL;
    nb_test_ok(open_steps(split("Regex", "(a+)+\\z.", "Isolated", false), NULL, &p, &err), &err);
    char text[65];
    memset(text, 'a', 64);
    text[64] = 'b';
    json_t *pieces = json_array();
    nb_test_fails(nb_pretokenize(p, (nb_str){text, sizeof text}, add_piece, pieces, &err), &err, "gave up");
    json_decref(pieces);
    nb_pretokenize_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_strings_are_cut_as_qwen2_does),
        cmocka_unit_test(published_strings_are_cut_as_qwen35_does),
        cmocka_unit_test(behaviors_say_what_becomes_of_matches),
        cmocka_unit_test(steps_see_only_their_piece),
        cmocka_unit_test(classes_mean_what_they_mean_in_oniguruma),
        cmocka_unit_test(what_cannot_be_translated_is_refused),
        cmocka_unit_test(an_expression_that_explodes_ends_with_an_error),
    };
    return nb_test_run("text/tokenizer_pretokenize", tests);
}
