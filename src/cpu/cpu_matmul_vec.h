// The matrix product over the vector layer that was included before; cpu_matmul_avx2.c and cpu_matmul_avx512.c are this
// file compiled twice.
//
// Order of summation, the same on every path (that is invariant 1 of cpu_kernels.h): the inputs of a row are cut into
// segments of at most SEGMENT, also at the borders of FP8 blocks. Within a segment lane i adds the inputs i, i + STEP,
// ...; then total += segment's sum * scale, lane by lane; at the end the lanes are added. NVFP4 block scales are
// multiplied into the weight (exact: 2 and 4 significant bits); scale_2 and FP8 scales are the segment's scale.
//
// Weights of OUTS outputs are decoded in registers and used for up to TILE rows. With more rows than that, a segment is
// decoded once into a buffer in L1, which then plays the part of an F32 weight.
#include <math.h>

#include "cpu/cpu_kernels_internal.h"
#include "numeric/nvfp4.h"

enum { OUTS = NB_CPU_OUT_STEP, SEGMENT = 512, GROUP = 32, SCALES = SEGMENT / NB_NVFP4_BLOCK };
enum { INPUT_F32, INPUT_BF16 }; // kinds of input as the inner loop sees them

typedef struct weights { // OUTS rows of one segment
    const void *data[OUTS];
    float scale[OUTS];               // of the whole segment
    float block_scale[OUTS][SCALES]; // NVFP4
} weights;

typedef struct rows { // inputs of one segment
    const void *x;    // first row, first input of the segment
    int64_t stride;
    int n_row, n; // n: inputs
} rows;

typedef vf totals[GROUP][OUTS];

NB_VEC vf load_input(int kind, const rows *x, int row, int i, int n)
{
    int64_t at = row * x->stride + i;
    if (kind == INPUT_F32) {
        const float *p = (const float *)x->x + at;
        return n == VF ? vf_load(p) : vf_load_part(p, n);
    }
    const uint16_t *p = (const uint16_t *)x->x + at;
    return n == VF ? vf_load_bf16(p) : vf_load_bf16_part(p, n);
}

// Weights i .. i + n of output `out`, n <= VF. NVFP4 rows are whole blocks, so there n is VF.
NB_VEC vf load_weight(nb_format format, const weights *w, int out, int i, int n)
{
    const uint16_t *half = (const uint16_t *)w->data[out] + i;
    const uint8_t *byte = (const uint8_t *)w->data[out] + i;
    switch (format) {
    case NB_FORMAT_BF16: return n == VF ? vf_load_bf16(half) : vf_load_bf16_part(half, n);
    case NB_FORMAT_F16: return n == VF ? vf_load_f16(half) : vf_load_f16_part(half, n);
    case NB_FORMAT_FP8: return n == VF ? vf_load_e4m3(byte) : vf_load_e4m3_part(byte, n);
    case NB_FORMAT_NVFP4:
        return vf_mul(vf_load_e2m1((const uint8_t *)w->data[out] + i / 2),
                      vf_set(w->block_scale[out][i / NB_NVFP4_BLOCK]));
    default: break;
    }
    const float *p = (const float *)w->data[out] + i;
    return n == VF ? vf_load(p) : vf_load_part(p, n);
}

// One step of the inner loop over OUTS x n_row sums. All constants but pointers and i are known when this is compiled.
NB_VEC void tile_step(nb_format format, int kind, const weights *w, const rows *x, int row, int n_row, int i, int n,
                      vf sum[TILE][OUTS])
{
    for (int r = 0; r < n_row; r++) {
        vf in = load_input(kind, x, row + r, i, n);
        for (int o = 0; o < OUTS; o++) sum[r][o] = vf_fma(load_weight(format, w, o, i, n), in, sum[r][o]);
    }
}

NB_VEC void tile(nb_format format, int kind, const weights *w, const rows *x, int row, int n_row, totals total)
{
    vf sum[TILE][OUTS];
    int i = 0;
    for (int r = 0; r < n_row; r++) {
        for (int o = 0; o < OUTS; o++) sum[r][o] = vf_set(0);
    }
    for (; i + VF <= x->n; i += VF) tile_step(format, kind, w, x, row, n_row, i, VF, sum);
    if (i < x->n) tile_step(format, kind, w, x, row, n_row, i, x->n - i, sum);
    for (int r = 0; r < n_row; r++) {
        for (int o = 0; o < OUTS; o++) total[row + r][o] = vf_fma(sum[r][o], vf_set(w->scale[o]), total[row + r][o]);
    }
}

// Where the segment that begins at input `from` ends: at SEGMENT inputs, or at the border of an FP8 block.
NB_VEC int segment_end(const nb_linear *l, int from)
{
    int to = from + SEGMENT < l->n_in ? from + SEGMENT : l->n_in;
    if (l->format != NB_FORMAT_FP8) return to;
    int border = (from / l->block_in + 1) * l->block_in;
    return border < to ? border : to;
}

NB_VEC const void *weight_at(const nb_linear *l, int64_t out, int from)
{
    int64_t at = out * l->n_in + from;
    switch (l->format) {
    case NB_FORMAT_FP8: return (const uint8_t *)l->data + at;
    case NB_FORMAT_NVFP4: return (const uint8_t *)l->data + at / 2;
    case NB_FORMAT_F32: return (const float *)l->data + at;
    default: return (const uint16_t *)l->data + at;
    }
}

