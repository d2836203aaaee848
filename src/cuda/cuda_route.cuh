// Routing of one token by one warp: softmax over the experts, the top_k largest (lowest id on ties), weights.
#ifndef NB_CUDA_ROUTE_CUH
#define NB_CUDA_ROUTE_CUH

#include "cuda/cuda_moe.h"
#include "cuda/cuda_tile.cuh"

enum { NB_ROUTE_PER_LANE = NB_EXPERT_MAX / NB_CUDA_WARP };

// The largest of `v` over the warp, lowest index on ties.
__device__ __forceinline__ void nb_warp_argmax(float *v, int *index)
{
    for (int o = 16; o; o >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, *v, o);
        int at = __shfl_xor_sync(0xffffffffu, *index, o);
        if (other > *v || (other == *v && at < *index)) *v = other, *index = at;
    }
}

__device__ inline void nb_route_token(const nb_cuda_route &r, int tok)
{
    int lane = threadIdx.x & 31;
    const float *logits = r.logits + (int64_t)tok * (r.n_expert + 1);
    float v[NB_ROUTE_PER_LANE], top[NB_TOP_K_EXPERT_MAX], largest = -INFINITY, all = 0, chosen = 0;
    int index[NB_TOP_K_EXPERT_MAX];
#pragma unroll
    for (int i = 0; i < NB_ROUTE_PER_LANE; i++) {
        int e = i * 32 + lane;
        v[i] = e < r.n_expert ? __ldcg(logits + e) : -INFINITY;
        largest = fmaxf(largest, v[i]);
    }
    largest = nb_warp_max(largest);
#pragma unroll
    for (int i = 0; i < NB_ROUTE_PER_LANE; i++) all += i * 32 < r.n_expert ? expf(v[i] - largest) : 0.0f;
    all = nb_warp_sum(all);
    for (int k = 0; k < r.top_k; k++) {
        float best = -INFINITY;
        int at = NB_EXPERT_MAX;
#pragma unroll
        for (int i = 0; i < NB_ROUTE_PER_LANE; i++)
            if (v[i] > best) best = v[i], at = i * 32 + lane;
        nb_warp_argmax(&best, &at);
#pragma unroll
        for (int i = 0; i < NB_ROUTE_PER_LANE; i++)
            if (i * 32 + lane == at) v[i] = -INFINITY;
        float p = expf(best - largest);
        chosen += p;
        if (lane == 0) {
            r.top_index[tok * r.top_k + k] = at < r.n_expert ? at : 0;
            r.top_weight[tok * r.top_k + k] = p;
        }
    }
    (void)top, (void)index;
    __syncwarp();
    float z = r.normalise ? chosen : all;
    if (lane < r.top_k) r.top_weight[tok * r.top_k + lane] /= z;
    if (lane == 0 && r.has_shared) r.shared_weight[tok] = 1.0f / (1.0f + expf(-__ldcg(logits + r.n_expert)));
}

// The experts that up to NB_CUDA_SMALL_MAX tokens use, in ascending order behind the shared one. By one block.
__device__ inline void nb_route_group_small(const nb_cuda_route &r)
{
    __shared__ uint32_t used[NB_EXPERT_MAX / 32];
    __shared__ int first[NB_EXPERT_MAX / 32 + 1];
    int n_word = (r.n_expert + 31) / 32, n_pair = r.n_tok * r.top_k;
    for (int i = threadIdx.x; i < n_word; i += blockDim.x) used[i] = 0;
    __syncthreads();
    for (int p = threadIdx.x; p < n_pair; p += blockDim.x)
        atomicOr(&used[r.top_index[p] >> 5], 1u << (r.top_index[p] & 31));
    __syncthreads();
    if (threadIdx.x == 0) {
        int n = r.has_shared ? 1 : 0;
        for (int i = 0; i < n_word; i++) first[i] = n, n += __popc(used[i]);
        *r.n_group = n;
        if (r.has_shared) r.group_expert[0] = r.n_expert;
    }
    __syncthreads();
    int n_group = *r.n_group;
    for (int i = threadIdx.x; i < n_group * NB_CUDA_SMALL_MAX; i += blockDim.x) {
        int tok = i % NB_CUDA_SMALL_MAX;
        r.group_weight[i] = r.has_shared && i < NB_CUDA_SMALL_MAX && tok < r.n_tok ? r.shared_weight[tok] : 0.0f;
    }
    __syncthreads();
    for (int p = threadIdx.x; p < n_pair; p += blockDim.x) {
        int e = r.top_index[p], group = first[e >> 5] + __popc(used[e >> 5] & ((1u << (e & 31)) - 1));
        r.group_expert[group] = e;
        r.group_weight[group * NB_CUDA_SMALL_MAX + p / r.top_k] = r.top_weight[p];
    }
}

// True in the last block of the grid to come here; what the others wrote before is visible to it.
__device__ inline bool nb_last_block(unsigned *counter, unsigned n_block)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(counter, 1u) == n_block - 1;
        if (last) *counter = 0;
        __threadfence();
    }
    __syncthreads();
    return last;
}

#endif
