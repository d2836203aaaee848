// The machinery of the persistent kernel: shared memory, the ring of static weights and its annex, packets, the grid
// barrier.
//
// Static weights come in stages of up to 32 slots of a row tile, in the order of their use. Most go through the ring.
// It is full when a layer begins, and the layer's next stages go to the annex: memory that the experts' weights of the
// layer before have left and that the layer's own will not want before they are chosen. The shared expert is no choice:
// its weights come as soon as the annex has been read, behind what the second product wants. What is wanted later only
// comes piece by piece, since a long queue at the memory would delay the blocks' words to each other.
#ifndef NB_CUDA_SINGLE_CUH
#define NB_CUDA_SINGLE_CUH

#include "cuda/cuda_attention_heads.cuh"
#include "cuda/cuda_deltanet_item.cuh"
#include "cuda/cuda_route.cuh"
#include "cuda/cuda_single.h"
#include "cuda/cuda_wgmma.cuh"

enum {
    NB_SINGLE_THREADS = NB_SINGLE_WARPS * 32, // that compute; one more warpgroup feeds the ring, by one thread
    NB_SINGLE_REGISTERS = 240, // of a thread that computes; a warpgroup can give registers, a warp cannot
    NB_SINGLE_REGISTERS_FEEDER = 24,
    NB_SINGLE_DEPTH = 2,                                   // stages of the ring
    NB_SINGLE_AT_ONCE = 4,                                 // slots that a warp multiplies at a time, at most
    NB_SINGLE_SLOTS = NB_SINGLE_AT_ONCE * NB_SINGLE_WARPS, // of a stage
    NB_SINGLE_SLOT_BYTES = 1024,
    NB_SINGLE_SCALE_BYTES = 128,                                  // of a slot of NVFP4
    NB_SINGLE_SCALES_AT = NB_SINGLE_SLOTS * NB_SINGLE_SLOT_BYTES, // in a stage
    NB_SINGLE_STAGE_BYTES = NB_SINGLE_SLOTS * (NB_SINGLE_SLOT_BYTES + NB_SINGLE_SCALE_BYTES),
    NB_SINGLE_PIECE = 8,       // slots: about what an SM's share of the memory's rate brings in its latency
    NB_SINGLE_PAGES_AHEAD = 2, // of the KV cache, a team's that come into L2 before it attends to them
};

enum { WARPS = NB_SINGLE_WARPS, THREADS = NB_SINGLE_THREADS }; // of the kernel's parts, which say them often

typedef struct nb_single_team { // attention: of four warps
    nb_exchange exchange;
    nb_heads heads;
} nb_single_team;

// What a team attends to, the same in every layer: pages first .. end - 1 of a KV head, or none.
typedef struct nb_single_pages {
    int kv, split, first, end;
} nb_single_pages;

typedef struct nb_single_delta {
    nb_gdn_stage<32> stage;
    nb_gdn_workspace work;
} nb_single_delta;

// The chosen ones' weights: row tiles of gate and up, the block's first one last, since it may be the shared expert's
// and come while the mixer is at work; one of down of all groups, the shared expert's first.
typedef struct nb_single_experts {
    uint8_t gate[NB_SINGLE_GATE_MAX][NB_SINGLE_GATE_BYTES];
    uint8_t down[NB_SINGLE_DOWN_BYTES];
} nb_single_experts;

typedef union __align__(128) nb_single_mixer
{
    nb_single_delta delta;
    nb_single_team team[2];
}
nb_single_mixer;

enum {
    NB_SINGLE_ANNEX = (sizeof(nb_single_experts) - sizeof(nb_single_mixer)) / NB_SINGLE_STAGE_BYTES, // stages
    NB_SINGLE_ANNEX_GATE = (NB_SINGLE_GATE_MAX * NB_SINGLE_GATE_BYTES - sizeof(nb_single_mixer)) /
                           NB_SINGLE_STAGE_BYTES, // of them where down's weights do not lie
};

