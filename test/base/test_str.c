// base/str: slices, the growable buffer, UTF-8.
#include "support/check.h"

#include <string.h>

#include "base/str.h"

static void slices_clamp_and_compare(void **state)
{
    (void)state;
    nb_str s = NB_STR("quantize");
    assert_true(nb_str_equal_c(nb_str_slice(s, 2, 5), "ant"));
    assert_int_equal(nb_str_slice(s, 6, 100).len, 2);
    assert_int_equal(nb_str_slice(s, 9, 3).len, 0);
    assert_int_equal(nb_str_slice((nb_str){0}, 1, 3).len, 0);
    assert_true(nb_str_starts(s, NB_STR("quant")) && nb_str_ends(s, NB_STR("ize")));
    assert_false(nb_str_starts(NB_STR("q"), s));
    assert_false(nb_str_ends(NB_STR("e"), s));
    assert_int_equal(nb_str_find(s, NB_STR("t"), 0), 4);
    assert_int_equal(nb_str_find(s, NB_STR("t"), 5), -1);
    assert_int_equal(nb_str_find(s, NB_STR(""), 8), 8);
    assert_int_equal(nb_str_find(s, NB_STR("q"), 9), -1);
    assert_int_equal(nb_str_find((nb_str){0}, NB_STR("q"), 0), -1);
    assert_int_equal(nb_str_find((nb_str){0}, NB_STR(""), 0), 0);
    assert_true(nb_str_equal(nb_str_from(NULL), (nb_str){0}));
}

static void buffer_grows_and_keeps_a_nul(void **state)
{
    (void)state;
    nb_buf b = {0};
    nb_buf_add(&b, NULL, 0);
    for (int i = 0; i < 1000; i++) nb_buf_printf(&b, "%d,", i);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(b.ptr), b.len);
    nb_buf_clear(&b);
    assert_string_equal(b.ptr, "");
    nb_buf_add_c(&b, "a");
    nb_buf_add_char(&b, 0);
    assert_true(nb_str_equal(nb_buf_str(&b), NB_STR("a\0")));
    nb_buf_drop(&b);
    assert_int_equal(nb_buf_str(&b).len, 0);
}

static void every_code_point_survives_utf8(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        char bytes[4];
        nb_str s = {bytes, (size_t)nb_utf8_encode(c, bytes)};
        size_t at = 0;
        if (nb_utf8_decode(s, &at) != c || at != s.len || !nb_utf8_valid(s)) fail_msg("U+%04X", c);
        for (size_t n = 1; n < s.len; n++) {
            nb_str cut = nb_str_slice(s, 0, n);
            if (nb_utf8_complete(cut) != 0 || nb_utf8_valid(cut)) fail_msg("U+%04X cut at %zu", c, n);
        }
    }
}

// The examples of Unicode 15, section 3.9: one U+FFFD for each maximal part.
static void invalid_parts_become_one_replacement_each(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t expected[12];
    } cases[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41",
         {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0x41}},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41",
         {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0x41}},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0x41, 0xFFFD, 0xFFFD, 0x42}},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", {0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD, 0x41}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        nb_str s = nb_str_from(cases[i].bytes);
        size_t at = 0;
        for (int k = 0; cases[i].expected[k]; k++) assert_int_equal(nb_utf8_decode(s, &at), cases[i].expected[k]);
        assert_int_equal(at, s.len);
    }
}

static void only_open_ends_are_incomplete(void **state)
{
    (void)state;
    assert_int_equal(nb_utf8_complete(NB_STR("ab\xC3\xA4")), 4);
    assert_int_equal(nb_utf8_complete(NB_STR("ab\xF0\x9F\x98")), 2);
    assert_int_equal(nb_utf8_complete(NB_STR("ab\xFF")), 3);     // no more bytes can repair it
    assert_int_equal(nb_utf8_complete(NB_STR("ab\xE0\x80")), 4); // nor this
    assert_int_equal(nb_utf8_complete(NB_STR("\x80\x80\x80\x80")), 4);
    assert_int_equal(nb_utf8_complete(NB_STR("")), 0);
}

static void unencodable_becomes_a_replacement(void **state)
{
    (void)state;
    char bytes[4];
    assert_int_equal(nb_utf8_encode(0xD800, bytes), 3);
    assert_memory_equal(bytes, "\xEF\xBF\xBD", 3);
    assert_int_equal(nb_utf8_encode(0x110000, bytes), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_clamp_and_compare),       cmocka_unit_test(buffer_grows_and_keeps_a_nul),
        cmocka_unit_test(every_code_point_survives_utf8), cmocka_unit_test(invalid_parts_become_one_replacement_each),
        cmocka_unit_test(only_open_ends_are_incomplete),  cmocka_unit_test(unencodable_becomes_a_replacement),
    };
    return nb_test_run("base/str", tests);
}
