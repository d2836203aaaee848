// Routing of one token by one warp: softmax over the experts, the top_k largest (lowest id on ties), weights.
#ifndef NB_CUDA_ROUTE_CUH
#define NB_CUDA_ROUTE_CUH

#include "cuda/cuda_moe.h"
#include "cuda/cuda_tile.cuh"

// The largest of `v` over the warp, lowest index on ties.
__device__ __forceinline__ void nb_warp_argmax(float *v, int *index)
{
    for (int o = 16; o; o >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, *v, o);
        int at = __shfl_xor_sync(0xffffffffu, *index, o);
        if (other > *v || (other == *v && at < *index)) *v = other, *index = at;
    }
}

// Floats in an order that unsigned integers keep.
__device__ __forceinline__ uint32_t nb_ordered(float x)
{
    uint32_t b = nb_f32_bits(x);
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

__device__ __forceinline__ float nb_unordered(uint32_t k)
{
    return nb_f32_from_bits(k & 0x80000000u ? k & 0x7fffffffu : ~k);
}

// N experts a lane. index, weight: [top_k] shared; with `keep` the result also goes to global memory.
template <int N>
__device__ inline void nb_route_token_of(const nb_cuda_route &r, int tok, int32_t *index, float *weight, bool keep)
{
    int lane = threadIdx.x & 31;
    const float *logits = r.logits + (int64_t)tok * (r.n_expert + 1);
    uint32_t key[N], best = 0;
    float all = 0, chosen = 0, mine = 0;
    int mine_at = 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int e = i * 32 + lane;
        key[i] = e < r.n_expert ? nb_ordered(__ldcg(logits + e)) : 0;
        best = max(best, key[i]);
    }
    float largest = nb_unordered(__reduce_max_sync(0xffffffffu, best));
    if (!r.normalise) {
#pragma unroll
        for (int i = 0; i < N; i++) all += key[i] ? __expf(nb_unordered(key[i]) - largest) : 0.0f;
        all = nb_warp_sum(all);
    }
    for (int k = 0; k < r.top_k; k++) {
        uint32_t top = __reduce_max_sync(0xffffffffu, best), at = UINT32_MAX;
#pragma unroll
        for (int i = N - 1; i >= 0; i--)
            if (key[i] == top) at = i * 32 + lane;
        at = __reduce_min_sync(0xffffffffu, at);
        best = 0;
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (i * 32 + lane == (int)at) key[i] = 0;
            best = max(best, key[i]);
        }
        float p = expf(nb_unordered(top) - largest);
        chosen += p;
        if (lane == k) mine = p, mine_at = at;
    }
    if (lane < r.top_k) {
        float w = mine / (r.normalise ? chosen : all);
        index[lane] = mine_at < r.n_expert ? mine_at : 0, weight[lane] = w;
        if (keep) r.top_index[tok * r.top_k + lane] = index[lane], r.top_weight[tok * r.top_k + lane] = w;
    }
    if (keep && lane == 0 && r.has_shared) r.shared_weight[tok] = 1.0f / (1.0f + expf(-__ldcg(logits + r.n_expert)));
}

__device__ inline void nb_route_token(const nb_cuda_route &r, int tok, int32_t *index, float *weight, bool keep)
{
    if (r.n_expert <= 256)
        nb_route_token_of<8>(r, tok, index, weight, keep);
    else
        nb_route_token_of<NB_EXPERT_MAX / NB_CUDA_WARP>(r, tok, index, weight, keep);
}