typedef struct nb_single_shared {
    __align__(128) uint8_t ring[NB_SINGLE_DEPTH][NB_SINGLE_STAGE_BYTES];
    union {
        __align__(128) nb_single_experts experts;
        struct {
            nb_single_mixer mixer;
            uint8_t stage[NB_SINGLE_ANNEX][NB_SINGLE_STAGE_BYTES];
        } annex;
    };
    __align__(16) uint16_t x[2][NB_SINGLE_X_MAX]; // the input of a product: e4m3 in bytes; bf16
    float red[NB_SINGLE_ROWS_MAX][NB_SINGLE_WARPS][16];
    __align__(16) nb_cuda_layer layer[2]; // by the layer's parity
    float own[16];                        // the block's rows of the residual stream
    float sums[NB_SINGLE_WARPS], weight[NB_SINGLE_GROUP_MAX];
    int32_t index[NB_SINGLE_GROUP_MAX];
    uint32_t top[NB_SINGLE_WARPS];
    int n_candidate;
    __align__(16) float2 rope[NB_HEAD_MAX / 2];
    nb_gdn_seq gdn_seq; // the sequence, as the mixers want it
    nb_attention_seq attention_seq;
    nb_single_pages pages[2]; // of the teams
    int n_split;              // that have pages
    uint64_t full[NB_SINGLE_DEPTH + NB_SINGLE_ANNEX], empty[NB_SINGLE_DEPTH], gate_full[NB_SINGLE_GATE_MAX], down_full;
    uint64_t piece;                // of what comes piece by piece
    uint64_t gate_read, down_read; // by all warps: the annex is free up to NB_SINGLE_ANNEX_GATE; as a whole
    uint64_t annex_read;           // by all warps, in the layer's first product
} nb_single_shared;
static_assert((NB_SINGLE_GATE_MAX - 1) * NB_SINGLE_GATE_BYTES >= sizeof(nb_single_mixer),
              "the shared expert's weights lie behind the mixer");
static_assert(NB_SINGLE_REGISTERS_FEEDER + 2 * NB_SINGLE_REGISTERS <=
                  3 * nb_registers_launched(NB_SINGLE_THREADS + NB_WARPGROUP),
              "setmaxnreg waits");
static_assert(sizeof(nb_single_shared) <= 227 * 1024, "what a block may have on Hopper");

__device__ __forceinline__ void nb_single_sync(void) // of the warps that compute
{
    static_assert(NB_SINGLE_THREADS == 256, "the barrier's count");
    asm volatile("bar.sync 0, 256;" ::: "memory");
}

template <bool MORE> __device__ __forceinline__ void nb_single_registers(void)
{
#if NB_HAVE_WGMMA
    if (MORE)
        nb_registers_more<NB_SINGLE_REGISTERS>();
    else
        nb_registers_fewer<NB_SINGLE_REGISTERS_FEEDER>();
#endif
}

// A layer's description into shared memory, while the one before it is in use; in flight when it returns.
__device__ inline void nb_single_fetch_layer(const nb_single_args &p, nb_single_shared *sh, int i)
{
    static_assert(sizeof(nb_cuda_layer) % 16 == 0 && sizeof(nb_cuda_layer) / 16 <= (int)NB_SINGLE_THREADS,
                  "a piece a thread");
    int at = threadIdx.x * 16;
    if (at < (int)sizeof(nb_cuda_layer))
        nb_copy_16((uint8_t *)&sh->layer[i & 1] + at, (const uint8_t *)&p.layer[i] + at);
}

// Weights, which are read once, by one bulk copy: n_byte is a multiple of 16.
__device__ __forceinline__ void nb_copy_weights(void *to, const void *from, int n_byte, uint64_t *full)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0],[%1],%2,[%3],%4;" ::"r"(
            nb_shared_at(to)),
        "l"(from), "r"(n_byte), "r"(nb_shared_at(full)), "l"(nb_stream_policy())
        : "memory");
}

// How far a warp, or the feeder, has come in the order of stages.
typedef struct nb_single_place {
    int stage, parity; // of the ring
    int unit, layer;   // stages that the layer has had
} nb_single_place;

__device__ __forceinline__ bool nb_single_in_annex(int stage)
{
    return stage >= NB_SINGLE_DEPTH;
}

// The next stage, and the parity of its barriers' phase.
__device__ __forceinline__ int nb_single_next(nb_single_place *at, int *parity)
{
    int annex = at->unit++ - NB_SINGLE_DEPTH, stage = at->stage;
    *parity = at->layer & 1;
    if ((unsigned)annex < (unsigned)NB_SINGLE_ANNEX) return NB_SINGLE_DEPTH + annex;
    *parity = at->parity;
    if (++at->stage == NB_SINGLE_DEPTH) at->stage = 0, at->parity ^= 1;
    return stage;
}

