// Grouping of routed pairs by expert for the grouped products: places of pairs, tiles of experts.
#ifndef NB_CUDA_GROUP_CUH
#define NB_CUDA_GROUP_CUH

#include "cuda/cuda_route.cuh"

// An expert's tiles i, i + step, .. to r.tile from `at` on: even shares, only the last may be smaller.
__device__ inline void nb_add_tiles(const nb_cuda_route &r, int expert, int first, int count, int at, int i, int step)
{
    int n = (count + r.tile_columns - 1) / r.tile_columns, each = n ? ((count + n - 1) / n + 7) / 8 * 8 : 0;
    for (; i < n; i += step) {
        nb_cuda_tile t = {expert, first + i * each, min(each, count - i * each)};
        r.tile[at + i] = t;
    }
}

// Pairs by expert, and the tiles of the grouped products. The order inside an expert is that of arrival: a column of an
// mma does not depend on its neighbours.
typedef struct nb_grouping {
    int count[NB_EXPERT_MAX], first[NB_EXPERT_MAX],
        tile_first[NB_EXPERT_MAX]; // of an expert: pairs, first pair and tile
} nb_grouping;

// Prefix sums over the experts, neighbours to a lane: one scan of the lanes' sums. By one warp.
__device__ inline void nb_sum_experts(const nb_cuda_route &r, nb_grouping *g)
{
    int lane = threadIdx.x, each = (r.n_expert + 31) / 32, begin = lane * each, end = min(begin + each, r.n_expert);
    auto tiles_of = [&](int count) { return (count + r.tile_columns - 1) / r.tile_columns; };
    int sum = 0, tiles = 0;
    for (int e = begin; e < end; e++) sum += g->count[e], tiles += tiles_of(g->count[e]);
    int n = -sum, n_tile = (r.tile_shared ? tiles_of(r.n_tok) : 0) - tiles; // the lane's own do not come before
    for (int o = 1; o < 32; o *= 2) {
        int before = __shfl_up_sync(0xffffffffu, sum, o), tiles_before = __shfl_up_sync(0xffffffffu, tiles, o);
        if (lane >= o) sum += before, tiles += tiles_before;
    }
    n += sum, n_tile += tiles;
    for (int e = begin; e < end; e++) {
        g->first[e] = n, g->tile_first[e] = n_tile;
        n += g->count[e], n_tile += tiles_of(g->count[e]);
    }
    if (lane == 31) *r.n_tile = n_tile;
}

// Everything but count, and the tiles. By one block.
__device__ inline void nb_lay_out_experts(const nb_cuda_route &r, nb_grouping *g)
{
    int lane = threadIdx.x & 31, last_warp = (blockDim.x - 1) / 32;
    if (threadIdx.x < 32) nb_sum_experts(r, g);
    if (r.tile_shared && threadIdx.x / 32 == last_warp) nb_add_tiles(r, r.n_expert, 0, r.n_tok, 0, lane, 32);
    __syncthreads();
    for (int e = threadIdx.x; e < r.n_expert; e += blockDim.x)
        nb_add_tiles(r, e, g->first[e], g->count[e], g->tile_first[e], 0, 1);
    __syncthreads();
}

__device__ __forceinline__ void nb_place_pair(const nb_cuda_route &r, int pair, int at)
{
    r.pair_at[pair] = at, r.pair_token[at] = pair / r.top_k;
}

// f(pair, its expert) of all pairs, a block's threads side by side; NB_PAIRS_AHEAD loads of a thread at once, since
// none would pass the atomic operation of the one before.
enum { NB_PAIRS_AHEAD = 4 };
template <class F> __device__ __forceinline__ void nb_each_pair(const nb_cuda_route &r, F f)
{
    int n_pair = r.n_tok * r.top_k, step = blockDim.x;
    for (int first = threadIdx.x; first < n_pair; first += NB_PAIRS_AHEAD * step) {
        int e[NB_PAIRS_AHEAD];
#pragma unroll
        for (int i = 0; i < NB_PAIRS_AHEAD; i++) e[i] = __ldcg(r.top_index + min(first + i * step, n_pair - 1));
#pragma unroll
        for (int i = 0; i < NB_PAIRS_AHEAD; i++)
            if (first + i * step < n_pair) f(first + i * step, e[i]);
    }
}

// All of it by one block.
__device__ inline void nb_group_pairs(const nb_cuda_route &r, nb_grouping *g)
{
    for (int e = threadIdx.x; e < r.n_expert; e += blockDim.x) g->count[e] = 0;
    __syncthreads();
    nb_each_pair(r, [&](int, int e) { atomicAdd(&g->count[e], 1); });
    __syncthreads();
    nb_lay_out_experts(r, g);
    nb_each_pair(r, [&](int pair, int e) { nb_place_pair(r, pair, atomicAdd(&g->first[e], 1)); });
}

#endif
