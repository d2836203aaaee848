// Products of large batches by wgmma (sm_90a), the counterpart of cuda_tiles.cuh: all of them for n_tok >=
// NB_PRODUCT_MIN_TOKENS, dense ones from NB_PRODUCT_MIN_DENSE or NB_PRODUCT_MIN_FP8 on. Their inputs lie in memory as
// the kernel multiplies them: the 64 columns of each k tile reordered (nb_product_place), so that a lane's 16 weights
// of a row, which lie together, meet them.
#ifndef NB_CUDA_PRODUCT_H
#define NB_CUDA_PRODUCT_H

#include "cuda/cuda_tiles.cuh"

enum {
    NB_PRODUCT_MIN_TOKENS = 257,   // smaller batches are decodes: they have fewer than 8 tokens an expert
    NB_PRODUCT_COLUMNS = 128,      // tokens of a tile at most
    NB_PRODUCT_MIN_DENSE = 33,     // of fewer tokens cuda_tiles.cuh spreads the rows over more of the card
    NB_PRODUCT_MIN_FP8 = 65,       // the same where the inputs are FP8
    NB_PRODUCT_MIN_ROW_TILES = 16, // of dense products; fewer would leave all but a block or two idle
};

// Whether this GPU and this build have wgmma.
bool nb_product_usable(void);

// Whether the kernel multiplies `m`: all kinds but FP8 with scales per block of inputs.
bool nb_product_serves(const nb_cuda_matrix *m);

// Where column c of an input is stored.
__host__ __device__ __forceinline__ int nb_product_place(int c)
{
    return (c & ~63) | (c >> 2 & 3) << 4 | (c >> 1 & 1) << 3 | (c >> 4 & 3) << 1 | (c & 1);
}

// Where column c of an e4m3 input is stored.
__host__ __device__ __forceinline__ int nb_product_place_e4m3(int c)
{
    return (c & ~63) | (c >> 3 & 1) << 5 | (c >> 2 & 1) << 4 | (c >> 4 & 3) << 2 | (c & 3);
}

// As nb_cuda_prepare_run, in the order of nb_product_place; with `codes` fp8 as such, in that of nb_product_place_e4m3.
int nb_product_prepare(const nb_cuda_launch *at, const nb_cuda_source *source, int n_tok, float input_scale,
                       uint16_t *fp8, bool codes, uint16_t *bf16, int stride, nb_error *err);

int nb_product_dense(const nb_cuda_launch *at, nb_tiles_args *args, nb_error *err);
int nb_product_grouped(const nb_cuda_launch *at, nb_tiles_args *args, int max_tile, nb_error *err);

#endif
