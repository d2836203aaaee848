// The matrix product over the vector layer that was included before; cpu_matmul_avx2.c and cpu_matmul_avx512.c are this
// file compiled twice.
//
// Order of summation, the same on every path (that is invariant 1 of cpu_kernels.h): the inputs of a row are cut into
// segments of at most SEGMENT, also at the borders of FP8 blocks. Within a segment lane i adds the inputs i, i + VF,
// ... (pairs of inputs where steps are pairs); then total += segment's sum * scale, lane by lane; at the end the lanes
// are added. NVFP4 block scales are multiplied into the weight (exact: 2 and 4 significant bits); scale_2 and FP8
// scales are the segment's scale.
//
// Weights of OUTS outputs are decoded in registers and used for up to TILE rows. With more rows than that, a segment is
// decoded once into a buffer in L1, which then plays the part of an F32 or BF16 weight.
//
// With NB_MATMUL_PAIRS (cpu_matmul_pairs.h), bf16 inputs meet BF16, FP8 and NVFP4 weights, all exact in bf16, in
// AVX-512's dot product of bf16 pairs: twice the work of a multiply-add, and half of what is loaded.
#include "cpu/cpu_kernels_internal.h"
#include "numeric/nvfp4.h"

enum { OUTS = NB_CPU_OUT_STEP, SEGMENT = 512, GROUP = 32, SCALES = SEGMENT / NB_NVFP4_BLOCK };
enum { INPUT_F32, INPUT_BF16, INPUT_PAIRS }; // kinds of input as the inner loop sees them

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
    vf weight[OUTS];
    for (int o = 0; o < OUTS; o++) weight[o] = load_weight(format, w, o, i, n);
    for (int r = 0; r < n_row; r++) {
        vf in = load_input(kind, x, row + r, i, n);
        for (int o = 0; o < OUTS; o++) sum[r][o] = vf_fma(weight[o], in, sum[r][o]);
    }
}

#ifdef NB_MATMUL_PAIRS
#include "cpu/cpu_matmul_pairs.h"
enum { INPUT_BEST = INPUT_PAIRS }; // of bf16 inputs
#else
enum { INPUT_BEST = INPUT_BF16 };
#endif

NB_VEC void tile(nb_format format, int kind, const weights *w, const rows *x, int row, int n_row, totals total)
{
    vf sum[TILE][OUTS];
    int i = 0;
    for (int r = 0; r < n_row; r++) {
        for (int o = 0; o < OUTS; o++) sum[r][o] = vf_set(0);
    }
#ifdef NB_MATMUL_PAIRS
    if (kind == INPUT_PAIRS) i = tile_pairs(format, w, x, row, n_row, sum);
#endif
    for (; i + VF <= x->n; i += VF) tile_step(format, kind, w, x, row, n_row, i, VF, sum);
    if (i < x->n) tile_step(format, kind, w, x, row, n_row, i, x->n - i, sum);
    for (int r = 0; r < n_row; r++) {
        for (int o = 0; o < OUTS; o++) total[row + r][o] = vf_fma(sum[r][o], vf_set(w->scale[o]), total[row + r][o]);
    }
}

// OUTS rows of the linear, whole, found once: the divisions by block sizes are slow.
typedef struct outputs {
    const uint8_t *data[OUTS], *scale[OUTS];
    const float *block_scale[OUTS];
} outputs;

NB_VEC int64_t data_bytes(nb_format format, int64_t n)
{
    switch (format) {
    case NB_FORMAT_FP8: return n;
    case NB_FORMAT_NVFP4: return n / 2;
    case NB_FORMAT_F32: return n * 4;
    default: return n * 2;
    }
}

// The rows from `out`; rows past n_out repeat the last one and are not used.
NB_VEC void find_outputs(nb_format format, const nb_linear *l, int out, outputs *all)
{
    for (int o = 0; o < OUTS; o++) {
        int64_t row = out + o < l->n_out ? out + o : l->n_out - 1;
        all->data[o] = (const uint8_t *)l->data + data_bytes(format, row * l->n_in);
        if (format == NB_FORMAT_NVFP4) all->scale[o] = l->scale + row * (l->n_in / NB_NVFP4_BLOCK);
        if (format == NB_FORMAT_FP8) {
            int64_t n_block = (l->n_in + (int64_t)l->block_in - 1) / l->block_in;
            all->block_scale[o] = l->block_scale + row / l->block_out * n_block;
        }
    }
}

NB_VEC void load_block_scales(const uint8_t *code, int n, float *scale)
{
    int i = 0;
    for (; i + VF <= n; i += VF) vf_store(scale + i, vf_load_e4m3(code + i));
    if (i < n) vf_store_part(scale + i, vf_load_e4m3_part(code + i, n - i), n - i);
}