// Routes up to NB_CUDA_SMALL_MAX tokens and lists the experts they use, ascending, behind the shared one. By one block.
__device__ inline void nb_route_small(const nb_cuda_route &r)
{
    __shared__ uint32_t used[NB_EXPERT_MAX / 32];
    __shared__ int first[NB_EXPERT_MAX / 32 + 1];
    __shared__ int32_t index[NB_CUDA_SMALL_MAX * NB_TOP_K_EXPERT_MAX];
    __shared__ float weight[NB_CUDA_SMALL_MAX * NB_TOP_K_EXPERT_MAX];
    int n_word = (r.n_expert + 31) / 32, n_pair = r.n_tok * r.top_k, lane = threadIdx.x & 31;
    if (threadIdx.x < NB_EXPERT_MAX / 32) used[threadIdx.x] = 0;
    for (int tok = threadIdx.x >> 5; tok < r.n_tok; tok += blockDim.x >> 5)
        nb_route_token(r, tok, index + tok * r.top_k, weight + tok * r.top_k, true);
    __syncthreads();
    for (int p = threadIdx.x; p < n_pair; p += blockDim.x) atomicOr(&used[index[p] >> 5], 1u << (index[p] & 31));
    __syncthreads();
    if (threadIdx.x < 32) { // prefix sum of the words' counts; NB_EXPERT_MAX / 32 words are at most a warp's lanes
        int n = lane < n_word ? __popc(used[lane]) : 0, sum = n;
        for (int o = 1; o < 32; o *= 2) {
            int before = __shfl_up_sync(0xffffffffu, sum, o);
            if (lane >= o) sum += before;
        }
        first[lane] = sum - n + r.has_shared;
        if (lane == 31) first[32] = sum + r.has_shared, *r.n_group = sum + r.has_shared;
    }
    __syncthreads();
    int n_group = first[NB_EXPERT_MAX / 32];
    for (int i = threadIdx.x; i < n_group * NB_CUDA_SMALL_MAX; i += blockDim.x) r.group_weight[i] = 0;
    if (threadIdx.x == 0 && r.has_shared) r.group_expert[0] = r.n_expert;
    __syncthreads();
    for (int p = threadIdx.x; p < n_pair; p += blockDim.x) {
        int e = index[p], group = first[e >> 5] + __popc(used[e >> 5] & ((1u << (e & 31)) - 1));
        r.group_expert[group] = e;
        r.group_weight[group * NB_CUDA_SMALL_MAX + p / r.top_k] = weight[p];
    }
    if (r.has_shared && (int)threadIdx.x < r.n_tok)
        r.group_weight[threadIdx.x] =
            1.0f / (1.0f + expf(-__ldcg(r.logits + (int64_t)threadIdx.x * (r.n_expert + 1) + r.n_expert)));
}

// The same for one token: no expert is shared then, so every block of the next kernel does it for itself, which is
// sooner than one block doing it for all. `keep`: in the one that leaves it to later kernels.
__device__ inline void nb_route_single(const nb_cuda_route &r, int32_t *index, float *weight, bool keep)
{
    if (threadIdx.x < 32) nb_route_token(r, 0, index, weight, keep);
    __syncthreads();
    int n_group = r.top_k + r.has_shared, i = threadIdx.x;
    if (!keep || i >= n_group) return;
    bool shared = i < r.has_shared;
    if (i == 0) *r.n_group = n_group;
    r.group_expert[i] = shared ? r.n_expert : index[i - r.has_shared];
    r.group_weight[i * NB_CUDA_SMALL_MAX] =
        shared ? 1.0f / (1.0f + expf(-__ldcg(r.logits + r.n_expert))) : weight[i - r.has_shared];
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

// The grid's last n_last blocks to come here wait until all have been; what those wrote before is visible to them then.
// Returns a block's place among them, negative for the others, which may go. n_last: at most the SMs and the grid, so
// that none waits for a block that finds no place on the card. meet: [2] blocks that were here, 0 between meetings;
// meetings so far.
__device__ inline int nb_meet_last(unsigned *meet, int n_last)
{
    __shared__ int place;
    unsigned before = threadIdx.x ? 0 : *(volatile unsigned *)(meet + 1);
    __threadfence(); // the meeting is read before the block counts as here
    __syncthreads();
    if (threadIdx.x == 0) {
        int ticket = (int)atomicAdd(meet, 1u), last = (int)gridDim.x - 1;
        place = ticket - (last + 1 - n_last);
        if (ticket == last) {
            *meet = 0;
            __threadfence();
            atomicAdd(meet + 1, 1u);
        } else if (place >= 0) {
            while (*(volatile unsigned *)(meet + 1) == before) {
            }
        }
        __threadfence();
    }
    __syncthreads();
    return place;
}

#endif
