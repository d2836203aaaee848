// Preparation of a matrix's input by one block: norms and roundings, the same code whether the result goes to shared memory
// (fused, small batches) or to global memory (large ones).
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

// h = x * rsqrt(mean(x^2) + eps) * w
template <bool F16>
__device__ void nb_source_norm(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out, float *red)
{
    const float *x = s.value + (int64_t)row * s.n_in;
    float sum = 0;
    for (int i = threadIdx.x * 4; i < s.n_in; i += blockDim.x * 4) {
        float4 v = *(const float4 *)(x + i);
        sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    float scale = rsqrtf(nb_block_sum(sum, red) / (float)s.n_in + s.eps);
    for (int i = threadIdx.x * 4; i < s.n_in; i += blockDim.x * 4) {
        float4 v = *(const float4 *)(x + i), w = __ldg((const float4 *)(s.weight + i));
        uint2 h = {nb_input_pair<F16>(v.x * scale * w.x, v.y * scale * w.y, inverse_scale),
                   nb_input_pair<F16>(v.z * scale * w.z, v.w * scale * w.w, inverse_scale)};
        *(uint2 *)(out + i) = h;
    }
}

// Per value head: o * rsqrt(mean(o^2) + eps) * w * silu(z). One warp a head.
template <bool F16> __device__ void nb_source_gdn(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out)
{
    int lane = threadIdx.x & 31, n_head = s.n_in / NB_SOURCE_HEAD;
    for (int head = threadIdx.x >> 5; head < n_head; head += blockDim.x >> 5) {
        const float *o = s.value + (int64_t)row * s.n_in + head * NB_SOURCE_HEAD;
        const uint16_t *z = s.gate + (int64_t)row * s.gate_stride + head * NB_SOURCE_HEAD;
        float4 v = *(const float4 *)(o + lane * 4), w = __ldg((const float4 *)s.weight + lane);
        uint2 gate = *(const uint2 *)(z + lane * 4);
        float sum = v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        float scale = rsqrtf(nb_warp_sum(sum) / (float)NB_SOURCE_HEAD + s.eps);
        float g0 = nb_silu(nb_f32_from_bits(gate.x << 16)), g1 = nb_silu(nb_f32_from_bits(gate.x & 0xffff0000u));
        float g2 = nb_silu(nb_f32_from_bits(gate.y << 16)), g3 = nb_silu(nb_f32_from_bits(gate.y & 0xffff0000u));
        uint2 h = {nb_input_pair<F16>(v.x * scale * w.x * g0, v.y * scale * w.y * g1, inverse_scale),
                   nb_input_pair<F16>(v.z * scale * w.z * g2, v.w * scale * w.w * g3, inverse_scale)};
        *(uint2 *)(out + head * NB_SOURCE_HEAD + lane * 4) = h;
    }
}

template <bool F16> __device__ void nb_source_bf16(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out)
{
    const uint32_t *x = (const uint32_t *)(s.bf16 + (int64_t)row * s.stride);
    for (int i = threadIdx.x; i < s.n_in / 2; i += blockDim.x)
        ((uint32_t *)out)[i] = nb_input_pair<F16>(nb_f32_from_bits(x[i] << 16), nb_f32_from_bits(x[i] & 0xffff0000u), inverse_scale);
}

// Token `tok` into out[0 .. n_pad), the columns from n_in on zero.
template <bool F16>
__device__ void nb_source_row(const nb_cuda_source &s, int tok, float inverse_scale, uint16_t *out, int n_pad, float *red)
{
    int row = s.index ? s.index[tok] : tok;
    if (s.kind == NB_SOURCE_NORM) nb_source_norm<F16>(s, row, inverse_scale, out, red);
    if (s.kind == NB_SOURCE_GDN) nb_source_gdn<F16>(s, row, inverse_scale, out);
    if (s.kind == NB_SOURCE_BF16) nb_source_bf16<F16>(s, row, inverse_scale, out);
    for (int i = s.n_in + threadIdx.x; i < n_pad; i += blockDim.x) out[i] = 0;
}

#endif
