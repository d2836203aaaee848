// base/json: what is accepted, what is refused, and that messages name the field.
#include "support/check.h"

#include <string.h>

static json_t *parsed(const char *text)
{
    json_t *value = NULL;
    nb_error err = {0};
    nb_test_ok(nb_json_parse(nb_str_from(text), "text", &value, &err), &err);
    return value;
}

static void refused(nb_str text, const char *part)
{
    json_t *value = NULL;
    nb_error err = {0};
    nb_test_fails(nb_json_parse(text, "text", &value, &err), &err, part);
    assert_null(value);
}

static void the_last_of_duplicate_keys_may_win(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1,\"b\":{\"c\":2,\"c\":3},\"a\":4}";
    json_t *value = NULL;
    nb_error err = {0};
    nb_buf out = {0};
    refused(nb_str_from(text), "duplicate");
    nb_test_ok(nb_json_parse_last(nb_str_from(text), "text", &value, &err), &err);
    nb_json_write(value, &out);
    assert_string_equal(out.ptr, "{\"a\":4,\"b\":{\"c\":3}}");
    nb_buf_drop(&out);
    json_decref(value);
}

static void bad_text_is_refused_with_its_place(void **state)
{
    (void)state;
    refused(NB_STR(""), "text: is not valid JSON");
    refused((nb_str){0}, "text: is not valid JSON");
    refused(NB_STR("{\"a\":1,\n\"a\":2}"), "line 2");
    refused(NB_STR("[1]x"), "not valid JSON");
    refused(NB_STR("NaN"), "not valid JSON");
    refused(NB_STR("[1e999]"), "overflow");
    refused(NB_STR("\"\xff\""), "unable to decode byte 0xff");
    refused(NB_STR("\"\\"), "not valid JSON");
}

static void nesting_is_limited_before_parsing(void **state)
{
    (void)state;
    nb_buf deep = {0};
    for (int i = 0; i < 1000000; i++) nb_buf_add_char(&deep, '[');
    refused(nb_buf_str(&deep), "nested deeper than 128");
    nb_buf_clear(&deep);
    for (int i = 0; i < NB_JSON_DEPTH_MAX; i++) nb_buf_add_char(&deep, '[');
    for (int i = 0; i < NB_JSON_DEPTH_MAX; i++) nb_buf_add_char(&deep, ']');
    json_decref(parsed(deep.ptr));
    nb_buf_clear(&deep);
    nb_buf_add_c(&deep, "\"\\\"");
    for (int i = 0; i < 1000; i++) nb_buf_add_char(&deep, '{'); // inside a string: no nesting
    nb_buf_add_c(&deep, "\"");
    json_decref(parsed(deep.ptr));
    nb_buf_drop(&deep);
}

static void fields_are_typed(void **state)
{
    (void)state;
    json_t *object = parsed("{\"i\":7,\"x\":1.5,\"b\":true,\"s\":\"a\\u0000b\",\"n\":null}");
    nb_error err = {0};
    int64_t i = 0, kept = 3;
    double x = 0, from_int = 0;
    bool b = false;
    nb_str s;
    nb_test_ok(nb_json_int(object, "", "i", NB_JSON_REQUIRED, &i, &err), &err);
    nb_test_ok(nb_json_int(object, "", "n", NB_JSON_OPTIONAL, &kept, &err), &err);
    nb_test_ok(nb_json_int(object, "", "absent", NB_JSON_OPTIONAL, &kept, &err), &err);
    nb_test_ok(nb_json_double(object, "", "x", NB_JSON_REQUIRED, &x, &err), &err);
    nb_test_ok(nb_json_double(object, "", "i", NB_JSON_REQUIRED, &from_int, &err), &err);
    nb_test_ok(nb_json_bool(object, "", "b", NB_JSON_REQUIRED, &b, &err), &err);
    nb_test_ok(nb_json_str(object, "", "s", NB_JSON_REQUIRED, &s, &err), &err);
    assert_int_equal(i, 7);
    assert_int_equal(kept, 3);
    assert_true(x == 1.5 && from_int == 7 && b);
    assert_true(nb_str_equal(s, NB_STR("a\0b")));
    json_decref(object);
}

