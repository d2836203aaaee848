// The values of dummy weights, 16 bytes at a time: a function of (seed, index of the 16 bytes) through Philox, the same
// on host and device. A device fills its own copy by calling nb_synth_16_bytes for every 16 bytes of a matrix's data
// (and nb_synth_scale_16_bytes for its NVFP4 scales); a last, shorter piece takes the first bytes.
//
// Every matrix has mean 0 and standard deviation 1 / sqrt(n_in), so that activations keep their size through the
// layers:
//   BF16   uniform in +-sqrt(3 / n_in)
//   FP8    any byte but NaN, equal scales
//   NVFP4  any nibble, block scales 1 to 1.875, scale_2
// The constants below are the standard deviations of such codes, sqrt of the mean of the squares of all codes.
#ifndef NB_SYNTH_VALUES_H
#define NB_SYNTH_VALUES_H

#include <math.h>

#include "model/linear.h"
#include "numeric/bf16.h"
#include "numeric/random.h"

#define NB_SYNTH_FP8_STD   99.666109f // of all E4M3 codes, NaN counted as 0
#define NB_SYNTH_NVFP4_STD 4.2890554f // of the 16 nibbles, 2.9261750, times that of the block scales, 1.4657549

typedef struct nb_synth_bytes {
    uint8_t v[16];
} nb_synth_bytes;

NB_HD float nb_synth_std(int n_in)
{
    return 1.0f / sqrtf((float)n_in);
}

// Uniform in (-1, 1) with steps of 2^-15.
NB_HD float nb_synth_uniform(uint32_t bits16)
{
    return ((float)bits16 + 0.5f) * (1.0f / 32768.0f) - 1.0f;
}

NB_HD nb_synth_bytes nb_synth_random(uint64_t seed, uint64_t index, uint64_t stream)
{
    nb_random4 r = nb_random_philox(seed, index, stream);
    nb_synth_bytes out;
    for (int i = 0; i < 16; i++) out.v[i] = (uint8_t)(r.v[i / 4] >> 8 * (i % 4));
    return out;
}

// Bytes [16 * index, 16 * index + 16) of the data of a matrix in BF16, FP8 or NVFP4.
NB_HD nb_synth_bytes nb_synth_16_bytes(nb_format format, uint64_t seed, uint64_t index, int n_in)
{
    nb_synth_bytes out = nb_synth_random(seed, index, 0);
    if (format == NB_FORMAT_BF16) {
        float amplitude = 1.7320508f * nb_synth_std(n_in);
        for (int i = 0; i < 16; i += 2) {
            uint16_t half =
                nb_bf16_from_f32(amplitude * nb_synth_uniform((uint32_t)out.v[i] | (uint32_t)out.v[i + 1] << 8));
            out.v[i] = (uint8_t)half;
            out.v[i + 1] = (uint8_t)(half >> 8);
        }
    } else if (format == NB_FORMAT_FP8) {
        for (int i = 0; i < 16; i++)
            if ((out.v[i] & 0x7f) == 0x7f) out.v[i] &= 0x80; // NaN becomes a zero
    }
    return out;
}

// The same for the block scales of an NVFP4 matrix: codes 0x38 to 0x3f.
NB_HD nb_synth_bytes nb_synth_scale_16_bytes(uint64_t seed, uint64_t index)
{
    nb_synth_bytes out = nb_synth_random(seed, index, 1);
    for (int i = 0; i < 16; i++) out.v[i] = (uint8_t)(0x38 | (out.v[i] & 7));
    return out;
}

#endif
