// Encoding and decoding of NVFP4 rows; see nvfp4.h for the formulas' source. Products come before divisions and every
// step is binary32 on purpose: that order is what makes an encoding reproducible bit for bit.
#include "numeric/nvfp4.h"

#include <math.h>

static const uint8_t code_one = 0x38, code_last = 0x7e; // E4M3 of 1.0 and 448

float nb_nvfp4_scale_2(float amax)
{
    return amax > 0 ? amax / (NB_E2M1_MAX * NB_E4M3_MAX) : 1.0f;
}

// Element codes of one block for a given multiplier. code: [16].
static void block_codes(const float *w, float multiplier, uint8_t *code)
{
    for (int i = 0; i < NB_NVFP4_BLOCK; i++) code[i] = nb_e2m1_from_f32(w[i] / multiplier);
}

// Adds the squared errors of a block to `sum`, one after the other.
static double block_error(const float *w, const uint8_t *code, float block_scale, float scale_2, double sum)
{
    for (int i = 0; i < NB_NVFP4_BLOCK; i++) {
        double error = (double)w[i] - (double)(nb_e2m1_to_f32(code[i]) * block_scale * scale_2);
        sum += error * error;
    }
    return sum;
}

static uint8_t scale_of_max(const float *w, float scale_2)
{
    float amax = 0;
    for (int i = 0; i < NB_NVFP4_BLOCK; i++) amax = fmaxf(amax, fabsf(w[i]));
    float scale = amax / (NB_E2M1_MAX * scale_2);
    if (scale == 0) return code_one;
    return nb_e4m3_from_f32(fminf(fmaxf(scale, NB_E4M3_MIN_SUBNORMAL), NB_E4M3_MAX));
}

static uint8_t scale_of_sweep(const float *w, float scale_2)
{
    uint8_t best = 1, code[NB_NVFP4_BLOCK];
    double least = INFINITY;
    for (uint8_t candidate = 1; candidate <= code_last; candidate++) {
        float scale = nb_e4m3_to_f32(candidate);
        block_codes(w, scale * scale_2, code);
        double error = block_error(w, code, scale, scale_2, 0);
        if (error < least) {
            least = error;
            best = candidate;
        }
    }
    return best;
}

double nb_nvfp4_encode_row(const float *w, int64_t n, float scale_2, nb_nvfp4_method method, uint8_t *packed,
                           uint8_t *scale)
{
    double sse = 0;
    for (int64_t b = 0; b < n / NB_NVFP4_BLOCK; b++) {
        const float *block = w + b * NB_NVFP4_BLOCK;
        uint8_t code[NB_NVFP4_BLOCK], *out = packed + b * NB_NVFP4_BLOCK / 2;
        scale[b] = method == NB_NVFP4_MAX ? scale_of_max(block, scale_2) : scale_of_sweep(block, scale_2);
        float block_scale = nb_e4m3_to_f32(scale[b]);
        block_codes(block, block_scale * scale_2, code);
        for (int i = 0; i < NB_NVFP4_BLOCK / 2; i++) out[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
        sse = block_error(block, code, block_scale, scale_2, sse);
    }
    return sse;
}

void nb_nvfp4_decode_row(const uint8_t *packed, const uint8_t *scale, int64_t n, float scale_2, float *w)
{
    for (int64_t i = 0; i < n; i++) w[i] = nb_nvfp4_element(packed, scale, i, scale_2);
}