__device__ __forceinline__ uint8_t *nb_single_stage(nb_single_shared *sh, int stage)
{
    return nb_single_in_annex(stage) ? sh->annex.stage[stage - NB_SINGLE_DEPTH] : sh->ring[stage];
}

__device__ __forceinline__ void nb_single_begin_layer(nb_single_place *at, int layer)
{
    at->unit = 0, at->layer = layer;
}

// Where the block's i-th row tile of gate and up lies.
__device__ __forceinline__ uint8_t *nb_single_gate(nb_single_shared *sh, int i)
{
    return sh->experts.gate[NB_SINGLE_GATE_MAX - 1 - i];
}

// The layer's second product goes through the ring alone.
__device__ __forceinline__ void nb_single_leave_annex(nb_single_place *at)
{
    at->unit = NB_SINGLE_DEPTH + NB_SINGLE_ANNEX;
}

// What the layer did not need of the annex counts as full, when the layer before has read its own: each of its barriers
// has one phase a layer.
__device__ inline void nb_single_skip_annex(nb_single_shared *sh, const nb_single_place &at)
{
    nb_barrier_wait(&sh->gate_read, (at.layer & 1) ^ 1);
    for (int i = max(at.unit - (int)NB_SINGLE_DEPTH, 0); i < NB_SINGLE_ANNEX; i++)
        nb_barrier_arrive(&sh->full[NB_SINGLE_DEPTH + i]);
}

// The next stage, when it may be written.
__device__ inline int nb_single_claim(nb_single_shared *sh, nb_single_place *at)
{
    int parity, stage = nb_single_next(at, &parity);
    if (!nb_single_in_annex(stage))
        nb_barrier_wait(&sh->empty[stage], parity ^ 1);
    else
        nb_barrier_wait(stage < NB_SINGLE_DEPTH + NB_SINGLE_ANNEX_GATE ? &sh->gate_read : &sh->down_read, parity ^ 1);
    return stage;
}

// n slots of a row tile, whose scales lie in shared memory `scales_at` bytes behind its data.
typedef struct nb_single_part {
    const uint4 *data;
    const uint32_t *scale; // or NULL
    int n, scales_at;
} nb_single_part;

// Slots `slot` .. slot + n - 1 of a matrix that has slots of 1 KiB behind each other.
__device__ __forceinline__ nb_single_part nb_single_part_of(const uint4 *data, const uint32_t *scale, int kind,
                                                            int64_t slot, int n, int scales_at)
{
    return {data + slot * (NB_SINGLE_SLOT_BYTES / 16),
            kind == NB_KIND_NVFP4 ? scale + slot * (NB_SINGLE_SCALE_BYTES / 4) : NULL, n, scales_at};
}

__device__ inline void nb_single_copy(uint8_t *to, const nb_single_part &p, int first, int n, uint64_t *full)
{
    nb_barrier_expect(full, n * (NB_SINGLE_SLOT_BYTES + (p.scale ? (int)NB_SINGLE_SCALE_BYTES : 0)));
    nb_copy_weights(to + first * NB_SINGLE_SLOT_BYTES, p.data + first * (NB_SINGLE_SLOT_BYTES / 16),
                    n * NB_SINGLE_SLOT_BYTES, full);
    if (p.scale)
        nb_copy_weights(to + p.scales_at + first * NB_SINGLE_SCALE_BYTES, p.scale + first * (NB_SINGLE_SCALE_BYTES / 4),
                        n * NB_SINGLE_SCALE_BYTES, full);
}

// One piece behind the other, then one arrival at `full`. parity: of the pieces' barrier.
__device__ inline void nb_single_trickle(nb_single_shared *sh, uint8_t *to, const nb_single_part &p, uint64_t *full,
                                         int *parity)
{
#pragma unroll 1
    for (int i = 0; i < p.n; i += NB_SINGLE_PIECE, *parity ^= 1) {
        nb_single_copy(to, p, i, min((int)NB_SINGLE_PIECE, p.n - i), &sh->piece);
        nb_barrier_wait(&sh->piece, *parity);
    }
    nb_barrier_arrive(full);
}

