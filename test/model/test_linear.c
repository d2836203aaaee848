// What the formats of a linear mean: sizes in bytes, and rows decoded whole and in parts.
#include "support/check.h"

#include <string.h>

#include "model/linear.h"
#include "numeric/nvfp4.h"

static void formats_have_names(void **state)
{
    (void)state;
    static const char *const name[NB_FORMAT_COUNT] = {"bf16", "f16", "f32", "fp8", "nvfp4"};
    for (int i = 0; i < NB_FORMAT_COUNT; i++) assert_string_equal(nb_format_name((nb_format)i), name[i]);
    assert_string_equal(nb_format_name(NB_FORMAT_COUNT), "unknown");
}

static void bytes_count_data_and_scales(void **state)
{
    (void)state;
    nb_linear l = {.n_out = 130, .n_in = 256, .block_out = 128, .block_in = 128};
    static const int64_t expected[NB_FORMAT_COUNT] = {130 * 256 * 2, 130 * 256 * 2, 130 * 256 * 4,
                                                      130 * 256 + 2 * 2 * 4, 130 * 128 + 130 * 16 + 4};
    for (int i = 0; i < NB_FORMAT_COUNT; i++) {
        l.format = (nb_format)i;
        assert_int_equal(nb_linear_bytes(&l), expected[i]);
    }
    l = (nb_linear){.format = NB_FORMAT_BF16, .n_out = 1 << 20, .n_in = 1 << 20};
    assert_true(nb_linear_bytes(&l) == 1ll << 41);
}

static void rows_of_16_and_32_bits_decode_to_their_values(void **state)
{
    (void)state;
    static const uint16_t bf16[6] = {0x3f80, 0xbf80, 0x4000, 0x3f00, 0x0001, 0x8000};
    static const uint16_t f16[6] = {0x3c00, 0xbc00, 0x4000, 0x3800, 0x0001, 0x8000};
    static const float f32[6] = {1, -1, 2, 0.5f, 0x1p-149f, -0.0f};
    nb_linear l = {.format = NB_FORMAT_BF16, .n_out = 2, .n_in = 3, .data = bf16};
    float w[3];
    nb_linear_decode_row(&l, 0, w);
    assert_memory_equal(w, ((float[]){1, -1, 2}), sizeof w);
    nb_linear_decode_row(&l, 1, w);
    assert_memory_equal(w, ((float[]){0.5f, 0x1p-133f, -0.0f}), sizeof w);
    l.format = NB_FORMAT_F16;
    l.data = f16;
    nb_linear_decode_row(&l, 1, w);
    assert_memory_equal(w, ((float[]){0.5f, 0x1p-24f, -0.0f}), sizeof w);
    l.format = NB_FORMAT_F32;
    l.data = f32;
    nb_linear_decode_row(&l, 1, w);
    assert_memory_equal(w, f32 + 3, sizeof w);
}

static void fp8_scales_belong_to_blocks_of_outputs_and_inputs(void **state)
{
    (void)state;
    uint8_t one[5 * 7];
    memset(one, 0x38, sizeof one);
    static const float scale[3 * 3] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    nb_linear l = {.format = NB_FORMAT_FP8,
                   .n_out = 5,
                   .n_in = 7,
                   .data = one,
                   .block_scale = scale,
                   .block_out = 2,
                   .block_in = 3};
    for (int out = 0; out < 5; out++) {
        float w[7];
        nb_linear_decode_row(&l, out, w);
        for (int in = 0; in < 7; in++) assert_true(w[in] == scale[out / 2 * 3 + in / 3]);
    }
}

static void nvfp4_takes_low_nibbles_first_and_its_two_scales(void **state)
{
    (void)state;
    uint8_t packed[2 * 16] = {0}, scale[4] = {0x38, 0x40, 0x48, 0x50}; // 1, 2, 4, 8
    packed[16] = 0xf1;                                                 // row 1: 0.5, -6
    packed[24] = 0x2a;                                                 // its second block: -1, 1
    nb_linear l = {.format = NB_FORMAT_NVFP4, .n_out = 2, .n_in = 32, .data = packed, .scale = scale, .scale_2 = 0.25f};
    float w[32];
    nb_linear_decode_row(&l, 1, w);
    assert_true(w[0] == 0.5f && w[1] == -6 && w[2] == 0 && w[16] == -2 && w[17] == 2);
}

static void parts_are_parts_of_the_row(void **state)
{
    (void)state;
    uint8_t data[96 * 3], scale[18];
    float row[96], part[96], block_scale[3 * 20];
    for (int i = 0; i < 96 * 3; i++) data[i] = (uint8_t)(i * 29 % 0x7f);
    for (int i = 0; i < 18; i++) scale[i] = (uint8_t)(0x30 + i);
    for (int i = 0; i < 60; i++) block_scale[i] = 1 + (float)i;
    nb_linear l = {.n_out = 3,
                   .n_in = 96,
                   .data = data,
                   .scale = scale,
                   .scale_2 = 0.5f,
                   .block_scale = block_scale,
                   .block_out = 1,
                   .block_in = 5};
    static const nb_format format[] = {NB_FORMAT_FP8, NB_FORMAT_NVFP4};
    for (int f = 0; f < 2; f++) {
        l.format = format[f];
        nb_linear_decode_row(&l, 2, row);
        for (int from = 0; from < 96; from += 7) {
            int n = 96 - from < 11 ? 96 - from : 11;
            nb_linear_decode_part(&l, 2, from, n, part);
            assert_memory_equal(part, row + from, sizeof(float) * (size_t)n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_have_names),
        cmocka_unit_test(bytes_count_data_and_scales),
        cmocka_unit_test(rows_of_16_and_32_bits_decode_to_their_values),
        cmocka_unit_test(fp8_scales_belong_to_blocks_of_outputs_and_inputs),
        cmocka_unit_test(nvfp4_takes_low_nibbles_first_and_its_two_scales),
        cmocka_unit_test(parts_are_parts_of_the_row),
    };
    return nb_test_run("linear", tests);
}
