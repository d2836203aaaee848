// 16-bit floats as bits in uint16_t. Conversions are IEEE: to nearest, ties to even; NaN stays NaN.
#ifndef NB_BF16_H
#define NB_BF16_H

#include <stdint.h>
#include <string.h>

#include "numeric/host_device.h"

NB_HD uint32_t nb_f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

NB_HD float nb_f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

NB_HD float nb_bf16_to_f32(uint16_t h)
{
    return nb_f32_from_bits((uint32_t)h << 16);
}

NB_HD uint16_t nb_bf16_from_f32(float x)
{
    uint32_t bits = nb_f32_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u); // NaN, made quiet
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// IEEE binary16.
NB_HD float nb_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) return nb_f32_from_bits(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude < 0x400u) { // zero or subnormal: magnitude * 2^-24, exact
        float x = (float)magnitude * 5.9604644775390625e-08f;
        return sign ? -x : x;
    }
    return nb_f32_from_bits(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
}

#endif