// Slots of a row tile.
__device__ __forceinline__ int nb_single_slot_count(const nb_cuda_matrix &m)
{
    return m.kind == NB_KIND_BF16 ? 2 * m.n_k_tile : m.kind == NB_KIND_NVFP4 ? m.n_k_tile / 2 : m.n_k_tile;
}

// The block's first row tile of an expert's matrix, if it has one: the scales directly behind the data.
__device__ inline void nb_single_feed_expert(nb_single_shared *sh, const nb_cuda_matrix &m, uint8_t *to, uint64_t *full,
                                             int *parity)
{
    int n = nb_single_slot_count(m), row_tile = blockIdx.x;
    if (row_tile >= m.n_row_tile) return;
    nb_single_trickle(sh, to,
                      nb_single_part_of(m.data, m.scale, m.kind, (int64_t)row_tile * n, n, n * NB_SINGLE_SLOT_BYTES),
                      full, parity);
}

// The shared expert's part of the block, when all warps have read the annex and so have left the experts of the layer
// before. No fence as in route(): nothing but copies has written where it lies. The annex was only read there, as
// experts' weights are, and the mixer ends before it.
__device__ inline void nb_single_feed_shared(nb_single_shared *sh, int i_layer, int *parity)
{
    const nb_cuda_layer &l = sh->layer[i_layer & 1];
    nb_barrier_wait(&sh->annex_read, i_layer & 1);
    nb_single_feed_expert(sh, l.shared_gate_up, nb_single_gate(sh, 0), &sh->gate_full[0], parity);
    nb_single_feed_expert(sh, l.shared_down, sh->experts.down, &sh->down_full, parity);
}

// The feeder, one thread: all static matrices in order, the row tiles of this block. A layer has two products, the
// second one of a single matrix; what is wanted of the first one behind the annex is wanted at once.
__device__ inline void nb_single_feed(const nb_single_args &p, nb_single_shared *sh)
{
    nb_single_strand next = p.strand[0];
    nb_single_place at = {};
    int row_tile = 0, n_product = 0, parity = 0;
#pragma unroll 1
    for (int i = 0; i < p.n_strand; i++) {
        nb_single_strand s = next;
        next = p.strand[min(i + 1, p.n_strand - 1)];
        if (s.first == 0) {
            row_tile = blockIdx.x;
            if (n_product % 2 == 0)
                nb_single_begin_layer(&at, n_product / 2);
            else
                nb_single_skip_annex(sh, at), nb_single_leave_annex(&at);
            n_product++;
        }
#pragma unroll 1
        for (; row_tile < s.first + s.n_row_tile; row_tile += gridDim.x)
#pragma unroll 1
            for (int slot = 0; slot < s.n_slot; slot += NB_SINGLE_SLOTS) {
                int64_t from = (int64_t)(row_tile - s.first) * s.n_slot + slot;
                nb_single_part part = nb_single_part_of(
                    s.data, s.scale, s.kind, from, min((int)NB_SINGLE_SLOTS, s.n_slot - slot), NB_SINGLE_SCALES_AT);
                bool urgent = n_product % 2 == 1 && at.unit >= NB_SINGLE_DEPTH + NB_SINGLE_ANNEX;
                int stage = nb_single_claim(sh, &at);
                if (urgent)
                    nb_single_copy(nb_single_stage(sh, stage), part, 0, part.n, &sh->full[stage]);
                else
                    nb_single_trickle(sh, nb_single_stage(sh, stage), part, &sh->full[stage], &parity);
            }
        if (n_product % 2 == 0 && p.route.has_shared) nb_single_feed_shared(sh, at.layer, &parity);
    }
}

// Slots that a warp multiplies at a time, so that their latencies hide behind each other: what the registers hold.
constexpr int nb_single_at_once(int kind)
{
    return kind == NB_KIND_BF16 || kind == NB_KIND_FP8_A8 ? NB_SINGLE_AT_ONCE : NB_SINGLE_AT_ONCE / 2;
}

// What a warp multiplies at a time, in registers: a unit, or half a BF16 tile, with its columns of x.
template <int KIND> struct nb_single_piece {
    static constexpr int n_input = KIND == NB_KIND_BF16 || KIND == NB_KIND_FP8_A8 ? 1 : 2 * nb_unit<KIND>::n_tile;
    uint4 chunk[2], b[n_input];
    uint32_t scale;
};

