// Part of cuda_single.cu: the choice of experts, their weights' way into shared memory, gate and up, down.
#ifndef NB_CUDA_SINGLE_EXPERTS_CUH
#define NB_CUDA_SINGLE_EXPERTS_CUH

#include "cuda/cuda_single_packet.cuh"
#include "cuda/cuda_single_product.cuh"

enum {
    DOWN_AT_ONCE = 2, // pieces of a warp
    GATE_AHEAD = 2,   // row tiles of gate and up on their way: 36 KB, more than an SM's share of the memory's latency
};
static_assert(NB_SINGLE_GATE_MAX + GATE_AHEAD <= WARPS, "a warp for each copy");

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// The chosen experts' weights, normalised, by one warp. all: the sum over all experts, where they are normalised by it.
__device__ static void weigh(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l, uint32_t epoch,
                             float all)
{
    const nb_cuda_experts &x = l.experts;
    int shared = p.route.has_shared, i = threadIdx.x & 31, n = p.route.top_k + shared;
    float sum = 0;
    for (int k = shared; k < n; k++) sum += sh->weight[k];
    float weight = i >= n       ? 0.0f
                   : i < shared ? nb_sigmoid(nb_packet_load(p.logits + p.route.n_expert, epoch))
                                : sh->weight[i] / (p.route.normalise ? sum : all);
    __syncwarp();
    if (i >= n) return;
    sh->weight[i] = weight * (i < shared          ? l.shared_down.scale_low
                              : x.down_multiplier ? __ldg(x.down_multiplier + sh->index[i])
                                                  : x.down.scale_low);
}

// nb_route_token_of by all warps: the experts of the token, the shared one first, a thread an expert. If no more are
// chosen than there are warps, each of them reaches the least of the warps' largest logits; only those that do are
// compared, lowest id first on ties.
__device__ static void route(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l, uint32_t epoch)
{
    static_assert(NB_SINGLE_EXPERT_MAX <= THREADS && sizeof sh->red >= NB_SINGLE_EXPERT_MAX * sizeof(uint2),
                  "a thread each");
    int shared = p.route.has_shared, i = threadIdx.x, warp = i >> 5, lane = i & 31, rank = 0, first = 0;
    float logit = i < p.route.n_expert ? nb_packet_load(p.logits + i, epoch) : 0.0f, all = 0;
    uint32_t key = i < p.route.n_expert ? nb_ordered(logit) : 0, least = UINT32_MAX, most = 0;
    uint2 *candidates = (uint2 *)sh->red; // key, expert
    nb_fence_async();                     // what was here before the experts' weights
    uint32_t top = __reduce_max_sync(0xffffffffu, key);
    if (lane == 0) sh->top[warp] = top;
    if (i == 0) sh->n_candidate = 0;
    nb_single_sync();
#pragma unroll
    for (int w = 0; w < WARPS; w++) least = min(least, sh->top[w]), most = max(most, sh->top[w]);
    bool candidate = key && (key >= least || p.route.top_k > WARPS);
    uint32_t mask = __ballot_sync(0xffffffffu, candidate);
    if (lane == 0) first = atomicAdd(&sh->n_candidate, __popc(mask));
    first = __shfl_sync(0xffffffffu, first, 0);
    if (candidate) candidates[first + __popc(mask & ((1u << lane) - 1))] = make_uint2(key, i);
    float e = expf(logit - nb_unordered(most));
    if (!p.route.normalise) {
        all = nb_warp_sum(key ? e : 0.0f);
        if (lane == 0) sh->sums[warp] = all;
    }
    nb_single_sync();
    int n = sh->n_candidate;
    if (candidate)
#pragma unroll 4
        for (int j = 0; j < n; j++) {
            uint2 other = candidates[j];
            rank += other.x > key || (other.x == key && (int)other.y < i);
        }
    if (candidate && rank < p.route.top_k) sh->index[shared + rank] = i, sh->weight[shared + rank] = e;
    if (i == 0 && shared) sh->index[0] = p.route.n_expert;
    nb_single_sync();
    if (warp != WARPS - 1) return;
    all = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) all += sh->sums[w];
    weigh(p, sh, l, epoch, all);
}

// One row tile of a group's matrix into shared memory: the data, then the scales.
template <int KIND>
__device__ __forceinline__ static void copy_tile(uint8_t *to, const nb_cuda_matrix &m, int64_t data, int64_t scale,
                                                 int row_tile, uint64_t *full)
{
    int n_unit = m.n_k_tile / nb_unit<KIND>::n_tile, n_data = n_unit * nb_ring<KIND>::n * 512;
    nb_copy_weights(to, m.data + data + (int64_t)row_tile * n_data / 16, n_data, full);
    if (KIND == NB_KIND_NVFP4)
        nb_copy_weights(to + n_data, m.scale + scale + (int64_t)row_tile * n_unit * 32, n_unit * 128, full);
}

