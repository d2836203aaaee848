// The machinery of the persistent kernel: shared memory, the rings of static weights, the grid barrier.
#ifndef NB_CUDA_SINGLE_CUH
#define NB_CUDA_SINGLE_CUH

#include "cuda/cuda_attention.cuh"
#include "cuda/cuda_deltanet_item.cuh"
#include "cuda/cuda_route.cuh"
#include "cuda/cuda_single.h"

enum {
    NB_SINGLE_THREADS = NB_SINGLE_WARPS * 32, // that compute; one more warp feeds the ring
    NB_SINGLE_DEPTH = 8,                      // stages of the ring
    NB_SINGLE_STAGE_BYTES = 9 * 1024,         // a slot of 1 KiB for each warp, and NVFP4's scales
    NB_SINGLE_HEAD_MAX = 256,
};

typedef struct nb_single_team { // attention: of four warps
    nb_exchange exchange;
    __align__(16) uint16_t q[NB_ATTENTION_COLUMNS][NB_SINGLE_HEAD_MAX];
} nb_single_team;

typedef struct nb_single_delta {
    nb_gdn_stage<32> stage;
    nb_gdn_workspace work;
} nb_single_delta;

typedef struct nb_single_shared {
    __align__(128) uint8_t ring[NB_SINGLE_DEPTH][NB_SINGLE_STAGE_BYTES];
    union {
        __align__(128) uint8_t gate[NB_SINGLE_GATE_MAX][NB_SINGLE_GATE_BYTES];
        nb_single_delta delta;
        nb_single_team team[2];
    };
    __align__(128) uint8_t down[NB_SINGLE_DOWN_BYTES];
    __align__(16) uint16_t x[2][NB_SINGLE_X_MAX]; // the input of a product: e4m3 values in f16; bf16
    float red[NB_SINGLE_ROWS_MAX][NB_SINGLE_WARPS][16];
    __align__(16) nb_cuda_layer layer;
    float sums[NB_SINGLE_WARPS], weight[NB_SINGLE_GROUP_MAX];
    int32_t index[NB_SINGLE_GROUP_MAX];
    float2 rope[NB_SINGLE_HEAD_MAX / 2];
    nb_gdn_seq gdn_seq; // the sequence, as the mixers want it
    nb_attention_seq attention_seq;
    uint64_t full[NB_SINGLE_DEPTH], empty[NB_SINGLE_DEPTH], gate_full[NB_SINGLE_GATE_MAX], down_full;
} nb_single_shared;
static_assert(sizeof(nb_single_shared) <= 227 * 1024, "what a block may have on Hopper");

__device__ __forceinline__ void nb_single_sync(void) // of the warps that compute
{
    static_assert(NB_SINGLE_THREADS == 256, "the barrier's count");
    asm volatile("bar.sync 0, 256;" ::: "memory");
}

__device__ __forceinline__ uint32_t nb_shared_at(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void nb_mbar_init(uint64_t *b, int n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(nb_shared_at(b)), "r"(n) : "memory");
}

__device__ __forceinline__ void nb_mbar_expect(uint64_t *b, int n_byte)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(nb_shared_at(b)), "r"(n_byte) : "memory");
}

__device__ __forceinline__ void nb_mbar_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(nb_shared_at(b)) : "memory");
}

__device__ __forceinline__ void nb_mbar_wait(uint64_t *b, int parity)
{
    uint32_t done = 0;
    while (!done)
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
                     : "=r"(done)
                     : "r"(nb_shared_at(b)), "r"(parity)
                     : "memory");
}

// A copy that the hardware makes: n_byte is a multiple of 16.
__device__ __forceinline__ void nb_bulk_copy(void *to, const void *from, int n_byte, uint64_t *full)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0],[%1],%2,[%3],%4;" ::"r"(
            nb_shared_at(to)),
        "l"(from), "r"(n_byte), "r"(nb_shared_at(full)), "l"(nb_stream_policy())
        : "memory");
}

