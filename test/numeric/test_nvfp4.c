// NVFP4 rows: the worked example of four blocks, the published rows byte for byte, and what a decoder must undo.
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numeric/nvfp4.h"

enum { ROW_MAX = 1024, LINE_MAX = 1 << 16 };

static int64_t hex_words(const char *hex, float *w) // bf16 words, 4 digits each
{
    int64_t n = 0;
    for (char digits[5] = {0}; hex[4 * n]; n++) {
        memcpy(digits, hex + 4 * n, 4);
        w[n] = nb_bf16_to_f32((uint16_t)strtoul(digits, NULL, 16));
    }
    return n;
}

static int64_t hex_bytes(const char *hex, uint8_t *out)
{
    int64_t n = 0;
    for (char digits[3] = {0}; hex[2 * n]; n++) {
        memcpy(digits, hex + 2 * n, 2);
        out[n] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return n;
}

static float hex_f32(const json_t *row, const char *key)
{
    return nb_f32_from_bits((uint32_t)strtoul(json_string_value(json_object_get(row, key)), NULL, 16));
}

// Four blocks worked by hand from ModelOpt's formulas: a scale that rounds down (its largest element saturates), an
// ordinary one, a zero block, and the tensor's maximum with a small negative that becomes -0.
static void the_worked_example_has_these_bytes(void **state)
{
    (void)state;
    static const char in[] = "bd48bc503cc0bd20bb403d08bcf03be03d30bca03c88bd3cbc203cd8bd140000"
                             "3c14bbd83b203c3cbb883ba0bc30bae03bf0bc083a403c20bbc03b503c48bb60"
                             "0000000000000000000000000000000000000000000000000000000000000000"
                             "b8d23db8bd103d18bdb4bc803d68bd8c3b803d9cbd483cc03dc4bcf03d30bda8";
    static const char packed_hex[] = "bfe5692ec7f45a0ed6724cafe6613db70000000000000000784cafe6603dc7f5";
    static const uint8_t scale_expected[] = {0x76, 0x66, 0x38, 0x7e};
    float w[64], decoded[64];
    uint8_t packed[32], scale[4], expected[32];
    hex_bytes(packed_hex, expected);
    assert_int_equal(hex_words(in, w), 64);
    float scale_2 = nb_nvfp4_scale_2(0.095703125f);
    assert_int_equal(nb_f32_bits(scale_2), 0x38155555);
    double sse = nb_nvfp4_encode_row(w, 64, scale_2, NB_NVFP4_MAX, packed, scale);
    assert_memory_equal(scale, scale_expected, sizeof scale);
    assert_memory_equal(packed, expected, sizeof packed);
    nb_nvfp4_decode_row(packed, scale, 64, scale_2, decoded);
    double error = 0;
    for (int i = 0; i < 64; i++) error += ((double)w[i] - decoded[i]) * ((double)w[i] - decoded[i]);
    assert_true(sse == error && sse > 0);
}

static void check_row(const json_t *row, const char *key, nb_nvfp4_method method, int *n_other)
{
    float w[ROW_MAX];
    uint8_t packed[ROW_MAX / 2], scale[ROW_MAX / 16], expected[ROW_MAX / 2], expected_scale[ROW_MAX / 16];
    const json_t *golden = json_object_get(row, key);
    int64_t n = hex_words(json_string_value(json_object_get(row, "in")), w);
    hex_bytes(json_string_value(json_object_get(golden, "packed")), expected);
    hex_bytes(json_string_value(json_object_get(golden, "scales")), expected_scale);
    double sse = nb_nvfp4_encode_row(w, n, nb_nvfp4_scale_2(hex_f32(row, "amax")), method, packed, scale);
    double golden_sse = json_number_value(json_object_get(golden, "sse"));
    bool same = !memcmp(packed, expected, (size_t)n / 2) && !memcmp(scale, expected_scale, (size_t)n / 16);
    *n_other += !same;
    if (fabs(sse - golden_sse) > 1e-12 * golden_sse) {
        fail_msg("%s row of kind %s: error %g, published %g", key, json_string_value(json_object_get(row, "kind")), sse,
                 golden_sse);
    }
}

static void published_rows_encode_to_the_same_bytes(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/nvfp4/rows.jsonl");
    if (!path) skip();
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    static char line[LINE_MAX];
    int n_row = 0, n_other = 0;
    while (fgets(line, sizeof line, file)) {
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        assert_int_equal(nb_f32_bits(nb_nvfp4_scale_2(hex_f32(row, "amax"))), nb_f32_bits(hex_f32(row, "s2")));
        check_row(row, "max", NB_NVFP4_MAX, &n_other);
        check_row(row, "sweep", NB_NVFP4_SWEEP, &n_other);
        json_decref(row);
        n_row++;
    }
    fclose(file);
    assert_int_equal(n_row, 2000);
    assert_int_equal(n_other, 0);
}

static void published_fp8_rows_encode_to_the_same_bytes(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/nvfp4/fp8_rows.jsonl");
    if (!path) skip();
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    static char line[LINE_MAX];
    float w[ROW_MAX];
    uint8_t expected[ROW_MAX];
    int n_row = 0;
    for (; fgets(line, sizeof line, file); n_row++) {
        json_t *row = json_loads(line, 0, NULL);
        int64_t n = hex_words(json_string_value(json_object_get(row, "in")), w);
        assert_int_equal(hex_bytes(json_string_value(json_object_get(row, "out")), expected), n);
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(nb_e4m3_from_f32(w[i] / hex_f32(row, "weight_scale")), expected[i]);
        }
        json_decref(row);
    }
    fclose(file);
    assert_int_equal(n_row, 395);
}

static void the_sweep_is_never_worse_than_the_maximum(void **state)
{
    (void)state;
    float w[32];
    uint8_t packed[16], scale[2];
    for (int round = 0; round < 50; round++) {
        float amax = 0;
        for (int i = 0; i < 32; i++) {
            w[i] = nb_bf16_to_f32(nb_bf16_from_f32(sinf((float)(round * 37 + i * i)) * expf((float)(i % 5))));
            amax = fmaxf(amax, fabsf(w[i]));
        }
        float scale_2 = nb_nvfp4_scale_2(amax);
        double max = nb_nvfp4_encode_row(w, 32, scale_2, NB_NVFP4_MAX, packed, scale);
        double sweep = nb_nvfp4_encode_row(w, 32, scale_2, NB_NVFP4_SWEEP, packed, scale);
        assert_true(sweep <= max);
    }
}

static void zero_rows_are_exact_and_have_a_usable_scale(void **state)
{
    (void)state;
    float w[16] = {0};
    uint8_t packed[8], scale[1];
    assert_true(nb_nvfp4_scale_2(0) == 1);
    assert_true(nb_nvfp4_encode_row(w, 16, 1, NB_NVFP4_MAX, packed, scale) == 0);
    assert_int_equal(scale[0], 0x38);
    assert_true(nb_nvfp4_encode_row(w, 16, 1, NB_NVFP4_SWEEP, packed, scale) == 0);
    assert_int_equal(scale[0], 0x01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example_has_these_bytes),
        cmocka_unit_test(published_rows_encode_to_the_same_bytes),
        cmocka_unit_test(published_fp8_rows_encode_to_the_same_bytes),
        cmocka_unit_test(the_sweep_is_never_worse_than_the_maximum),
        cmocka_unit_test(zero_rows_are_exact_and_have_a_usable_scale),
    };
    return nb_test_run("nvfp4", tests);
}
