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
    int input_stride, n_row;                       // n_row: dense: tokens
    const int32_t *n_tile;                         // grouped: [1]; NULL: dense
    const nb_cuda_tile *tile;
    const int32_t *pair_token; // grouped: input row of a pair; NULL: the pair itself
    int n_expert, n_pair;      // the shared expert's rows of outputs follow the n_pair routed ones
    int inter_f16;             // paired: activations are rounded to e4m3(x * inter_inverse) in f16
    float inter_inverse;
    int n_row_warp, n_split;
} nb_tiles_args;

int nb_tiles_dense(const nb_cuda_launch *at, nb_tiles_args *args, nb_error *err);
int nb_tiles_grouped(const nb_cuda_launch *at, nb_tiles_args *args, int columns, int max_tile, nb_error *err);

#endif