// Takes the segment that begins at input `from`; returns its length: SEGMENT, or less at the end of the row or at the
// border of an FP8 block.
NB_VEC int take_segment(nb_format format, const nb_linear *l, const outputs *all, int from, weights *w)
{
    int n = l->n_in - from < SEGMENT ? l->n_in - from : SEGMENT, i_block = 0;
    if (format == NB_FORMAT_FP8) {
        i_block = from / l->block_in;
        int left = l->block_in - (from - i_block * l->block_in);
        n = left < n ? left : n;
    }
    for (int o = 0; o < OUTS; o++) {
        w->data[o] = all->data[o] + data_bytes(format, from);
        w->scale[o] = format == NB_FORMAT_FP8     ? all->block_scale[o][i_block]
                      : format == NB_FORMAT_NVFP4 ? l->scale_2
                                                  : 1;
        if (format == NB_FORMAT_NVFP4)
            load_block_scales(all->scale[o] + from / NB_NVFP4_BLOCK, n / NB_NVFP4_BLOCK, w->block_scale[o]);
    }
    return n;
}

// Decodes the segment into buffer[OUTS][SEGMENT], from where it is used as F32: the same values, so the same sums.
NB_VEC void decode_weights(nb_format format, weights *w, int n, float *buffer)
{
    for (int o = 0; o < OUTS; o++) {
        float *to = buffer + o * SEGMENT;
        int i = 0;
        for (; i + VF <= n; i += VF) vf_store(to + i, load_weight(format, w, o, i, VF));
        if (i < n) vf_store_part(to + i, load_weight(format, w, o, i, n - i), n - i);
        w->data[o] = to;
    }
}

NB_VEC void run_tiles(nb_format format, int kind, const weights *w, const rows *x, totals total)
{
    int row = 0;
    for (; row + TILE <= x->n_row; row += TILE) tile(format, kind, w, x, row, TILE, total);
    for (; row + TILE / 2 <= x->n_row; row += TILE / 2) tile(format, kind, w, x, row, TILE / 2, total);
    for (; row < x->n_row; row++) tile(format, kind, w, x, row, 1, total);
}

NB_VEC void run_segment(nb_format format, int kind, weights *w, const rows *x, totals total)
{
    _Alignas(64) float buffer[OUTS * SEGMENT];
    nb_format buffer_format = kind == INPUT_PAIRS ? NB_FORMAT_BF16 : NB_FORMAT_F32;
    if (x->n_row <= TILE || format == buffer_format) {
        run_tiles(format, kind, w, x, total);
        return;
    }
#ifdef NB_MATMUL_PAIRS
    if (kind == INPUT_PAIRS) decode_pairs(format, w, x->n, (uint16_t *)buffer);
#endif
    if (kind != INPUT_PAIRS) decode_weights(format, w, x->n, buffer);
    run_tiles(buffer_format, kind, w, x, total);
}

NB_VEC void store_totals(const nb_cpu_matmul *m, int out, int n_out, int row, int n_row, totals total)
{
    for (int r = 0; r < n_row; r++) {
        float *y = m->y + (row + r) * m->y_stride + out;
        for (int o = 0; o < n_out; o++) y[o] = (m->add ? y[o] : 0) + vf_sum(total[r][o]) * m->x_scale;
    }
}

// OUTS outputs of up to GROUP rows.
NB_VEC void run_group(nb_format format, int kind, const nb_cpu_matmul *m, const outputs *all, int row, int n_row,
                      totals total)
{
    for (int r = 0; r < n_row; r++) {
        for (int o = 0; o < OUTS; o++) total[r][o] = vf_set(0);
    }
    int64_t x_bytes = kind == INPUT_F32 ? sizeof(float) : sizeof(uint16_t);
    for (int from = 0, n; from < m->linear->n_in; from += n) {
        weights w;
        n = take_segment(format, m->linear, all, from, &w);
        const char *x = (const char *)m->x + (row * m->x_stride + from) * x_bytes;
        run_segment(format, kind, &w, &(rows){x, m->x_stride, n_row, n}, total);
    }
}

NB_VEC void run_outputs(nb_format format, int kind, const nb_cpu_matmul *m, int out_from, int out_to)
{
    totals total;
    for (int out = out_from; out < out_to; out += OUTS) {
        outputs all;
        find_outputs(format, m->linear, out, &all);
        int n_out = out_to - out < OUTS ? out_to - out : OUTS;
        for (int row = 0; row < m->n_row; row += GROUP) {
            int n_row = m->n_row - row < GROUP ? m->n_row - row : GROUP;
            run_group(format, kind, m, &all, row, n_row, total);
            store_totals(m, out, n_out, row, n_row, total);
        }
    }
}

// One compiled loop for each format and kind of input.
#define NB_MATMUL_CASE(format, kind_of_bf16)                        \
    case format:                                                    \
        if (m->x_bf16)                                              \
            run_outputs(format, kind_of_bf16, m, out_from, out_to); \
        else                                                        \
            run_outputs(format, INPUT_F32, m, out_from, out_to);    \
        break

static void matmul_vec(const nb_cpu_matmul *m, int out_from, int out_to)
{
    switch (m->linear->format) {
        NB_MATMUL_CASE(NB_FORMAT_BF16, INPUT_BEST);
        NB_MATMUL_CASE(NB_FORMAT_F16, INPUT_BF16);
        NB_MATMUL_CASE(NB_FORMAT_F32, INPUT_BF16);
        NB_MATMUL_CASE(NB_FORMAT_FP8, INPUT_BEST);
        NB_MATMUL_CASE(NB_FORMAT_NVFP4, INPUT_BEST);
    case NB_FORMAT_COUNT: break;
    }
}
