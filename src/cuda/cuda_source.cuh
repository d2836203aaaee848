// Preparation of a matrix's input by one block: norms and roundings, the same code whether the result goes to shared
// memory (fused, small batches) or to global memory (large ones).
#ifndef NB_CUDA_SOURCE_CUH
#define NB_CUDA_SOURCE_CUH

#include "cuda/cuda_linear.h"
#include "cuda/cuda_tile.cuh"

enum { NB_SOURCE_HEAD = 4 * NB_CUDA_WARP }; // d_value of the family: four values a lane

// Sum over the block. red: [32] shared.
__device__ __forceinline__ float nb_block_sum(float v, float *red)
{
    v = nb_warp_sum(v);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) red[threadIdx.x >> 5] = v;
    __syncthreads();
    int n_warp = (blockDim.x + 31) >> 5;
    return nb_warp_sum((int)(threadIdx.x & 31) < n_warp ? red[threadIdx.x & 31] : 0.0f);
}

// What is static of a source, loaded before the dependency is waited for: a norm's weights, as the threads will want
// them.
enum { NB_SOURCE_AHEAD = 4 };
typedef struct nb_source_ahead {
    float4 w[NB_SOURCE_AHEAD];
} nb_source_ahead;

__device__ __forceinline__ void nb_source_preload(const nb_cuda_source &s, nb_source_ahead *a)
{
#pragma unroll
    for (int i = 0; i < NB_SOURCE_AHEAD; i++) {
        int at = s.kind == NB_SOURCE_NORM ? (int)(threadIdx.x + i * blockDim.x) * 4 : (int)(threadIdx.x & 31) * 4;
        bool in = s.kind == NB_SOURCE_NORM ? at < s.n_in : s.kind == NB_SOURCE_GDN && i == 0;
        a->w[i] = in ? __ldg((const float4 *)(s.weight + at)) : make_float4(0, 0, 0, 0);
    }
}

__device__ __forceinline__ float nb_square_sum(float4 v)
{
    return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

template <bool F16>
__device__ __forceinline__ void nb_store_scaled(uint16_t *out, float4 v, float scale, float4 w, float inverse_scale)
{
    uint2 h = {nb_input_pair<F16>(v.x * scale * w.x, v.y * scale * w.y, inverse_scale),
               nb_input_pair<F16>(v.z * scale * w.z, v.w * scale * w.w, inverse_scale)};
    *(uint2 *)out = h;
}

// h = x * rsqrt(mean(x^2) + eps) * w of one row by the whole block, the row in registers: n_in <= 16 * blockDim.
template <bool F16>
__device__ void nb_source_norm_block(const nb_cuda_source &s, const nb_source_ahead &a, int row, float inverse_scale,
                                     uint16_t *out, float *red)
{
    const float *x = s.value + (int64_t)row * s.n_in;
    float4 v[NB_SOURCE_AHEAD];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < NB_SOURCE_AHEAD; i++) {
        int at = (threadIdx.x + i * blockDim.x) * 4;
        v[i] = at < s.n_in ? *(const float4 *)(x + at) : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < NB_SOURCE_AHEAD; i++) sum += nb_square_sum(v[i]);
    float scale = rsqrtf(nb_block_sum(sum, red) / (float)s.n_in + s.eps);
#pragma unroll
    for (int i = 0; i < NB_SOURCE_AHEAD; i++) {
        int at = (threadIdx.x + i * blockDim.x) * 4;
        if (at < s.n_in) nb_store_scaled<F16>(out + at, v[i], scale, a.w[i], inverse_scale);
    }
}

// The same by one warp, any n_in.
template <bool F16>
__device__ void nb_source_norm_warp(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out)
{
    const float *x = s.value + (int64_t)row * s.n_in;
    int lane = threadIdx.x & 31;
    float sum = 0;
#pragma unroll 8
    for (int i = lane * 4; i < s.n_in; i += 128) sum += nb_square_sum(*(const float4 *)(x + i));
    float scale = rsqrtf(nb_warp_sum(sum) / (float)s.n_in + s.eps);
#pragma unroll 4
    for (int i = lane * 4; i < s.n_in; i += 128)
        nb_store_scaled<F16>(out + i, *(const float4 *)(x + i), scale, __ldg((const float4 *)(s.weight + i)),
                             inverse_scale);
}