// data, scale: of the slot. u: the slot of the row tile. Without `in` all is zero.
template <int KIND>
__device__ __forceinline__ void nb_single_read(nb_single_piece<KIND> *p, const uint8_t *data, const uint8_t *scale,
                                               const uint16_t *x, int u, bool in)
{
    int lane = threadIdx.x & 31, step = KIND == NB_KIND_BF16 ? 1024 : 512;
    p->chunk[0] = p->chunk[1] = make_uint4(0, 0, 0, 0), p->scale = 0;
    if (in) {
        p->chunk[0] = *(const uint4 *)(data + lane * 16), p->chunk[1] = *(const uint4 *)(data + step + lane * 16);
        if (KIND == NB_KIND_NVFP4) p->scale = *(const uint32_t *)(scale + lane * 4);
    }
    const uint16_t *at = KIND == NB_KIND_BF16     ? x + (u >> 1) * NB_CUDA_K_TILE + lane * 16 + (u & 1) * 8
                         : KIND == NB_KIND_FP8_A8 ? x + (u * NB_CUDA_K_TILE + lane * 16) / 2
                                                  : x + u * nb_unit<KIND>::n_tile * NB_CUDA_K_TILE + lane * 16;
#pragma unroll
    for (int i = 0; i < nb_single_piece<KIND>::n_input; i++) {
        p->b[i] = make_uint4(0, 0, 0, 0);
        if (in && lane < 4) p->b[i] = *(const uint4 *)(at + (i >> 1) * NB_CUDA_K_TILE + (i & 1) * 8);
    }
}

