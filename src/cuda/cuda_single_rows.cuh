// Part of cuda_single.cu: a block's row tiles of a product. Most of a layer's static weights are FP8 matrices with FP8
// inputs whose rows fill whole stages: of these, half of a stage comes into registers while the other is multiplied.
#ifndef NB_CUDA_SINGLE_ROWS_CUH
#define NB_CUDA_SINGLE_ROWS_CUH

#include "cuda/cuda_single_product.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// Whether all matrices of a stage are such, and want the same input.
__device__ __forceinline__ static bool fills_stages(const nb_cuda_matrix *m, int n_matrix)
{
    bool fills = true;
    for (int i = 0; i < n_matrix; i++)
        fills = fills && m[i].kind == NB_KIND_FP8_A8 && m[i].n_k_tile == m[0].n_k_tile &&
                m[i].n_k_tile % NB_SINGLE_SLOTS == 0 && m[i].input_scale == m[0].input_scale && !m[i].block_scale[0];
    return fills;
}

enum { HALF = NB_SINGLE_AT_ONCE / 2 }; // of a warp's slots in a stage

typedef struct half_stage {
    nb_single_piece<NB_KIND_FP8_A8> p[HALF];
} half_stage;

// data, x: the warp's first slot of the half, the lane's part of it, and its columns of the input.
__device__ __forceinline__ static void read_half(half_stage *to, const uint8_t *data, const uint8_t *x)
{
    bool in = (threadIdx.x & 31) < 4;
#pragma unroll
    for (int k = 0; k < HALF; k++) {
        const uint8_t *slot = data + k * NB_SINGLE_WARPS * NB_SINGLE_SLOT_BYTES;
        to->p[k].chunk[0] = *(const uint4 *)slot, to->p[k].chunk[1] = *(const uint4 *)(slot + 512);
        to->p[k].b[0] = make_uint4(0, 0, 0, 0);
        if (in) to->p[k].b[0] = *(const uint4 *)(x + k * NB_SINGLE_WARPS * NB_CUDA_K_TILE);
    }
}

__device__ __forceinline__ static void multiply_half(float acc[2][4], const half_stage &from)
{
    float part[HALF][2][4] = {};
#pragma unroll
    for (int k = 0; k < HALF; k++) nb_single_multiply<NB_KIND_FP8_A8>(part[k], from.p[k]);
#pragma unroll
    for (int k = 0; k < HALF; k++)
#pragma unroll
        for (int c = 0; c < 4; c++) acc[0][c] += part[k][0][c], acc[1][c] += part[k][1][c];
}

// The next stage, when it is there: where the lane's part of the warp's first slot lies.
__device__ __forceinline__ static const uint8_t *await_stage(nb_single_place *at, nb_single_shared *sh, int *stage)
{
    int parity;
    *stage = nb_single_next(at, &parity);
    nb_barrier_wait(&sh->full[*stage], parity);
    return nb_single_stage(sh, *stage) + (threadIdx.x >> 5) * NB_SINGLE_SLOT_BYTES + (threadIdx.x & 31) * 16;
}

// A warp's part of n row tiles of `per_row` stages, to sh->red: one half of a stage comes into registers while the
// other is multiplied.
__device__ __forceinline__ static void fp8_rows(nb_single_place *at, nb_single_shared *sh, int n, int per_row)
{
    enum { DATA = HALF * NB_SINGLE_WARPS * NB_SINGLE_SLOT_BYTES, X = HALF * NB_SINGLE_WARPS * NB_CUDA_K_TILE };
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, in_row = 0, row = 0, stage;
    const uint8_t *first = (const uint8_t *)sh->x[0] + warp * NB_CUDA_K_TILE + lane * 16, *x = first;
    float acc[2][4] = {};
    half_stage low, high;
    if (n == 0) return;
    const uint8_t *data = await_stage(at, sh, &stage);
    read_half(&low, data, x);
#pragma unroll 1
    while (row < n) {
        read_half(&high, data + DATA, x + X);
        __syncwarp();
        if (lane == 0 && !nb_single_in_annex(stage)) nb_barrier_arrive(&sh->empty[stage]);
        multiply_half(acc, low);
        bool whole = ++in_row == per_row;
        x = whole ? first : x + 2 * X;
        if (!whole || row + 1 < n) data = await_stage(at, sh, &stage), read_half(&low, data, x);
        multiply_half(acc, high);
        if (!whole) continue;
        nb_single_store(sh->red[row++][warp], acc);
        in_row = 0;
#pragma unroll
        for (int c = 0; c < 8; c++) acc[c / 4][c % 4] = 0;
    }
}

// Another matrix wants e4m3 values of another scale.
__device__ static void rescale_input(nb_single_shared *sh, float inverse)
{
    nb_single_sync();
#pragma unroll 1
    for (int i = threadIdx.x; i < NB_SINGLE_X_MAX / 4; i += THREADS) {
        uint2 b = ((const uint2 *)sh->x[1])[i];
        ((uint32_t *)sh->x[0])[i] = nb_input_codes(b.x, inverse) | nb_input_codes(b.y, inverse) << 16;
    }
    nb_single_sync();
}

// A warp's part of the block's row tiles, whatever the matrices are; how many they are.
__device__ __forceinline__ static int any_rows(nb_single_place *at, nb_single_shared *sh, const nb_cuda_matrix *m,
                                               int n_matrix)
{
    int row_tile = blockIdx.x, first = 0, n = 0, warp = threadIdx.x >> 5;
    float scale = m[0].input_scale;
#pragma unroll 1
    for (int i = 0; i < n_matrix; first += m[i++].n_row_tile)
#pragma unroll 1
        for (; row_tile < first + m[i].n_row_tile; row_tile += gridDim.x, n++) {
            float *red = sh->red[n][warp];
            if (m[i].kind == NB_KIND_FP8_A8 && m[i].input_scale != scale)
                scale = m[i].input_scale, rescale_input(sh, 1.0f / scale);
            nb_single_row_tile(at, sh, m[i], row_tile - first, red);
        }
    return n;
}
#endif

#endif
