// Conversions of bf16, f16, E4M3 and E2M1: every code, and every boundary between two of them.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>

#include "numeric/nvfp4.h"

// Value of an E4M3 code by the format's definition, in binary64.
static double e4m3_defined(int code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    double m = exponent ? ldexp(1 + mantissa / 8.0, exponent - 7) : ldexp(mantissa / 8.0, -6);
    return code & 0x80 ? -m : m;
}

static void e4m3_codes_have_the_defined_values_and_return(void **state)
{
    (void)state;
    for (int code = 0; code < 256; code++) {
        float x = nb_e4m3_to_f32((uint8_t)code);
        if ((code & 0x7f) == 0x7f) {
            assert_true(isnan(x));
        } else {
            assert_true((double)x == e4m3_defined(code));
        }
        assert_int_equal(nb_e4m3_from_f32(x), code);
    }
}

static void check_e4m3(float x, int code)
{
    if (nb_e4m3_from_f32(x) != code) fail_msg("e4m3(%a) is %02x, not %02x", (double)x, nb_e4m3_from_f32(x), code);
    if (nb_e4m3_from_f32(-x) != (code | 0x80)) fail_msg("e4m3(%a) is not %02x", (double)-x, code | 0x80);
}

static void e4m3_rounds_to_nearest_even_and_saturates(void **state)
{
    (void)state;
    for (int code = 0; code < 0x7e; code++) {
        float middle = (float)((e4m3_defined(code) + e4m3_defined(code + 1)) / 2); // exact
        check_e4m3(middle, code + (code & 1));
        check_e4m3(nextafterf(middle, 0), code);
        check_e4m3(nextafterf(middle, INFINITY), code + 1);
    }
    static const float large[] = {448, 448.00003f, 455, 463.99997f, 464, 464.00003f, 479, 480, 1e30f, INFINITY};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) check_e4m3(large[i], 0x7e);
    check_e4m3(0, 0);
    check_e4m3(0x1p-149f, 0);
    assert_int_equal(nb_e4m3_from_f32(NAN) & 0x7f, 0x7f);
}

static void e4m3_equals_the_published_tables(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/nvfp4/e4m3_round.json");
    if (!path) skip();
    json_t *root = nb_test_json(path), *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 1000);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const char *in = json_string_value(json_array_get(json_array_get(cases, i), 0));
        const char *out = json_string_value(json_array_get(json_array_get(cases, i), 1));
        float x = nb_f32_from_bits((uint32_t)strtoul(in, NULL, 16));
        assert_int_equal(nb_e4m3_from_f32(x), strtoul(out, NULL, 16));
    }
    json_decref(root);
    root = nb_test_json(nb_test_shared("golden/nvfp4/tables.json"));
    for (size_t i = 0; i < 256; i++) {
        json_t *value = json_array_get(json_object_get(root, "e4m3"), i);
        float x = nb_e4m3_to_f32((uint8_t)i);
        assert_true(json_is_null(value) ? isnan(x) : (double)x == json_number_value(value));
        if (i < 16) {
            double e2m1 = json_number_value(json_array_get(json_object_get(root, "e2m1"), i));
            assert_true((double)nb_e2m1_to_f32((uint8_t)i) == e2m1);
        }
    }
    json_decref(root);
}

static void e2m1_rounds_ties_to_the_even_code(void **state)
{
    (void)state;
    static const float value[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int code = 0; code < 7; code++) {
        float middle = (value[code] + value[code + 1]) / 2;
        assert_int_equal(nb_e2m1_from_f32(middle), code + (code & 1));
        assert_int_equal(nb_e2m1_from_f32(nextafterf(middle, 0)), code);
        assert_int_equal(nb_e2m1_from_f32(nextafterf(middle, 9)), code + 1);
        assert_int_equal(nb_e2m1_from_f32(-middle), 8 + code + (code & 1));
        assert_true(nb_e2m1_to_f32((uint8_t)code) == value[code]);
        assert_true(nb_e2m1_to_f32((uint8_t)(code + 8)) == -value[code] &&
                    signbit(nb_e2m1_to_f32((uint8_t)(code + 8))));
    }
    assert_int_equal(nb_e2m1_from_f32(1e30f), 7);
    assert_int_equal(nb_e2m1_from_f32(-0.0f), 0);
    assert_int_equal(nb_e2m1_from_f32(-1e-30f), 8);
}

static void bf16_words_return_and_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t word = 0; word < 0x10000; word++) {
        float x = nb_bf16_to_f32((uint16_t)word);
        if (isnan(x)) {
            assert_true(isnan(nb_bf16_to_f32(nb_bf16_from_f32(x))));
            continue;
        }
        assert_int_equal(nb_bf16_from_f32(x), word);
        if (isinf(x)) continue;
        uint32_t middle = word << 16 | 0x8000;
        assert_int_equal(nb_bf16_from_f32(nb_f32_from_bits(middle)), word + (word & 1));
        assert_int_equal(nb_bf16_from_f32(nb_f32_from_bits(middle - 1)), word);
        assert_int_equal(nb_bf16_from_f32(nb_f32_from_bits(middle + 1)), word + 1);
    }
    assert_true(isnan(nb_bf16_to_f32(nb_bf16_from_f32(nb_f32_from_bits(0x7f800001u))))); // payload only in the low half
}

static void f16_words_have_the_ieee_values(void **state)
{
    (void)state;
    for (int word = 0; word < 0x8000; word++) {
        int exponent = word >> 10, mantissa = word & 0x3ff;
        double value = exponent ? ldexp(1 + mantissa / 1024.0, exponent - 15) : ldexp(mantissa, -24);
        if (exponent == 31) value = mantissa ? NAN : INFINITY;
        float x = nb_f16_to_f32((uint16_t)word), negative = nb_f16_to_f32((uint16_t)(word | 0x8000));
        assert_true(isnan(value) ? isnan(x) : (double)x == value && (double)negative == -value && signbit(negative));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e4m3_codes_have_the_defined_values_and_return),
        cmocka_unit_test(e4m3_rounds_to_nearest_even_and_saturates),
        cmocka_unit_test(e4m3_equals_the_published_tables),
        cmocka_unit_test(e2m1_rounds_ties_to_the_even_code),
        cmocka_unit_test(bf16_words_return_and_round_to_nearest_even),
        cmocka_unit_test(f16_words_have_the_ieee_values),
    };
    return nb_test_run("float_formats", tests);
}