// Per value head: o * rsqrt(mean(o^2) + eps) * w * silu(z). One warp a head, NB_SOURCE_AHEAD heads in flight.
template <bool F16>
__device__ void nb_source_gdn(const nb_cuda_source &s, const nb_source_ahead &a, int row, float inverse_scale,
                              uint16_t *out)
{
    int lane = threadIdx.x & 31, n_head = s.n_in / NB_SOURCE_HEAD, n_warp = blockDim.x >> 5;
    for (int first = threadIdx.x >> 5; first < n_head; first += n_warp * NB_SOURCE_AHEAD) {
        float4 v[NB_SOURCE_AHEAD];
        uint2 z[NB_SOURCE_AHEAD];
#pragma unroll
        for (int i = 0; i < NB_SOURCE_AHEAD; i++) {
            int head = min(first + i * n_warp, n_head - 1);
            v[i] = *(const float4 *)(s.value + (int64_t)row * s.n_in + head * NB_SOURCE_HEAD + lane * 4);
            z[i] = *(const uint2 *)(s.gate + (int64_t)row * s.gate_stride + head * NB_SOURCE_HEAD + lane * 4);
        }
#pragma unroll
        for (int i = 0; i < NB_SOURCE_AHEAD; i++) {
            int head = first + i * n_warp;
            float scale = rsqrtf(nb_warp_sum(nb_square_sum(v[i])) / (float)NB_SOURCE_HEAD + s.eps);
            v[i].x *= nb_silu(nb_f32_from_bits(z[i].x << 16)),
                v[i].y *= nb_silu(nb_f32_from_bits(z[i].x & 0xffff0000u));
            v[i].z *= nb_silu(nb_f32_from_bits(z[i].y << 16)),
                v[i].w *= nb_silu(nb_f32_from_bits(z[i].y & 0xffff0000u));
            if (head < n_head)
                nb_store_scaled<F16>(out + head * NB_SOURCE_HEAD + lane * 4, v[i], scale, a.w[0], inverse_scale);
        }
    }
}

template <bool F16> __device__ void nb_source_bf16(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out)
{
    const uint32_t *x = (const uint32_t *)(s.bf16 + (int64_t)row * s.stride);
#pragma unroll 8
    for (int i = threadIdx.x; i < s.n_in / 2; i += blockDim.x)
        ((uint32_t *)out)[i] =
            nb_input_pair<F16>(nb_f32_from_bits(x[i] << 16), nb_f32_from_bits(x[i] & 0xffff0000u), inverse_scale);
}

// Tokens first .. first + n_tok - 1 into out[n_tok][stride], by one block; the columns from n_in to n_pad are zero.
template <bool F16>
__device__ void nb_source_rows(const nb_cuda_source &s, const nb_source_ahead &a, int first, int n_tok,
                               float inverse_scale, uint16_t *out, int stride, int n_pad, float *red)
{
    bool by_block = n_tok == 1 && s.n_in <= (int)blockDim.x * 4 * NB_SOURCE_AHEAD;
    for (int tok = 0; tok < n_tok; tok++) {
        int row = s.index ? s.index[first + tok] : first + tok;
        if (s.kind == NB_SOURCE_NORM && by_block)
            nb_source_norm_block<F16>(s, a, row, inverse_scale, out, red);
        else if (s.kind == NB_SOURCE_NORM && tok % (blockDim.x >> 5) == threadIdx.x >> 5)
            nb_source_norm_warp<F16>(s, row, inverse_scale, out + tok * stride);
        else if (s.kind == NB_SOURCE_GDN)
            nb_source_gdn<F16>(s, a, row, inverse_scale, out + tok * stride);
        else if (s.kind == NB_SOURCE_BF16)
            nb_source_bf16<F16>(s, row, inverse_scale, out + tok * stride);
        for (int i = s.n_in + threadIdx.x; i < n_pad; i += blockDim.x) out[tok * stride + i] = 0;
    }
}

#endif
