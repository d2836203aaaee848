// The mixture of experts: routing, gate and up, down, sum. Two paths: up to NB_CUDA_SMALL_MAX tokens, where an mma's
// column is a token, and larger batches, where it is a (token, expert) pair and pairs are grouped by expert.
#ifndef NB_CUDA_MOE_H
#define NB_CUDA_MOE_H

#include "cuda/cuda_linear.h"

// The routed experts of a layer: same kind and shape, one behind the other.
typedef struct nb_cuda_experts {
    nb_cuda_matrix gate_up, down;        // of expert 0
    int64_t gate_up_data, gate_up_scale; // strides from one expert to the next, in elements of data and scale
    int64_t down_data, down_scale;
    const float *gate_multiplier, *up_multiplier, *down_multiplier; // [n_expert] in place of scale_low, scale_high
} nb_cuda_experts;

typedef struct nb_cuda_tile { // a tile of a grouped product
    int32_t expert;           // n_expert: the shared one
    int32_t first;            // first pair (or token, for the shared expert)
    int32_t count;
} nb_cuda_tile;

// Routing of a step, in GPU memory.
typedef struct nb_cuda_route {
    int n_tok, n_expert, top_k, has_shared, normalise;
    int tile_shared;      // larger batches: the tiles hold the shared expert, whose weights are of the experts' kind
    float *logits;        // [n_tok][n_expert + 1]; the last is the shared expert's gate
    int32_t *top_index;   // [n_tok][top_k] by falling weight
    float *top_weight;    // [n_tok][top_k]
    float *shared_weight; // [n_tok]
    unsigned *counter;    // blocks that are done; 0 between launches
    unsigned *counters;   // of each NB_ROUTER_TOKENS tokens (cuda_router.h)
    unsigned *meet;       // [2] of nb_meet_last
    // up to NB_CUDA_SMALL_MAX tokens: the experts that are used, each once
    int32_t *n_group;      // [1]
    int32_t *group_expert; // [n_group], the shared expert (n_expert) first
    float *group_weight;   // [n_group][NB_CUDA_SMALL_MAX], 0: the token does not use it
    // larger batches: pairs sorted by expert
    int32_t *pair_token; // [n_tok * top_k]
    int32_t *pair_at;    // [n_tok][top_k] position of a token's pair
    int32_t *n_tile;     // [1]
    nb_cuda_tile *tile;
    int tile_columns;
    int spread;            // pairs are placed by a launch of their own: many tokens
    int32_t *expert_first; // [n_expert], then; scratch
    int32_t *expert_count; // [n_expert], 0 between launches
} nb_cuda_route;

enum { NB_MOE_NORM_MAX = 4096 }; // d_model of which the last kernel makes the next layer's input

typedef struct nb_cuda_moe {
    int n_tok, d_model, d_ff, d_ff_shared;
    nb_cuda_experts experts;
    nb_cuda_matrix shared_gate_up, shared_down;
    nb_cuda_route route;
    const uint16_t *input; // [n_tok][input_stride] bf16
    uint16_t *input_f8;    // [n_tok][input_stride] scratch for W8A8 experts
    uint16_t *inter;       // small: [n_group][8][inter_stride]; large: [n_pair + n_tok][inter_stride], bf16
    void *pair_out;        // large: [n_pair + n_tok][d_model] f32, or bf16 from cuda_product.h
    float *residual;       // [n_tok][d_model], added to
    int input_stride, inter_stride;
    const float *next_norm; // large: its result, normalised by these weights, goes to `next`; or NULL
    float eps;
    nb_cuda_prepared next;
} nb_cuda_moe;

// What becomes of larger batches' pairs: added up by weight to the residual stream, and the next layer's input.
typedef struct nb_cuda_combine {
    int n_tok, d_model, top_k, has_shared; // n_tok 0: nothing
    const int32_t *pair_at;
    const float *top_weight, *shared_weight;
    const void *pair_out;
    float *residual;
    const float *next_norm;
    float eps;
    nb_cuda_prepared next;
    int n_block; // joined to a product: its last blocks, as many, share the tokens
    unsigned *meet;
} nb_cuda_combine;

int nb_cuda_route_run(const nb_cuda_launch *at, const nb_cuda_route *route, nb_error *err); // larger batches
int nb_cuda_moe_run(const nb_cuda_launch *at, const nb_cuda_moe *moe, nb_error *err);

#endif