template <int KIND> __device__ __forceinline__ static int tile_bytes(const nb_cuda_matrix &m)
{
    return m.n_k_tile / nb_unit<KIND>::n_tile * nb_ring<KIND>::bytes;
}

// Row tiles of gate and up of this block, over all groups.
__device__ __forceinline__ static int n_gate_tile(const nb_single_args &p, const nb_cuda_experts &x)
{
    int n_all = (p.route.top_k + p.route.has_shared) * x.gate_up.n_row_tile;
    return (n_all - (int)blockIdx.x + (int)gridDim.x - 1) / (int)gridDim.x;
}

// Begins the i-th copy of the chosen experts' weights, by one warp: a row tile of gate and up, behind the last one
// down's of all groups. Few at a time, so that the first comes first. What nb_single_feed_shared() brings is left out:
// of the shared expert, down and the block's first row tile.
template <int KIND>
__device__ static void copy_experts(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l, int i)
{
    const nb_cuda_experts &x = l.experts;
    int n_tile = x.gate_up.n_row_tile, lane = threadIdx.x & 31, n_mine = n_gate_tile(p, x),
        q = blockIdx.x + i * gridDim.x;
    int group = i < n_mine ? q / n_tile : lane, down_tile = blockIdx.x;
    if (i > n_mine || group >= p.route.top_k + p.route.has_shared) return;
    int64_t e = sh->index[group];
    bool shared = e == p.route.n_expert;
    if (shared && (i == 0 || i == n_mine)) return;
    if (i < n_mine) {
        if (lane != 0) return;
        nb_barrier_expect(&sh->gate_full[i], tile_bytes<KIND>(x.gate_up));
        copy_tile<KIND>(nb_single_gate(sh, i), shared ? l.shared_gate_up : x.gate_up, shared ? 0 : e * x.gate_up_data,
                        shared ? 0 : e * x.gate_up_scale, q % n_tile, &sh->gate_full[i]);
    } else if (down_tile < x.down.n_row_tile) {
        nb_barrier_expect(&sh->down_full, tile_bytes<KIND>(x.down));
        copy_tile<KIND>(sh->experts.down + group * tile_bytes<KIND>(x.down), x.down, e * x.down_data, e * x.down_scale,
                        down_tile, &sh->down_full);
    }
}

// The warp has read what the barrier stands for.
__device__ __forceinline__ static void leave(uint64_t *read)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0) nb_barrier_arrive(read);
}

template <int KIND> __device__ __forceinline__ static int piece_count(const nb_cuda_matrix &m)
{
    return KIND == NB_KIND_BF16 ? 2 * m.n_k_tile : m.n_k_tile / nb_unit<KIND>::n_tile;
}

// Piece u of a row tile that lies in shared memory whole.
template <int KIND>
__device__ __forceinline__ static void read_piece(nb_single_piece<KIND> *piece, const nb_cuda_matrix &m,
                                                  const uint8_t *tile, const uint16_t *x, int u, bool in)
{
    const uint8_t *scale = tile + m.n_k_tile * nb_unit<KIND>::n_chunk * 512 + u * 128;
    nb_single_read<KIND>(piece, tile + (KIND == NB_KIND_BF16 ? (u >> 1) * 2048 + (u & 1) * 512 : u * 1024), scale, x, u,
                         in);
}