// The ring's feeder, one thread: all static matrices in order, the row tiles of this block, eight slots a stage.
__device__ inline void nb_single_feed(const nb_single_args &p, nb_single_shared *sh)
{
    nb_single_strand next = p.strand[0];
    int row_tile = 0, stage = 0, parity = 1;
#pragma unroll 1
    for (int i = 0; i < p.n_strand; i++) {
        nb_single_strand s = next;
        next = p.strand[min(i + 1, p.n_strand - 1)];
        if (s.first == 0) row_tile = blockIdx.x;
#pragma unroll 1
        for (; row_tile < s.first + s.n_row_tile; row_tile += gridDim.x)
#pragma unroll 1
            for (int slot = 0; slot < s.n_slot; slot += NB_SINGLE_WARPS) {
                int n = min((int)NB_SINGLE_WARPS, s.n_slot - slot), scales = s.kind == NB_KIND_NVFP4 ? n * 128 : 0;
                int64_t at = (int64_t)(row_tile - s.first) * s.n_slot + slot;
                nb_mbar_wait(&sh->empty[stage], parity);
                nb_mbar_expect(&sh->full[stage], n * 1024 + scales);
                nb_bulk_copy(sh->ring[stage], s.data + at * 64, n * 1024, &sh->full[stage]);
                if (scales) nb_bulk_copy(sh->ring[stage] + 8192, s.scale + at * 32, scales, &sh->full[stage]);
                if (++stage == NB_SINGLE_DEPTH) stage = 0, parity ^= 1;
            }
    }
}

typedef struct nb_single_place { // in the ring, of the warps that compute
    int stage, parity;
} nb_single_place;

// What a warp multiplies at a time, in registers: a unit, or half a BF16 tile, with its columns of x.
template <int KIND> struct nb_single_piece {
    static constexpr int n_input = KIND == NB_KIND_BF16 ? 1 : 2 * nb_unit<KIND>::n_tile;
    uint4 chunk[2], b[n_input];
    uint32_t scale;
};

// data, scale: of the slot. u: the slot of the row tile. Without `in` x counts as zero.
template <int KIND>
__device__ __forceinline__ void nb_single_read(nb_single_piece<KIND> *p, const uint8_t *data, const uint8_t *scale,
                                               const uint16_t *x, int u, bool in)
{
    int lane = threadIdx.x & 31, step = KIND == NB_KIND_BF16 ? 1024 : 512;
    p->chunk[0] = *(const uint4 *)(data + lane * 16), p->chunk[1] = *(const uint4 *)(data + step + lane * 16);
    if (KIND == NB_KIND_NVFP4) p->scale = *(const uint32_t *)(scale + lane * 4);
    in = in && lane < 4;
    const uint16_t *at = KIND == NB_KIND_BF16 ? x + (u >> 1) * NB_CUDA_K_TILE + lane * 16 + (u & 1) * 8
                                              : x + u * nb_unit<KIND>::n_tile * NB_CUDA_K_TILE + lane * 16;
#pragma unroll
    for (int i = 0; i < nb_single_piece<KIND>::n_input; i++) {
        p->b[i] = make_uint4(0, 0, 0, 0);
        if (in) p->b[i] = *(const uint4 *)(at + (i >> 1) * NB_CUDA_K_TILE + (i & 1) * 8);
    }
}

