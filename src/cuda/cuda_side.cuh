// Small BF16 matrices beside a larger product's, in blocks of their own of its launch: a row tile by a block's tokens,
// whose warps share the columns. Inputs come from L2 straight to registers.
//
// Bytes of a block: 2 bytes of each weight of 16 rows and of each input of NB_SIDE_TOKENS tokens.
#ifndef NB_CUDA_SIDE_CUH
#define NB_CUDA_SIDE_CUH

#include "cuda/cuda_product.h"

enum {
    NB_SIDE_TILES = 4,
    NB_SIDE_TOKENS = NB_SIDE_TILES * 8,
    NB_SIDE_WARPS = 8, // that multiply
    NB_SIDE_BATCH = 4, // k tiles of a warp whose weights are loaded at once
};

typedef struct nb_side_sums { // of the warps, element lane * 4 + c as in nb_mma
    float sum[NB_SIDE_WARPS][NB_SIDE_TILES][128];
} nb_side_sums;

__host__ __device__ __forceinline__ int nb_side_row_tiles(const nb_tiles_args &t)
{
    int n = 0;
    for (int i = t.n_matrix - t.n_side; i < t.n_matrix; i++) n += t.matrix[i].n_row_tile;
    return n;
}

// The B fragments of a k tile of 8 tokens, from x, whose columns may lie in nb_product_place's order.
__device__ __forceinline__ void nb_side_input(uint32_t b[8], const uint16_t *x, int64_t stride, int n_x, bool placed)
{
    int lane = threadIdx.x & 31, row = lane >> 2, t = lane & 3;
    const uint32_t *pair = (const uint32_t *)(x + row * stride); // placed: pair i of the lane's eight
    if (!placed) return nb_tile_input(b, x, (int)stride, n_x);
#pragma unroll
    for (int i = 0; i < 8; i++) b[i] = row < n_x ? pair[i / 2 * 8 + i % 2 * 4 + t] : 0;
}

// Piece `i` of the side's: one row tile, NB_SIDE_TOKENS tokens. Waits for the kernel before by itself.
__device__ static void nb_side_run(const nb_tiles_args &t, int i, nb_side_sums *x)
{
    int n_row_tile = nb_side_row_tiles(t), tile = i % n_row_tile, first = i / n_row_tile * NB_SIDE_TOKENS,
        count = min((int)NB_SIDE_TOKENS, t.n_row - first), at = t.n_matrix - t.n_side;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    while (tile >= t.matrix[at].n_row_tile) tile -= t.matrix[at++].n_row_tile;
    const nb_cuda_matrix &m = t.matrix[at];
    typedef nb_unit<NB_KIND_BF16> unit;
    const uint4 *data = m.data + (int64_t)tile * m.n_k_tile * unit::n_chunk * NB_CUDA_WARP;
    float acc[NB_SIDE_TILES][4] = {};
    for (int k0 = warp; k0 < m.n_k_tile && warp < NB_SIDE_WARPS; k0 += NB_SIDE_WARPS * NB_SIDE_BATCH) {
        unit u[NB_SIDE_BATCH];
#pragma unroll
        for (int j = 0; j < NB_SIDE_BATCH; j++)
            nb_unit_load<NB_KIND_BF16>(&u[j], data, NULL, k0 + j * NB_SIDE_WARPS, m.n_k_tile);
        nb_grid_wait();
#pragma unroll
        for (int j = 0; j < NB_SIDE_BATCH; j++) {
            uint32_t a[4][4];
            int k = k0 + j * NB_SIDE_WARPS;
            if (k >= m.n_k_tile) break;
            nb_unit_decode<NB_KIND_BF16>(u[j], 0, a);
#pragma unroll
            for (int nt = 0; nt < NB_SIDE_TILES; nt++) {
                uint32_t b[8];
                const uint16_t *in = t.side_input + (int64_t)(first + nt * 8) * t.input_stride + k * NB_CUDA_K_TILE;
                nb_side_input(b, in, t.input_stride, count - nt * 8, t.side_placed);
#pragma unroll
                for (int s = 0; s < 4; s++) nb_mma<false>(acc[nt], a[s], b[2 * s], b[2 * s + 1]);
            }
        }
    }
    __syncthreads(); // the sums of the piece before are read
    if (warp < NB_SIDE_WARPS)
#pragma unroll
        for (int nt = 0; nt < NB_SIDE_TILES; nt++) *(float4 *)&x->sum[warp][nt][lane * 4] = *(float4 *)acc[nt];
    __syncthreads();
    for (int e = threadIdx.x; e < NB_SIDE_TILES * 128; e += blockDim.x) {
        int c = e & 3, tok = (e >> 7) * 8 + 2 * (e >> 2 & 3) + (c & 1),
            row = tile * 16 + ((e & 127) >> 4) + 8 * (c >> 1);
        float y = 0;
#pragma unroll
        for (int w = 0; w < NB_SIDE_WARPS; w++) y += x->sum[w][e >> 7][e & 127];
        if (tok < count && row < m.n_out) nb_store_dense(t.output[at], m, m.scale_low, first + tok, row, y);
    }
}

__host__ __device__ __forceinline__ int nb_side_pieces(const nb_tiles_args &t)
{
    return nb_side_row_tiles(t) * ((t.n_row + NB_SIDE_TOKENS - 1) / NB_SIDE_TOKENS);
}

#endif