static void messages_name_the_field(void **state)
{
    (void)state;
    json_t *object = parsed("{\"x\":1.5,\"n\":null}");
    nb_error err = {0};
    int64_t i;
    nb_test_fails(nb_json_int(object, "text_config", "x", NB_JSON_REQUIRED, &i, &err), &err,
                  "text_config.x must be an integer, not a number with a fraction");
    nb_test_fails(nb_json_int(object, "", "n", NB_JSON_REQUIRED, &i, &err), &err, "n is missing");
    nb_test_fails(nb_json_int(NULL, "text_config", "x", NB_JSON_OPTIONAL, &i, &err), &err,
                  "text_config must be an object");
    json_decref(object);
}

static void writing_keeps_order_and_letters(void **state)
{
    (void)state;
    const char *text = "{\"z\":[1,\"\xc3\xa4/\"],\"a\":{},\"s\":\"\\u0000\"}";
    json_t *object = parsed(text);
    nb_buf out = {0};
    nb_json_write(object, &out);
    assert_string_equal(out.ptr, text);
    nb_buf_drop(&out);
    json_decref(object);
}

static void integers_beyond_64_bits_keep_their_digits(void **state)
{
    (void)state;
    nb_str text = NB_STR(
        "[9223372036854775807,-9223372036854775808,9223372036854775808,-12345678901234567890,\"99999999999999999999\","
        "{\"18446744073709551615\":18446744073709551615},1.5]");
    json_t *value = NULL;
    nb_error err = {0};
    nb_buf out = {0};
    nb_test_ok(nb_json_parse(text, "text", &value, &err), &err);
    assert_true(json_integer_value(json_array_get(value, 0)) == INT64_MAX);
    assert_true(json_integer_value(json_array_get(value, 1)) == INT64_MIN);
    assert_true(nb_str_equal_c(nb_json_big_integer(json_array_get(value, 3)), "-12345678901234567890"));
    assert_null(nb_json_big_integer(json_array_get(value, 4)).ptr);
    nb_json_write(value, &out);
    assert_true(nb_str_equal(nb_buf_str(&out), text));
    json_t *object = json_array_get(value, 5);
    int64_t integer;
    nb_str string;
    const char *key = "18446744073709551615";
    nb_test_fails(nb_json_int(object, "", key, NB_JSON_REQUIRED, &integer, &err), &err, "beyond 64 bits");
    nb_test_fails(nb_json_str(object, "", key, NB_JSON_REQUIRED, &string, &err), &err, "must be a string");
    nb_buf_drop(&out);
    json_decref(value);
}

static void a_string_with_the_mark_breaks_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"[\"\\u0000integer:1,2\"]", "[\"\\u0000integer:\"]",
                                        "[\"\\\"\\u0000integer:12\"]"};
    nb_buf out = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        json_t *value = parsed(texts[i]);
        nb_buf_clear(&out);
        nb_json_write(value, &out);
        assert_string_equal(out.ptr, texts[i]);
        json_decref(value);
    }
    nb_buf_drop(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_of_duplicate_keys_may_win),
        cmocka_unit_test(bad_text_is_refused_with_its_place),
        cmocka_unit_test(nesting_is_limited_before_parsing),
        cmocka_unit_test(fields_are_typed),
        cmocka_unit_test(messages_name_the_field),
        cmocka_unit_test(writing_keeps_order_and_letters),
        cmocka_unit_test(a_string_with_the_mark_breaks_nothing),
        cmocka_unit_test(integers_beyond_64_bits_keep_their_digits),
    };
    return nb_test_run("base/json", tests);
}
