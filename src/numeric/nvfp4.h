// NVFP4: 4-bit floats (E2M1), one E4M3 scale per block of 16 along the input axis, one binary32 scale per tensor.
//
//   value = e2m1(nibble) * e4m3(block scale) * scale_2        element 2i is the LOW nibble of byte i
//
// This header and nvfp4.c are the one definition of the format: the quantizer encodes with it, every kernel decodes to
// it. Formulas: NVIDIA ModelOpt, modelopt/torch/quantization/qtensor/nvfp4_tensor.py. All arithmetic is binary32 in the
// stated order, so encodings are reproducible bit for bit.
#ifndef NB_NVFP4_H
#define NB_NVFP4_H

#include "numeric/fp8.h"

enum { NB_NVFP4_BLOCK = 16 };
#define NB_E2M1_MAX 6.0f

// Codes 0..7 are 0, 0.5, 1, 1.5, 2, 3, 4, 6; bit 3 is the sign (code 8 is -0).
NB_HD float nb_e2m1_to_f32(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 8u) << 28, exponent = (code >> 1) & 3u, mantissa = code & 1u;
    if (exponent == 0) return nb_f32_from_bits(sign | (mantissa ? 0x3f000000u : 0u));
    return nb_f32_from_bits(sign | ((exponent + 126u) << 23) | (mantissa << 22));
}

// Nearest, ties to the even code, saturating at 6. Sign only for x < 0: -0.0 gives code 0, a small negative code 8.
NB_HD uint8_t nb_e2m1_from_f32(float x)
{
    float m = x < 0 ? -x : x;
    uint8_t code = m <= 0.25f   ? 0
                   : m < 0.75f  ? 1
                   : m <= 1.25f ? 2
                   : m < 1.75f  ? 3
                   : m <= 2.5f  ? 4
                   : m < 3.5f   ? 5
                   : m <= 5.0f  ? 6
                                : 7;
    return (uint8_t)(code | (x < 0 ? 8u : 0u));
}

// Element i of a row.
NB_HD float nb_nvfp4_element(const uint8_t *packed, const uint8_t *scale, int64_t i, float scale_2)
{
    uint8_t code = (uint8_t)(packed[i / 2] >> (i % 2 * 4) & 15);
    return nb_e2m1_to_f32(code) * nb_e4m3_to_f32(scale[i / NB_NVFP4_BLOCK]) * scale_2;
}

// scale_2 of a tensor whose largest magnitude is `amax`: amax / (6 * 448). All zero: 1.0, our convention.
float nb_nvfp4_scale_2(float amax);

// How the scale of a block is chosen.
typedef enum nb_nvfp4_method {
    NB_NVFP4_MAX,   // block amax / (6 * scale_2), nearest E4M3 within [2^-9, 448]; a zero block gets 1.0
    NB_NVFP4_SWEEP, // of the 126 positive E4M3 codes in ascending order, the first with the least squared error
} nb_nvfp4_method;

// Encodes one row. w: [n] with n a multiple of 16; packed: [n / 2]; scale: [n / 16] E4M3 bytes.
// Returns the sum of squared errors of the decoded row, summed in binary64 in order.
double nb_nvfp4_encode_row(const float *w, int64_t n, float scale_2, nb_nvfp4_method method, uint8_t *packed,
                           uint8_t *scale);

// Decodes one row: the oracle of every kernel. w: [n].
void nb_nvfp4_decode_row(const uint8_t *packed, const uint8_t *scale, int64_t n, float scale_2, float *w);

#endif