// Gate and up: a block's row tiles over all groups, a warp's part of K.
template <int KIND>
__device__ static void gate_up(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l, int i_layer)
{
    const nb_cuda_experts &x = l.experts;
    int parity = i_layer & 1, warp = threadIdx.x >> 5, n_mine = n_gate_tile(p, x), n_tile = x.gate_up.n_row_tile,
        n_piece = piece_count<KIND>(x.gate_up);
    if (warp < GATE_AHEAD) copy_experts<KIND>(p, sh, l, warp);
    if (i_layer + 1 < p.n_layer) nb_single_fetch_layer(p, sh, i_layer + 1);
    int my_tile = threadIdx.x >> 3, r = threadIdx.x & 7,
        q = blockIdx.x + my_tile * gridDim.x; // a row of gate, and of up
    int e = my_tile < n_mine ? sh->index[q / n_tile] : 0;
    bool shared = e == p.route.n_expert;
    const nb_cuda_matrix &m = shared ? l.shared_gate_up : x.gate_up;
    float gate_scale = m.scale_low, up_scale = m.scale_high;
    if (!shared && x.gate_multiplier) gate_scale = __ldg(x.gate_multiplier + e), up_scale = __ldg(x.up_multiplier + e);
#pragma unroll 1
    for (int i = 0; i < n_mine; i++) {
        float y[2][2][4] = {};
        nb_barrier_wait(&sh->gate_full[i], parity);
        if (warp == i + GATE_AHEAD) copy_experts<KIND>(p, sh, l, warp);
#pragma unroll 1
        for (int u = warp; u < n_piece; u += 2 * WARPS) {
            nb_single_piece<KIND> a, b;
            bool two = u + WARPS < n_piece;
            read_piece<KIND>(&a, x.gate_up, nb_single_gate(sh, i), sh->x[1], u, true);
            read_piece<KIND>(&b, x.gate_up, nb_single_gate(sh, i), sh->x[1], two ? u + WARPS : u, two);
            nb_single_multiply<KIND>(y[0], a), nb_single_multiply<KIND>(y[1], b);
        }
#pragma unroll
        for (int c = 0; c < 4; c++) y[0][0][c] += y[1][0][c], y[0][1][c] += y[1][1][c];
        nb_single_store(sh->red[i][warp], y[0]);
    }
    leave(&sh->gate_read);
    nb_copies_wait(); // the next layer's description
    nb_single_sync();
    if (my_tile >= n_mine) return;
    int ff = q % n_tile * 8 + r;
    float gate = 0, up = 0;
#pragma unroll
    for (int k = 0; k < WARPS; k++) gate += sh->red[my_tile][k][r], up += sh->red[my_tile][k][r + 8];
    gate *= gate_scale, up *= up_scale;
    if (ff < m.n_out / 2) p.inter[q / n_tile * p.inter_stride + ff] = nb_bf16_from_f32(nb_silu(gate) * up);
}

// The warp's part of down's row tiles, weighted and added over the groups.
template <int KIND>
__device__ static void down_tiles(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l,
                                  const uint16_t *inter, float total[2][4])
{
    const nb_cuda_matrix &m = l.experts.down;
    int n_piece = piece_count<KIND>(m), n_all = (p.route.top_k + p.route.has_shared) * n_piece;
    float per = 1.0f / (float)n_piece;
#pragma unroll 1
    for (int first = threadIdx.x >> 5; first < n_all; first += DOWN_AT_ONCE * WARPS) {
        nb_single_piece<KIND> piece[DOWN_AT_ONCE];
        float weight[DOWN_AT_ONCE];
#pragma unroll
        for (int i = 0; i < DOWN_AT_ONCE; i++) {
            int q = min(first + i * WARPS, n_all - 1), g = (int)(((float)q + 0.5f) * per); // q / n_piece
            weight[i] = sh->weight[g];
            read_piece<KIND>(&piece[i], m, sh->experts.down + g * tile_bytes<KIND>(m), inter + g * p.inter_stride,
                             q - g * n_piece, first + i * WARPS < n_all);
        }
#pragma unroll
        for (int i = 0; i < DOWN_AT_ONCE; i++) {
            float y[2][4] = {};
            nb_single_multiply<KIND>(y, piece[i]);
#pragma unroll
            for (int c = 0; c < 4; c++) total[i & 1][c] += weight[i] * (y[0][c] + y[1][c]);
        }
    }
}

// Down, of all groups, added to the residual stream: the block's own rows.
template <int KIND>
__device__ static void down(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l, int i_layer,
                            uint32_t epoch)
{
    int warp = threadIdx.x >> 5, n_group = p.route.top_k + p.route.has_shared, row = blockIdx.x * 16 + threadIdx.x;
    if ((int)blockIdx.x >= l.experts.down.n_row_tile) {
        leave(&sh->down_read);
        return;
    }
    uint16_t *inter = sh->x[0];
    float total[2][4] = {};
    constexpr int n_load =
        2 * NB_SINGLE_X_MAX / 8 / THREADS; // of a thread, all on their way before the first is stored
    uint4 v[n_load];
#pragma unroll
    for (int k = 0; k < n_load; k++) {
        int i = threadIdx.x + k * THREADS;
        if (i < n_group * p.inter_stride / 8) v[k] = __ldcg((const uint4 *)p.inter + i);
    }
#pragma unroll
    for (int k = 0; k < n_load; k++) {
        int i = threadIdx.x + k * THREADS;
        if (i < n_group * p.inter_stride / 8) ((uint4 *)inter)[i] = v[k];
    }
    nb_barrier_wait(&sh->down_full, i_layer & 1);
    nb_single_sync();
    down_tiles<KIND>(p, sh, l, inter, total);
    leave(&sh->down_read);
    nb_single_store(sh->red[0][warp], total);
    nb_single_sync();
    if (threadIdx.x >= 16 || row >= p.d_model) return;
    float y = sh->own[threadIdx.x];
#pragma unroll
    for (int k = 0; k < WARPS; k++) y += sh->red[0][k][threadIdx.x];
    sh->own[threadIdx.x] = y;
    nb_packet_store(p.added + row, y, epoch);
    if (i_layer + 1 == p.n_layer) p.residual[row] = y;
}
#endif

#endif
