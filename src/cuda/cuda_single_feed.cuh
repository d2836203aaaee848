// Part of cuda_single.cu: static weights on their way through the ring and its annex, by one thread, the feeder.
//
// They come in stages of up to 32 slots of a row tile, in the order of their use. Most go through the ring.
// It is full when a layer begins, and the layer's next stages go to the annex: memory that the experts' weights of the
// layer before have left and that the layer's own will not want before they are chosen. The shared expert is no choice:
// its weights come as soon as the annex has been read, behind what the second product wants. What is wanted later only
// comes piece by piece, since a long queue at the memory would delay the blocks' words to each other.
#ifndef NB_CUDA_SINGLE_FEED_CUH
#define NB_CUDA_SINGLE_FEED_CUH

#include "cuda/cuda_single.cuh"

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

#endif