// c[16][8] += a[16][32] b[32][8], e4m3. The unit's own sums keep fewer bits than binary32, so c is of few columns.
__device__ __forceinline__ void nb_mma_e4m3(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <int KIND> __device__ __forceinline__ void nb_single_multiply(float acc[2][4], const nb_single_piece<KIND> &p)
{
    if (KIND == NB_KIND_BF16) {
        const uint4 &low = p.chunk[0], &high = p.chunk[1];
        uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
        nb_mma<false>(acc[0], a0, p.b[0].x, p.b[0].y), nb_mma<false>(acc[1], a1, p.b[0].z, p.b[0].w);
        return;
    }
    if (KIND == NB_KIND_FP8_A8) {
        const uint4 &low = p.chunk[0], &high = p.chunk[1];
        uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
        nb_mma_e4m3(acc[0], a0, p.b[0].x, p.b[0].y), nb_mma_e4m3(acc[1], a1, p.b[0].z, p.b[0].w);
        return;
    }
    nb_unit<KIND> unit;
    unit.chunk[0] = p.chunk[0], unit.chunk[1] = p.chunk[1], unit.scale = p.scale;
#pragma unroll
    for (int i = 0; i < nb_unit<KIND>::n_tile; i++) {
        uint32_t a[4][4];
        const uint32_t *b = (const uint32_t *)&p.b[KIND == NB_KIND_BF16 ? 0 : 2 * i];
        nb_unit_decode<KIND>(unit, i, a);
#pragma unroll
        for (int k = 0; k < 4; k++) nb_mma<nb_unit<KIND>::f16>(acc[k & 1], a[k], b[2 * k], b[2 * k + 1]);
    }
}

// acc += all pieces; those without `in` count as zero. u: the slot of the first, the others are NB_SINGLE_WARPS apart.
template <int KIND>
__device__ __forceinline__ void nb_single_multiply_all(float acc[2][4], const nb_cuda_matrix &m, int row_tile, int u,
                                                       const nb_single_piece<KIND> *p, int n_slot)
{
    if (nb_has_block_scale<KIND>(m)) { // an FP8 slot is one tile
#pragma unroll
        for (int i = 0; i < nb_single_at_once(KIND); i++) {
            float one[2][4] = {};
            float2 scale = nb_block_scale(m, row_tile, min(u + i * (int)NB_SINGLE_WARPS, n_slot - 1));
            nb_single_multiply<KIND>(one, p[i]);
            nb_add_scaled(acc[0], one[0], scale), nb_add_scaled(acc[1], one[1], scale);
        }
        return;
    }
    float part[nb_single_at_once(KIND)][2][4] = {};
#pragma unroll
    for (int i = 0; i < nb_single_at_once(KIND); i++) nb_single_multiply<KIND>(part[i], p[i]);
#pragma unroll
    for (int i = 0; i < nb_single_at_once(KIND); i++)
#pragma unroll
        for (int c = 0; c < 4; c++) acc[0][c] += part[i][0][c], acc[1][c] += part[i][1][c];
}

__device__ __forceinline__ void nb_single_store(float *red, const float acc[2][4])
{
    int lane = threadIdx.x & 31;
    if (lane % 4 == 0) red[lane / 4] = acc[0][0] + acc[1][0], red[lane / 4 + 8] = acc[0][2] + acc[1][2];
}

// A warp's slots of a stage, `n` slots of the row tile from `first` on. The stage is free again as soon as the warp has
// the last of them in registers.
template <int KIND>
__device__ __forceinline__ void nb_single_slots(float acc[2][4], const nb_cuda_matrix &m, int row_tile, int first,
                                                int n_slot, nb_single_shared *sh, int stage, const uint16_t *x)
{
    constexpr int at_once = nb_single_at_once(KIND), step = at_once * NB_SINGLE_WARPS;
    int warp = threadIdx.x >> 5, n = min((int)NB_SINGLE_SLOTS, n_slot - first);
    const uint8_t *from = nb_single_stage(sh, stage),
                  *scale = from + NB_SINGLE_SCALES_AT + warp * NB_SINGLE_SCALE_BYTES,
                  *data = from + (KIND == NB_KIND_BF16 ? (warp >> 1) * 2048 + (warp & 1) * 512 : warp * 1024);
    nb_single_piece<KIND> p[at_once];
#pragma unroll 1
    for (int i = 0; i < n; i += step) {
        auto read = [&](int k, bool in) {
            int slot = i + k * NB_SINGLE_WARPS;
            nb_single_read<KIND>(&p[k], data + slot * NB_SINGLE_SLOT_BYTES, scale + slot * NB_SINGLE_SCALE_BYTES, x,
                                 first + slot + warp, in);
        };
        if (i + step <= n) // loads under no condition of their own
#pragma unroll
            for (int k = 0; k < at_once; k++) read(k, true);
        else
#pragma unroll
            for (int k = 0; k < at_once; k++) read(k, i + k * NB_SINGLE_WARPS + warp < n);
        __syncwarp();
        if (i + step >= n && (threadIdx.x & 31) == 0 && !nb_single_in_annex(stage))
            nb_barrier_arrive(&sh->empty[stage]);
        nb_single_multiply_all<KIND>(acc, m, row_tile, first + i + warp, p, n_slot);
    }
}

// A warp's part of a row tile, a stage at a time; rows lane / 4 and + 8 of column 0 to red[16]. One loop for all kinds:
// the kernel's code must stay in the instruction cache.
__device__ __forceinline__ void nb_single_row_tile(nb_single_place *at, nb_single_shared *sh, const nb_cuda_matrix &m,
                                                   int row_tile, float *red)
{
    int kind = m.kind, n_slot = nb_single_slot_count(m);
    float acc[2][4] = {};
#pragma unroll 1
    for (int first = 0; first < n_slot; first += NB_SINGLE_SLOTS) {
        int parity, stage = nb_single_next(at, &parity);
        nb_barrier_wait(&sh->full[stage], parity);
        switch (kind) {
        case NB_KIND_BF16: nb_single_slots<NB_KIND_BF16>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[1]); break;
        case NB_KIND_FP8_A8:
            nb_single_slots<NB_KIND_FP8_A8>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[0]);
            break;
        case NB_KIND_FP8_A16:
            nb_single_slots<NB_KIND_FP8_A16>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[1]);
            break;
        default: nb_single_slots<NB_KIND_NVFP4>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[1]); break;
        }
    }
    nb_single_store(red, acc);
}

__device__ __forceinline__ void nb_packet_store(nb_packet *to, float value, uint32_t epoch)
{
    nb_packet v = (nb_packet)epoch << 32 | nb_f32_bits(value);
    asm volatile("st.relaxed.gpu.global.u64 [%0],%1;" ::"l"(to), "l"(v) : "memory");
}

