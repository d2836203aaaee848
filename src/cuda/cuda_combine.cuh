// A token's pairs, added by weight to its row of the residual stream, and the next layer's input from it. By a block of
// NB_COMBINE_THREADS.
//
// Bytes of a token: top_k + 1 rows of d_model, f32 or bf16, from L2; its row of the residual stream twice.
#ifndef NB_CUDA_COMBINE_CUH
#define NB_CUDA_COMBINE_CUH

#include "cuda/cuda_moe.h"
#include "cuda/cuda_prepared.cuh"
#include "cuda/cuda_source.cuh"

enum {
    NB_COMBINE_THREADS = 256,
    NB_COMBINE_STEP = NB_COMBINE_THREADS * 4, // columns of the block at a time
    NB_COMBINE_STEPS = NB_MOE_NORM_MAX / NB_COMBINE_STEP,
};

typedef struct nb_combine_shared {
    int64_t row[NB_TOP_K_EXPERT_MAX + 1];
    float weight[NB_TOP_K_EXPERT_MAX + 1], sums[32];
} nb_combine_shared;

typedef struct nb_combine_norm { // a thread's weights of the next norm: static
    float4 w[NB_COMBINE_STEPS];
} nb_combine_norm;

__device__ __forceinline__ nb_combine_norm nb_combine_ahead(const nb_cuda_combine &p)
{
    nb_combine_norm norm = {};
    int first = threadIdx.x * 4;
#pragma unroll
    for (int i = 0; i < NB_COMBINE_STEPS; i++)
        if (p.next_norm && first + i * NB_COMBINE_STEP < p.d_model)
            norm.w[i] = __ldg((const float4 *)(p.next_norm + first + i * NB_COMBINE_STEP));
    return norm;
}

template <bool BF16> __device__ __forceinline__ float4 nb_combine_load(const void *pair_out, int64_t at)
{
    if (!BF16) return __ldcg((const float4 *)((const float *)pair_out + at));
    uint2 v = __ldcg((const uint2 *)((const uint16_t *)pair_out + at));
    return make_float4(nb_f32_from_bits(v.x << 16), nb_f32_from_bits(v.x & 0xffff0000u), nb_f32_from_bits(v.y << 16),
                       nb_f32_from_bits(v.y & 0xffff0000u));
}

// Columns i .. i + 3 of the residual stream and the sum of the token's pairs by weight, in order of falling weight,
// then the shared expert.
template <bool BF16>
__device__ __forceinline__ float4 nb_combine_columns(const nb_cuda_combine &p, int tok, const nb_combine_shared *x,
                                                     int i)
{
    float4 y = {};
    int n_part = p.top_k + p.has_shared;
#pragma unroll 9
    for (int k = 0; k < n_part; k++) {
        float4 v = nb_combine_load<BF16>(p.pair_out, x->row[k] * p.d_model + i);
        float w = x->weight[k];
        y.x += w * v.x, y.y += w * v.y, y.z += w * v.z, y.w += w * v.w;
    }
    float4 old = *(const float4 *)(p.residual + (int64_t)tok * p.d_model + i);
    return make_float4(old.x + y.x, old.y + y.y, old.z + y.z, old.w + y.w);
}

template <bool BF16>
__device__ inline void nb_combine_token(const nb_cuda_combine &p, int tok, const nb_combine_norm &norm,
                                        nb_combine_shared *x)
{
    int first = threadIdx.x * 4, k = threadIdx.x;
    float4 v[NB_COMBINE_STEPS] = {}, *residual = (float4 *)(p.residual + (int64_t)tok * p.d_model);
    float square = 0;
    __syncthreads(); // the token before is done
    if (k < p.top_k + p.has_shared) {
        bool routed = k < p.top_k;
        x->row[k] = routed ? p.pair_at[tok * p.top_k + k] : p.n_tok * p.top_k + tok;
        x->weight[k] = routed ? p.top_weight[tok * p.top_k + k] : p.shared_weight[tok];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < NB_COMBINE_STEPS; i++) { // all loads before the first store
        int at = first + i * NB_COMBINE_STEP;
        if (at < p.d_model) v[i] = nb_combine_columns<BF16>(p, tok, x, at);
    }
#pragma unroll
    for (int i = 0; i < NB_COMBINE_STEPS; i++) {
        if (first + i * NB_COMBINE_STEP < p.d_model) residual[(first + i * NB_COMBINE_STEP) / 4] = v[i];
        square += nb_square_sum(v[i]);
    }
    for (int i = first + NB_MOE_NORM_MAX; i < p.d_model; i += NB_COMBINE_STEP)
        residual[i / 4] = nb_combine_columns<BF16>(p, tok, x, i);
    if (!p.next_norm) return;
    float scale = rsqrtf(nb_block_sum(square, x->sums) / (float)p.d_model + p.eps);
#pragma unroll
    for (int i = 0; i < NB_COMBINE_STEPS; i++) {
        float4 w = norm.w[i],
               y = {v[i].x * scale * w.x, v[i].y * scale * w.y, v[i].z * scale * w.z, v[i].w * scale * w.w};
        if (first + i * NB_COMBINE_STEP < p.next.stride)
            nb_store_prepared(p.next, tok, first + i * NB_COMBINE_STEP, y); // zeros behind d_model
    }
}

#endif