template <int KIND> __device__ __forceinline__ void nb_single_multiply(float acc[2][4], const nb_single_piece<KIND> &p)
{
    if (KIND == NB_KIND_BF16) {
        const uint4 &low = p.chunk[0], &high = p.chunk[1];
        uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
        nb_mma<false>(acc[0], a0, p.b[0].x, p.b[0].y), nb_mma<false>(acc[1], a1, p.b[0].z, p.b[0].w);
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

// Two pieces at once, so that the latencies of one hide behind the other's; the second counts if `two`.
template <int KIND>
__device__ __forceinline__ void
nb_single_pair(float acc[2][4], const nb_cuda_matrix &m, int row_tile, const uint8_t *data0, const uint8_t *scale0,
               int u0, const uint8_t *data1, const uint8_t *scale1, int u1, bool two, const uint16_t *x)
{
    nb_single_piece<KIND> p0, p1;
    float other[2][4] = {};
    nb_single_read<KIND>(&p0, data0, scale0, x, u0, true), nb_single_read<KIND>(&p1, data1, scale1, x, u1, two);
    if (nb_has_block_scale<KIND>(m)) { // an FP8 slot is one tile
        float one[2][4] = {};
        nb_single_multiply<KIND>(one, p0), nb_single_multiply<KIND>(other, p1);
        float2 s0 = nb_block_scale(m, row_tile, u0), s1 = nb_block_scale(m, row_tile, u1);
        nb_add_scaled(acc[0], one[0], s0), nb_add_scaled(acc[1], one[1], s0);
        nb_add_scaled(acc[0], other[0], s1), nb_add_scaled(acc[1], other[1], s1);
        return;
    }
    nb_single_multiply<KIND>(acc, p0), nb_single_multiply<KIND>(other, p1);
#pragma unroll
    for (int c = 0; c < 4; c++) acc[0][c] += other[0][c], acc[1][c] += other[1][c];
}

__device__ __forceinline__ void nb_single_store(float *red, const float acc[2][4])
{
    int lane = threadIdx.x & 31;
    if (lane % 4 == 0) red[lane / 4] = acc[0][0] + acc[1][0], red[lane / 4 + 8] = acc[0][2] + acc[1][2];
}

template <int KIND>
__device__ __forceinline__ void nb_single_stages(float acc[2][4], const nb_cuda_matrix &m, int row_tile, int u,
                                                 const uint8_t *stage0, const uint8_t *stage1, bool two,
                                                 const uint16_t *x)
{
    int warp = threadIdx.x >> 5, at = KIND == NB_KIND_BF16 ? (warp >> 1) * 2048 + (warp & 1) * 512 : warp * 1024;
    nb_single_pair<KIND>(acc, m, row_tile, stage0 + at, stage0 + 8192 + warp * 128, u, stage1 + at,
                         stage1 + 8192 + warp * 128, two ? u + NB_SINGLE_WARPS : u, two, x);
}

__device__ __forceinline__ void nb_single_next(nb_single_place *at)
{
    if (++at->stage == NB_SINGLE_DEPTH) at->stage = 0, at->parity ^= 1;
}

// A warp's part of a row tile, two stages at a time; rows lane / 4 and + 8 of column 0 to red[16]. One loop for all
// kinds: the kernel's code must stay in the instruction cache.
__device__ __forceinline__ void nb_single_row_tile(nb_single_place *at, nb_single_shared *sh, const nb_cuda_matrix &m,
                                                   int row_tile, float *red)
{
    int kind = m.kind, warp = threadIdx.x >> 5;
    int n_slot = kind == NB_KIND_BF16 ? 2 * m.n_k_tile : kind == NB_KIND_NVFP4 ? m.n_k_tile / 2 : m.n_k_tile;
    float acc[2][4] = {};
#pragma unroll 1
    for (int first = 0; first < n_slot; first += 2 * NB_SINGLE_WARPS) {
        bool more = first + NB_SINGLE_WARPS < n_slot; // a second stage
        int u = first + warp, stage0 = at->stage, stage1 = stage0;
        nb_mbar_wait(&sh->full[stage0], at->parity);
        nb_single_next(at);
        if (more) {
            stage1 = at->stage;
            nb_mbar_wait(&sh->full[stage1], at->parity);
            nb_single_next(at);
        }
        const uint8_t *s0 = sh->ring[stage0], *s1 = sh->ring[stage1];
        bool two = u + NB_SINGLE_WARPS < n_slot;
        if (!two) s1 = s0;
        if (u < n_slot) {
            switch (kind) {
            case NB_KIND_BF16: nb_single_stages<NB_KIND_BF16>(acc, m, row_tile, u, s0, s1, two, sh->x[1]); break;
            case NB_KIND_FP8_A8: nb_single_stages<NB_KIND_FP8_A8>(acc, m, row_tile, u, s0, s1, two, sh->x[0]); break;
            case NB_KIND_FP8_A16: nb_single_stages<NB_KIND_FP8_A16>(acc, m, row_tile, u, s0, s1, two, sh->x[1]); break;
            default: nb_single_stages<NB_KIND_NVFP4>(acc, m, row_tile, u, s0, s1, two, sh->x[1]); break;
            }
        }
        __syncwarp();
        if ((threadIdx.x & 31) == 0) {
            nb_mbar_arrive(&sh->empty[stage0]);
            if (more) nb_mbar_arrive(&sh->empty[stage1]);
        }
    }
    nb_single_store(red, acc);
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

__device__ __forceinline__ void nb_single_barrier_open(nb_single_barrier *b, unsigned long long *counter)
{
    b->counter = counter,
    b->target = nb_single_count(counter); // fewer than gridDim.x have come to the first barrier yet
    b->target -= b->target % gridDim.x;
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
