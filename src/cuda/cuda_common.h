// What all files of the CUDA device share: the project's headers with C linkage, checked CUDA calls, and the structs
// that kernels see. Nothing outside src/cuda includes this.
#ifndef NB_CUDA_COMMON_H
#define NB_CUDA_COMMON_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

extern "C" {
#include "model/device.h"
#include "model/plan.h"
#include "numeric/nvfp4.h"
}

// Every CUDA call goes through one of these. A failed call means that the device is lost.
int nb_cuda_fail(cudaError_t code, const char *what, nb_error *err);
#define NB_CUDA_TRY(call, err)                                                          \
    do {                                                                                \
        cudaError_t nb_cuda_code = (call);                                              \
        if (nb_cuda_code != cudaSuccess) return nb_cuda_fail(nb_cuda_code, #call, err); \
    } while (0)

enum {
    NB_CUDA_WARP = 32,
    NB_CUDA_ROW_TILE = 16,  // rows of a weight tile: the m of mma.m16n8k16
    NB_CUDA_K_TILE = 64,    // columns of a weight tile: four mma steps
    NB_CUDA_SMALL_MAX = 8,  // tokens that the small-batch kernels serve: the n of one mma
    NB_CUDA_MATRIX_MAX = 4, // matrices of one launch
};

// How a matrix's elements are stored and multiplied. Products are exact in each: bf16 holds e2m1 x e4m3 and e4m3, f16
// holds e4m3.
typedef enum nb_cuda_kind {
    NB_KIND_BF16,    // bf16 weights, bf16 inputs
    NB_KIND_FP8_A8,  // e4m3 weights and inputs, both widened to f16
    NB_KIND_FP8_A16, // e4m3 weights widened to bf16, bf16 inputs
    NB_KIND_NVFP4,   // e2m1 with block scales, decoded to bf16; bf16 inputs
} nb_cuda_kind;

// A weight matrix in GPU memory, in tiles of 16 rows x 64 columns. In a tile, lane l of a warp owns the 16 columns
// 16 * (l % 4) .. + 15 of the rows l / 4 and l / 4 + 8 as chunks of 16 bytes: [n_row_tile][n_k_tile][n_chunk][32
// lanes][16 bytes]. So a warp's load is 512 bytes in a row, an input row's share of a lane is contiguous, and an NVFP4
// lane needs one block scale per row. Rows and columns are padded with zeros. cuda_repack.cu writes it, cuda_tile.cuh
// reads it.
typedef struct nb_cuda_matrix {
    const uint4 *data;
    const uint32_t
        *scale; // NVFP4: [n_row_tile][n_k_tile / 2][32 lanes] 4 codes: row l / 4, row l / 4 + 8 of two k tiles
    const float *row_scale;      // [n_row_tile * 16] multiplier of a row, or NULL: scale_low and scale_high alone
    const float *block_scale[2]; // FP8 blocks: [.][n_in_block] for rows 0..7 and 8..15 of a tile (gate and up), or NULL
    float scale_low, scale_high; // multiplier of rows 0..7 and of rows 8..15 of every tile
    float input_scale;           // NB_KIND_FP8_A8: inputs are rounded to e4m3(x / input_scale)
    int kind;
    int n_out, n_in; // true shape; a paired matrix (gate with up) has n_out = 2 * d_ff
    int n_row_tile, n_k_tile;
    int paired; // rows 0..7 of tile j are gate rows 8j.., rows 8..15 up rows 8j..
    int block_out, block_in, n_in_block;
} nb_cuda_matrix;

static inline int nb_ceil_div(int64_t a, int64_t b)
{
    return (int)((a + b - 1) / b);
}

#endif
