// What the formats of nb_linear mean: sizes, and the decoder that every kernel is tested against.
#include "model/linear.h"

#include <stddef.h>
#include <string.h>

#include "numeric/nvfp4.h"

const char *nb_format_name(nb_format format)
{
    static const char *const name[NB_FORMAT_COUNT] = {"bf16", "f16", "f32", "fp8", "nvfp4"};
    return (unsigned)format < NB_FORMAT_COUNT ? name[format] : "unknown";
}

static int64_t blocks(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

int64_t nb_linear_bytes(const nb_linear *linear)
{
    int64_t n_out = linear->n_out, n_in = linear->n_in;
    switch (linear->format) {
    case NB_FORMAT_BF16:
    case NB_FORMAT_F16: return n_out * n_in * 2;
    case NB_FORMAT_F32: return n_out * n_in * 4;
    case NB_FORMAT_FP8:
        return n_out * n_in +
               blocks(n_out, linear->block_out) * blocks(n_in, linear->block_in) * (int64_t)sizeof(float);
    case NB_FORMAT_NVFP4: return n_out * (n_in / 2 + n_in / NB_NVFP4_BLOCK) + (int64_t)sizeof(float);
    case NB_FORMAT_COUNT: break;
    }
    return 0;
}

static void decode_fp8(const nb_linear *linear, int64_t i_out, int64_t from, int64_t n, float *w)
{
    const uint8_t *code = (const uint8_t *)linear->data + i_out * linear->n_in;
    const float *scale = linear->block_scale + i_out / linear->block_out * blocks(linear->n_in, linear->block_in);
    for (int64_t i = 0; i < n; i++) w[i] = nb_e4m3_to_f32(code[from + i]) * scale[(from + i) / linear->block_in];
}

static void decode_nvfp4(const nb_linear *linear, int64_t i_out, int64_t from, int64_t n, float *w)
{
    const uint8_t *packed = (const uint8_t *)linear->data + i_out * (linear->n_in / 2);
    const uint8_t *scale = linear->scale + i_out * (linear->n_in / NB_NVFP4_BLOCK);
    for (int64_t i = from; i < from + n; i++) *w++ = nb_nvfp4_element(packed, scale, i, linear->scale_2);
}

void nb_linear_decode_part(const nb_linear *linear, int64_t i_out, int64_t from, int64_t n, float *w)
{
    int64_t first = i_out * linear->n_in + from;
    const uint16_t *half = linear->data;
    switch (linear->format) {
    case NB_FORMAT_BF16:
        for (int64_t i = 0; i < n; i++) w[i] = nb_bf16_to_f32(half[first + i]);
        break;
    case NB_FORMAT_F16:
        for (int64_t i = 0; i < n; i++) w[i] = nb_f16_to_f32(half[first + i]);
        break;
    case NB_FORMAT_F32: memcpy(w, (const float *)linear->data + first, sizeof(float) * (size_t)n); break;
    case NB_FORMAT_FP8: decode_fp8(linear, i_out, from, n, w); break;
    case NB_FORMAT_NVFP4: decode_nvfp4(linear, i_out, from, n, w); break;
    case NB_FORMAT_COUNT: break;
    }
}

void nb_linear_decode_row(const nb_linear *linear, int64_t i_out, float *w)
{
    nb_linear_decode_part(linear, i_out, 0, linear->n_in, w);
}
