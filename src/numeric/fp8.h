// E4M3 (the "fn" kind: no infinities, 0x7f and 0xff are NaN, largest finite value 448) as bits in uint8_t.
// Source of the format: OCP 8-bit Floating Point Specification 1.0; NVFP4's block scales are this format too.
#ifndef NB_FP8_H
#define NB_FP8_H

#include "numeric/bf16.h"

#define NB_E4M3_MAX           448.0f
#define NB_E4M3_MIN_SUBNORMAL 0.001953125f // 2^-9

NB_HD float nb_e4m3_to_f32(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, exponent = (code >> 3) & 15u, mantissa = code & 7u;
    if ((code & 0x7fu) == 0x7fu) return nb_f32_from_bits(sign | 0x7fc00000u);
    if (exponent == 0) {
        float x = (float)mantissa * NB_E4M3_MIN_SUBNORMAL;
        return sign ? -x : x;
    }
    return nb_f32_from_bits(sign | ((exponent + 120u) << 23) | (mantissa << 20));
}

// To nearest, ties to even; beyond the range it saturates at 448 (as checkpoints and tensor cores do); the sign of zero
// is kept; NaN gives 0x7f with the sign.
NB_HD uint8_t nb_e4m3_from_f32(float x)
{
    uint32_t bits = nb_f32_bits(x), magnitude = bits & 0x7fffffffu;
    uint8_t sign = (uint8_t)((bits >> 24) & 0x80u);
    if (magnitude > 0x7f800000u) return (uint8_t)(sign | 0x7fu);
    if (magnitude >= 0x43e00000u) return (uint8_t)(sign | 0x7eu); // 448 and above
    if (magnitude < 0x3c800000u) {                                // below 2^-6: a multiple of 2^-9
        float scaled = nb_f32_from_bits(magnitude) * 512.0f;      // exact: a power of two
        uint32_t whole = (uint32_t)scaled;
        float rest = scaled - (float)whole;
        if (rest > 0.5f || (rest == 0.5f && (whole & 1u))) whole++;
        return (uint8_t)(sign | whole);
    }
    uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
    uint32_t code = (rounded >> 20) - (120u << 3);
    return (uint8_t)(sign | (code > 0x7eu ? 0x7eu : code));
}

#endif
