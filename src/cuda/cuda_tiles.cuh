// The product for more than 8 tokens, dense or grouped by expert: a block takes n_row_warp row tiles and 8 * NT columns
// (tokens or pairs); inputs come through shared memory by asynchronous copies, two stages deep, weights straight to
// registers one stage ahead. n_split warps share a row tile's columns and add up at the end.
//
// Bytes: weights once per column tile; inputs 8 * NT * n_in * 2 per block from L2.
#ifndef NB_CUDA_TILES_CUH
#define NB_CUDA_TILES_CUH

#include "cuda/cuda_moe.h"
#include "cuda/cuda_tile.cuh"

typedef struct nb_tiles_args {
    int n_matrix;
    nb_cuda_matrix matrix[NB_CUDA_MATRIX_MAX],
        shared; // dense: of one kind and input; grouped: expert 0's, the shared expert's
    nb_cuda_output output[NB_CUDA_MATRIX_MAX];
    int block_first[NB_CUDA_MATRIX_MAX + 1];       // filled at the launch
    int64_t data_stride, scale_stride;             // from expert to expert
    const float *multiplier_low, *multiplier_high; // [n_expert], or NULL: the matrix's own
    const uint16_t *input;                         // [.][input_stride] bf16 or f16
    int input_stride, n_row;                       // n_row: tokens; grouped: of the shared expert
    int e4m3;                                      // input holds codes (cuda_product.h)
    const int32_t *n_tile;                         // grouped: [1]; NULL: dense
    const nb_cuda_tile *tile;
    const int32_t *pair_token; // grouped: input row of a pair; NULL: the pair itself
    int n_expert, n_pair;      // the shared expert's rows of outputs follow the n_pair routed ones
    int inter_f16;             // paired: activations are rounded to e4m3(x * inter_inverse) in f16
    float inter_inverse;
    int n_row_warp, n_split;
    int n_side; // dense: the last matrices are BF16, whatever the first ones are, with an input of their own ..
    const uint16_t *side_input;
    int side_placed;          // its columns are in the order of cuda_product.h
    int side_split;           // .. and one row tile a block
    int n_row_block, n_round; // nb_grouped_run: row blocks of an expert, units of a warp and row tile
    int tiles_known;          // the list of tiles was complete before the previous kernel began
} nb_tiles_args;

// One element of a product, where its matrix wants it.
__device__ inline void nb_store_dense(const nb_cuda_output &o, const nb_cuda_matrix &m, float multiplier, int tok,
                                      int row, float y)
{
    y *= multiplier * (m.row_scale ? __ldg(m.row_scale + row) : 1.0f);
    int64_t at = (int64_t)tok * o.stride + o.first + row;
    if (o.kind == NB_OUT_F32) ((float *)o.out)[at] = y;
    if (o.kind == NB_OUT_BF16) ((uint16_t *)o.out)[at] = nb_bf16_from_f32(y);
    if (o.kind == NB_OUT_ADD) ((float *)o.out)[at] += y;
}

// silu(gate) * up of one element.
__device__ inline void nb_store_gated(const nb_tiles_args &t, const nb_cuda_matrix &m, float low, float high,
                                      int row_out, int ff, float gate, float up)
{
    int half = m.n_out / 2;
    gate *= low * (m.row_scale ? __ldg(m.row_scale + ff) : 1.0f);
    up *= high * (m.row_scale ? __ldg(m.row_scale + half + ff) : 1.0f);
    float y = nb_silu(gate) * up;
    ((uint16_t *)t.output[0].out)[(int64_t)row_out * t.output[0].stride + ff] =
        t.inter_f16 ? nb_input_from_f32<true>(y, t.inter_inverse) : nb_bf16_from_f32(y);
}

int nb_tiles_dense(const nb_cuda_launch *at, nb_tiles_args *args, nb_error *err);
int nb_tiles_grouped(const nb_cuda_launch *at, nb_tiles_args *args, int columns, int max_tile, nb_error *err);

// The grouped product of few columns (8 or 16 a tile), cuda_grouped.cu: true where it serves these matrices. sum: of
// its outputs, by the same launch; or NULL.
bool nb_grouped_serves(const nb_tiles_args *args, int columns);
int nb_grouped_run(const nb_cuda_launch *at, nb_tiles_args *args, int columns, int max_tile, const nb_cuda_combine *sum,
                   nb_error *err);

#endif
