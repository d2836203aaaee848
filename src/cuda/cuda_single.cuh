// What the parts of the persistent kernel share: a block's shared memory, its registers, the barrier of the warps that
// compute.
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

#endif
