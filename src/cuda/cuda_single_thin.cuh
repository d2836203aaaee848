// Part of cuda_single.cu: products of few rows, without the ring and without tensor cores.
#ifndef NB_CUDA_SINGLE_THIN_CUH
#define NB_CUDA_SINGLE_THIN_CUH

#include "cuda/cuda_single_packet.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// Products of few rows: two BF16 matrices behind each other (b and a; the router and the shared expert's gate), a row
// by N_WARP warps. Their bytes are few, so they leave memory for registers before the norm is known. A lane takes
// chunks of eight columns, which lie as nb_cuda_matrix says.
template <int N_WARP> struct thin {
    static constexpr int n_row = WARPS / N_WARP, n_chunk = NB_SINGLE_THIN_MAX / 8 / (32 * N_WARP); // of a block, a lane
    const nb_cuda_matrix *first, *second;
    int n, row; // rows of both; the warp's one
    uint4 w[n_chunk];
};

template <int N_WARP> __device__ __forceinline__ static int thin_chunk(int i) // the thread's i-th
{
    return (threadIdx.x & (32 * N_WARP - 1)) + i * 32 * N_WARP;
}

// Where the thread's i-th chunk lies; NULL: there is none.
template <int N_WARP> __device__ __forceinline__ static const uint4 *thin_at(const thin<N_WARP> &t, int i)
{
    bool second = t.row >= t.first->n_out;
    const nb_cuda_matrix &m = second ? *t.second : *t.first;
    int row = second ? t.row - t.first->n_out : t.row, c = thin_chunk<N_WARP>(i);
    int64_t tile = row / 16 * m.n_k_tile + c / 8; // of a tile's row there are eight chunks, two of a lane
    bool in = c < m.n_k_tile * (NB_CUDA_K_TILE / 8) && t.row < t.n;
    return in ? m.data + tile * 128 + (row % 16 / 8 * 2 + c % 2) * 32 + row % 8 * 4 + c % 8 / 2 : NULL;
}

template <int N_WARP> __device__ static void thin_load(thin<N_WARP> *t)
{
#pragma unroll
    for (int i = 0; i < thin<N_WARP>::n_chunk; i++) {
        const uint4 *at = thin_at(*t, i);
        t->w[i] = at ? __ldg(at) : make_uint4(0, 0, 0, 0);
    }
}

// block: the first block has the first rows.
template <int N_WARP>
__device__ __forceinline__ static thin<N_WARP> thin_place(const nb_cuda_matrix *first, const nb_cuda_matrix *second,
                                                          int n_second, int block)
{
    thin<N_WARP> t;
    t.first = first, t.second = second, t.n = first->n_out + n_second;
    t.row = block * thin<N_WARP>::n_row + threadIdx.x / (32 * N_WARP);
    return t;
}

template <int N_WARP>
__device__ static thin<N_WARP> thin_open(const nb_cuda_matrix *first, const nb_cuda_matrix *second, int n_second,
                                         int block)
{
    thin<N_WARP> t = thin_place<N_WARP>(first, second, n_second, block);
    thin_load(&t);
    return t;
}

// Brings the block's first rows into L2.
template <int N_WARP>
__device__ static void thin_prefetch(const nb_cuda_matrix *first, const nb_cuda_matrix *second, int n_second, int block)
{
    thin<N_WARP> t = thin_place<N_WARP>(first, second, n_second, block);
#pragma unroll
    for (int i = 0; i < thin<N_WARP>::n_chunk; i++) {
        const uint4 *at = thin_at(t, i);
        if (at) asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
    }
}

// A row times x, in the lanes 0 of its first warp.
template <int N_WARP> __device__ static float thin_row(nb_single_shared *sh, const thin<N_WARP> &t)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    float y = 0;
#pragma unroll
    for (int i = 0; i < thin<N_WARP>::n_chunk; i++) {
        int c = thin_chunk<N_WARP>(i);
        if (c * 8 >= t.first->n_k_tile * NB_CUDA_K_TILE) continue;
        uint4 x = *(const uint4 *)&sh->x[1][c * 8];
        const uint32_t *a = (const uint32_t *)&t.w[i], *b = (const uint32_t *)&x;
#pragma unroll
        for (int j = 0; j < 4; j++)
            y += nb_f32_from_bits(a[j] << 16) * nb_f32_from_bits(b[j] << 16) +
                 nb_f32_from_bits(a[j] & 0xffff0000u) * nb_f32_from_bits(b[j] & 0xffff0000u);
    }
    y = nb_warp_sum(y);
    if (lane == 0) sh->sums[warp] = y;
    nb_single_sync();
    if (lane != 0 || warp % N_WARP != 0) return 0;
    y = 0;
#pragma unroll
    for (int k = 0; k < N_WARP; k++) y += sh->sums[warp + k];
    bool second = t.row >= t.first->n_out;
    const nb_cuda_matrix &m = second ? *t.second : *t.first;
    return y * m.scale_low * (m.row_scale ? __ldg(m.row_scale + t.row - (second ? t.first->n_out : 0)) : 1.0f);
}

// All rows, those of a block first; to floats, or to packets of the epoch.
template <int N_WARP>
__device__ static void thin_product(nb_single_shared *sh, thin<N_WARP> t, float *out, nb_packet *packets,
                                    uint32_t epoch)
{
    int mine = threadIdx.x / (32 * N_WARP); // the block's first row is of its first warps
#pragma unroll 1
    while (t.row - mine < t.n) {
        float y = thin_row(sh, t);
        if (threadIdx.x % (32 * N_WARP) == 0 && t.row < t.n) {
            if (packets)
                nb_packet_store(packets + t.row, y, epoch);
            else
                out[t.row] = y;
        }
        t.row += gridDim.x * thin<N_WARP>::n_row;
        if (t.row - mine >= t.n) break;
        nb_single_sync();
        thin_load(&t);
    }
}
#endif

#endif