// The OUTS rows from `out` of one segment; rows past n_out repeat the last one and are not used.
NB_VEC void open_weights(const nb_linear *l, int out, int from, int to, weights *w)
{
    for (int o = 0; o < OUTS; o++) {
        int64_t row = out + o < l->n_out ? out + o : l->n_out - 1;
        w->data[o] = weight_at(l, row, from);
        w->scale[o] = 1;
        if (l->format == NB_FORMAT_FP8) {
            int64_t n_block = (l->n_in + l->block_in - 1) / l->block_in;
            w->scale[o] = l->block_scale[row / l->block_out * n_block + from / l->block_in];
        }
        if (l->format == NB_FORMAT_NVFP4) {
            const uint8_t *code = l->scale + (row * l->n_in + from) / NB_NVFP4_BLOCK;
            for (int b = 0; b < (to - from) / NB_NVFP4_BLOCK; b++) w->block_scale[o][b] = nb_e4m3_to_f32(code[b]);
            w->scale[o] = l->scale_2;
        }
    }
}

// Decodes the segment into buffer[OUTS][SEGMENT], from where it is used as F32: the same values, so the same sums.
NB_VEC void decode_weights(nb_format format, const weights *w, int n, float *buffer, weights *decoded)
{
    for (int o = 0; o < OUTS; o++) {
        float *to = buffer + o * SEGMENT;
        int i = 0;
        for (; i + VF <= n; i += VF) vf_store(to + i, load_weight(format, w, o, i, VF));
        if (i < n) vf_store_part(to + i, load_weight(format, w, o, i, n - i), n - i);
        decoded->data[o] = to;
        decoded->scale[o] = w->scale[o];
    }
}

NB_VEC void run_tiles(nb_format format, int kind, const weights *w, const rows *x, totals total)
{
    int row = 0;
    for (; row + TILE <= x->n_row; row += TILE) tile(format, kind, w, x, row, TILE, total);
    for (; row < x->n_row; row++) tile(format, kind, w, x, row, 1, total);
}

NB_VEC void run_segment(nb_format format, int kind, const weights *w, const rows *x, totals total)
{
    if (x->n_row <= TILE || format == NB_FORMAT_F32) {
        run_tiles(format, kind, w, x, total);
        return;
    }
    float buffer[OUTS * SEGMENT];
    weights decoded;
    decode_weights(format, w, x->n, buffer, &decoded);
    run_tiles(NB_FORMAT_F32, kind, &decoded, x, total);
}

NB_VEC void store_totals(const nb_cpu_matmul *m, int out, int n_out, int row, int n_row, totals total)
{
    for (int r = 0; r < n_row; r++) {
        float *y = m->y + (row + r) * m->y_stride + out;
        for (int o = 0; o < n_out; o++) y[o] = (m->add ? y[o] : 0) + vf_sum(total[r][o]) * m->x_scale;
    }
}

// OUTS outputs of up to GROUP rows.
NB_VEC void run_group(nb_format format, int kind, const nb_cpu_matmul *m, int out, int n_out, int row, int n_row)
{
    totals total;
    for (int r = 0; r < n_row; r++) {
        for (int o = 0; o < OUTS; o++) total[r][o] = vf_set(0);
    }
    for (int from = 0, to; from < m->linear->n_in; from = to) {
        to = segment_end(m->linear, from);
        weights w;
        open_weights(m->linear, out, from, to, &w);
        rows x = {.stride = m->x_stride, .n_row = n_row, .n = to - from};
        int64_t at = row * m->x_stride + from;
        x.x =
            kind == INPUT_F32 ? (const void *)((const float *)m->x + at) : (const void *)((const uint16_t *)m->x + at);
        run_segment(format, kind, &w, &x, total);
    }
    store_totals(m, out, n_out, row, n_row, total);
}

NB_VEC void run_outputs(nb_format format, int kind, const nb_cpu_matmul *m, int out_from, int out_to)
{
    for (int out = out_from; out < out_to; out += OUTS) {
        int n_out = out_to - out < OUTS ? out_to - out : OUTS;
        for (int row = 0; row < m->n_row; row += GROUP)
            run_group(format, kind, m, out, n_out, row, m->n_row - row < GROUP ? m->n_row - row : GROUP);
    }
}

// One compiled loop for each format and kind of input.
#define NB_MATMUL_CASE(format)                                    \
    case format:                                                  \
        if (m->x_bf16)                                            \
            run_outputs(format, INPUT_BF16, m, out_from, out_to); \
        else                                                      \
            run_outputs(format, INPUT_F32, m, out_from, out_to);  \
        break

static void matmul_vec(const nb_cpu_matmul *m, int out_from, int out_to)
{
    switch (m->linear->format) {
        NB_MATMUL_CASE(NB_FORMAT_BF16);
        NB_MATMUL_CASE(NB_FORMAT_F16);
        NB_MATMUL_CASE(NB_FORMAT_F32);
        NB_MATMUL_CASE(NB_FORMAT_FP8);
        NB_MATMUL_CASE(NB_FORMAT_NVFP4);
    case NB_FORMAT_COUNT: break;
    }
}
