// A decode step of one sequence as one persistent kernel: one block an SM. Between dependent stages, six a layer and
// seven with full attention, lies a grid barrier where the next stage reads much, and packets that carry their own news
// where it reads little: the residual stream, the router's logits, attention's splits and their sums. Static weights
// stream through a ring that runs ahead over stages and layers; the experts' weights are on their way as soon as they
// are chosen. Serves the cards and shapes that nb_cuda_single_make accepts; everything else runs as single kernels
// (cuda_step.cu). Called by cuda_step.cu.
#ifndef NB_CUDA_SINGLE_H
#define NB_CUDA_SINGLE_H

#include "cuda/cuda_internal.h"

enum {
    NB_SINGLE_STAGE_IN_GDN, // which outputs a product has
    NB_SINGLE_STAGE_IN_ATTENTION,
    NB_SINGLE_STAGE_OUT,
    NB_SINGLE_STAGE_COUNT,
};

// A value and the epoch it is of, stored and loaded as one: a reader loads it until the epoch is there, so it needs no
// barrier (the low-latency protocol of NCCL). Epochs only grow: one a layer, over all steps.
typedef unsigned long long nb_packet;

// A matrix of the static stream. Row tiles of a stage are numbered over its matrices; a stage begins where first is 0.
typedef struct nb_single_strand {
    const uint4 *data;
    const uint32_t *scale;
    int n_row_tile, n_slot, first, kind; // n_slot: slots of 1 KiB of a row tile
} nb_single_strand;

typedef struct nb_single_args {
    const nb_cuda_layer *layer; // GPU copy, [n_layer]
    const nb_single_strand *strand;
    nb_cuda_embedding embedding;
    int n_layer, n_strand, d_model;
    float eps;
    nb_cuda_output output[NB_SINGLE_STAGE_COUNT][NB_CUDA_MATRIX_MAX];
    nb_cuda_gdn gdn; // pointers of the first layer; strides below
    nb_cuda_attention attention;
    nb_cuda_route route;
    int64_t layer_floats, layer_halfs, layer_cache;
    float *residual;          // behind the last layer; until then it goes as packets
    nb_packet *added, *mixed; // [d_model] the residual stream before and behind the mixer
    nb_packet *logits;        // [n_expert + 1] the router's, and the shared expert's gate
    nb_packet *part;          // [n_kv_head][n_split][d_head][columns] attention's splits ..
    nb_packet *part_sum;      // .. [n_kv_head][n_split][columns] of each the maximum and the sum
    nb_packet *attended;      // [n_head * d_head / 2] two bf16 each
    float *ba;                // [2 * n_value_head]
    uint16_t *inter;          // [group][inter_stride]
    int inter_stride;
    unsigned long long *barrier;
} nb_single_args;

// Bounds of what a block holds: what cuda_single_plan.cu checks.
enum {
    NB_SINGLE_WARPS = 8,
    NB_SINGLE_ROWS_MAX = 8,           // row tiles of a block and stage
    NB_SINGLE_GATE_MAX = 5,           // row tiles of gate and up of a block
    NB_SINGLE_GATE_BYTES = 18 * 1024, // of one of them
    NB_SINGLE_DOWN_BYTES = 41472,     // a row tile of down, of all groups
    NB_SINGLE_X_MAX = 4096,           // columns of a product
    NB_SINGLE_THIN_MAX = 4096,        // of a product of few rows
    NB_SINGLE_GROUP_MAX = NB_TOP_K_EXPERT_MAX + 1,
    NB_SINGLE_EXPERT_MAX = 256,
};

// Embedding and all layers of a batch of one token. kind: the experts', NVFP4 or BF16.
int nb_cuda_single_run(const nb_cuda_launch *at, const nb_single_args *args, int kind, nb_error *err);
size_t nb_cuda_single_shared_bytes(void);

// Parts of a sequence's pages that are attended to side by side, of each KV head: two teams of warps a block.
int nb_cuda_single_splits(const nb_cuda *d);

// The tables that nb_cuda_single_make left.
void nb_cuda_single_fill(const nb_cuda *d, nb_single_args *args);

#endif