// A packet, whatever epoch it is of.
__device__ __forceinline__ nb_packet nb_packet_any(const nb_packet *from)
{
    nb_packet v;
    asm volatile("ld.relaxed.gpu.global.u64 %0,[%1];" : "=l"(v) : "l"(from) : "memory");
    return v;
}

__device__ __forceinline__ float nb_packet_load(const nb_packet *from, uint32_t epoch)
{
    nb_packet v;
    do v = nb_packet_any(from);
    while ((uint32_t)(v >> 32) != epoch);
    return nb_f32_from_bits((uint32_t)v);
}

__device__ __forceinline__ void nb_packet_store_pair(nb_packet *to, float first, float second, uint32_t epoch)
{
    nb_packet a = (nb_packet)epoch << 32 | nb_f32_bits(first), b = (nb_packet)epoch << 32 | nb_f32_bits(second);
    asm volatile("st.relaxed.gpu.global.v2.u64 [%0],{%1,%2};" ::"l"(to), "l"(a), "l"(b) : "memory");
}

// Two packets, whatever epoch they are of.
__device__ __forceinline__ ulonglong2 nb_packet_pair(const nb_packet *from)
{
    ulonglong2 v;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0,%1},[%2];" : "=l"(v.x), "=l"(v.y) : "l"(from) : "memory");
    return v;
}

// N times four values of [n], a thread's THREADS * 4 apart; beyond n zero. All loads are on their way together.
template <int N>
__device__ __forceinline__ void nb_packet_load_all(float4 v[N], const nb_packet *from, int n, uint32_t epoch)
{
    ulonglong2 low[N], high[N];
    bool here[N], ready;
#pragma unroll
    for (int i = 0; i < N; i++) {
        here[i] = (int)(threadIdx.x + i * NB_SINGLE_THREADS) * 4 >= n;
        low[i] = high[i] = make_ulonglong2(0, 0);
    }
    do { // what is there is not asked for again: all blocks wait at once
        ready = true;
#pragma unroll
        for (int i = 0; i < N; i++) {
            const nb_packet *at = from + (threadIdx.x + i * NB_SINGLE_THREADS) * 4;
            if (!here[i]) low[i] = nb_packet_pair(at), high[i] = nb_packet_pair(at + 2);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            here[i] = here[i] || (low[i].x >> 32 == epoch && low[i].y >> 32 == epoch && high[i].x >> 32 == epoch &&
                                  high[i].y >> 32 == epoch);
            ready = ready && here[i];
        }
    } while (!ready);
#pragma unroll
    for (int i = 0; i < N; i++)
        v[i] = make_float4(nb_f32_from_bits((uint32_t)low[i].x), nb_f32_from_bits((uint32_t)low[i].y),
                           nb_f32_from_bits((uint32_t)high[i].x), nb_f32_from_bits((uint32_t)high[i].y));
}

// A grid barrier in two halves: what is behind the first may overlap with the others' arrival. The counter only grows.
typedef struct nb_single_barrier {
    unsigned long long *counter, target;
} nb_single_barrier;

__device__ __forceinline__ unsigned long long nb_single_count(const unsigned long long *counter)
{
    unsigned long long v;
    asm volatile("ld.acquire.gpu.global.u64 %0,[%1];" : "=l"(v) : "l"(counter) : "memory");
    return v;
}

// Returns how many barriers there have been.
__device__ __forceinline__ unsigned long long nb_single_barrier_open(nb_single_barrier *b, unsigned long long *counter)
{
    b->counter = counter,
    b->target = nb_single_count(counter); // fewer than gridDim.x have come to the first barrier yet
    b->target -= b->target % gridDim.x;
    return b->target / gridDim.x;
}

__device__ __forceinline__ void nb_single_arrive(nb_single_barrier *b)
{
    b->target += gridDim.x;
    nb_single_sync();
    if (threadIdx.x == 0)
        asm volatile("red.release.gpu.global.add.u64 [%0],%1;" ::"l"(b->counter), "l"(1ull) : "memory");
}

__device__ __forceinline__ void nb_single_wait(const nb_single_barrier *b)
{
    if (threadIdx.x == 0)
        while (nb_single_count(b->counter) < b->target) {
        }
    nb_single_sync();
}

#endif
