// Preparation of a matrix's input by one block: norms and roundings, the same code whether the result goes to shared memory
// (fused, small batches) or to global memory (large ones).
#ifndef NB_CUDA_SOURCE_CUH
#define NB_CUDA_SOURCE_CUH

#include "cuda/cuda_linear.h"
#include "cuda/cuda_tile.cuh"

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
        ushort4 h;
        h.x = nb_input_from_f32<F16>(v.x * scale * w.x, inverse_scale);
        h.y = nb_input_from_f32<F16>(v.y * scale * w.y, inverse_scale);
        h.z = nb_input_from_f32<F16>(v.z * scale * w.z, inverse_scale);
        h.w = nb_input_from_f32<F16>(v.w * scale * w.w, inverse_scale);
        *(ushort4 *)(out + i) = h;
    }
}

// Per value head: o * rsqrt(mean(o^2) + eps) * w * silu(z). One warp a head.
template <bool F16> __device__ void nb_source_gdn(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out)
{
    int lane = threadIdx.x & 31, n_head = s.n_in / s.d_head;
    for (int head = threadIdx.x >> 5; head < n_head; head += blockDim.x >> 5) {
        const float *o = s.value + (int64_t)row * s.n_in + head * s.d_head;
        const uint16_t *z = s.gate + (int64_t)row * s.gate_stride + head * s.d_head;
        float sum = 0;
        for (int i = lane; i < s.d_head; i += 32) sum += o[i] * o[i];
        float scale = rsqrtf(nb_warp_sum(sum) / (float)s.d_head + s.eps);
        for (int i = lane; i < s.d_head; i += 32)
            out[head * s.d_head + i] = nb_input_from_f32<F16>(
                o[i] * scale * __ldg(s.weight + i) * nb_silu(nb_bf16_to_f32(z[i])), inverse_scale);
    }
}

template <bool F16> __device__ void nb_source_bf16(const nb_cuda_source &s, int row, float inverse_scale, uint16_t *out)
{
    const uint16_t *x = s.bf16 + (int64_t)row * s.stride;
    for (int i = threadIdx.x; i < s.n_in; i += blockDim.x)
        out[i] = nb_input_from_f32<F16>(nb_bf16_to_f32(x[i]), inverse_scale);
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
