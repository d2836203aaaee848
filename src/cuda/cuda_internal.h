// The CUDA device's own struct, and what its files give each other: cuda_load.cu (weights), cuda_memory.cu (everything
// that is reserved), cuda_step.cu (the blocks of a step), cuda_device.cu (submit, wait, graphs).
#ifndef NB_CUDA_INTERNAL_H
#define NB_CUDA_INTERNAL_H

#include "cuda/cuda_attention.h"
#include "cuda/cuda_deltanet.h"
#include "cuda/cuda_device.h"
#include "cuda/cuda_head.h"
#include "cuda/cuda_linear.h"
#include "cuda/cuda_moe.h"

enum {
    NB_CUDA_CHUNK_MAX = 1024, // blocks of weight memory
    NB_CUDA_BUCKET_MAX = 256, // largest decode batch that is run as a graph
    NB_CUDA_ALIGN = 512,
};

typedef struct nb_cuda_layer {
    nb_layer_kind kind;
    int i_attention, i_deltanet;
    const float *input_layernorm, *post_attention_layernorm;
    nb_cuda_matrix q, k, v, o; // full attention
    const float *q_norm, *k_norm;
    float k_scale, v_scale;
    nb_cuda_matrix qkv, z, b, a, out; // Gated DeltaNet
    const float *conv1d, *A_log, *dt_bias, *norm;
    nb_cuda_matrix router, shared_gate;
    nb_cuda_experts experts;
    nb_cuda_matrix shared_gate_up, shared_down;
    int has_shared;
} nb_cuda_layer;

typedef struct nb_cuda_weights {
    nb_cuda_layer *layer;  // [n_layer], host
    const uint16_t *embed; // [vocab][d_model] bf16
    nb_cuda_matrix lm_head;
    const float *norm, *inv_freq;
    void *chunk[NB_CUDA_CHUNK_MAX];
    int64_t chunk_bytes[NB_CUDA_CHUNK_MAX];
    int n_chunk;
    uint8_t *at; // next free byte of the last chunk
    int64_t left, total;
} nb_cuda_weights;

typedef struct nb_cuda_scratch {  // one step's activations; shapes with T = max_tok, R = max_row
    float *residual;              // [T][d_model]
    uint16_t *input, *kept;       // [T][widest input]
    uint16_t *hidden, *hidden_f8; // [T][d_model padded]
    float *projected;             // [T][q, k and v rows]
    uint16_t *qkv, *z;            // [T][n_channel], [T][n_value_head * d_value]
    float *ba, *delta;            // [T][2 * n_value_head], [T][n_value_head * d_value]
    uint16_t *q, *attended;       // [T][n_head * d_head]
    float *part;
    float2 *part_sum;
    unsigned *attention_counter;
    nb_cuda_route route;
    uint16_t *inter;
    float *pair_out;
    float *logits, *z_row; // [R][vocab]
    nb_head_part *head_part;
    nb_row_result *result;
    void *block;
    int64_t bytes;
} nb_cuda_scratch;

typedef struct nb_cuda_ledger { // of a slot, once all submitted steps are done
    int32_t n_folded;           // tokens in S
    int32_t n_journal;          // rows behind them
} nb_cuda_ledger;

// A batch's metadata as it lies in one buffer, host and device: offsets in bytes.
typedef struct nb_cuda_meta {
    int n_tok, n_seq, n_row, n_tile, n_split, n_page;
    int64_t tok, tok_slot, tok_seq, seq, gdn_seq, attention_seq, tile, row, row_tok, page, history, bias, mask, bytes;
    int long_rows, shaped;
} nb_cuda_meta;

typedef struct nb_cuda_flight { // a submitted step
    uint8_t *meta;              // pinned
    nb_row_result *result;      // pinned, [max_row]
    float *logits;              // [max_row][vocab], made when first asked for
    cudaEvent_t begin, end;
    int n_row, n_seq;
    bool logits_wanted;
} nb_cuda_flight;

typedef struct nb_cuda_graph {
    cudaGraphExec_t exec;
    bool warm; // ran once without a graph: its kernels are loaded
} nb_cuda_graph;

typedef struct nb_cuda {
    nb_device base;
    nb_cuda_options options;
    cudaStream_t stream;
    int n_sm;
    const nb_model *model;
    nb_cuda_weights weights;
    nb_reserve reserve;
    nb_cuda_scratch scratch;
    uint8_t *cache;    // [attention layer][n_page + 1][layer_page_bytes]; the last page is the padding's
    float *state;      // [n_slot + 1][slot_floats]; the last slot is the padding's
    uint16_t *ring;    // [n_slot + 1][slot_halfs]
    int32_t *last_tok; // [n_slot + 1]
    uint8_t *meta;
    int64_t meta_capacity, layer_page_bytes, slot_floats, slot_halfs, layer_floats, layer_halfs;
    int n_attention, n_deltanet, group; // query heads per KV head
    nb_cuda_ledger *ledger;
    nb_cuda_flight flight[NB_IN_FLIGHT];
    int64_t n_submitted, n_waited;
    nb_cuda_graph graph[NB_CUDA_BUCKET_MAX + 1];
    int32_t (*proposal)[NB_DRAFT_MAX];
    nb_tap_fn tap;
    void *tap_user;
    int64_t kv_bytes, state_bytes;
    nb_cuda_times *times; // NULL until kernels are timed
    nb_cuda_time_fn time;
    void *time_user;
} nb_cuda;

int nb_cuda_load(nb_cuda *d, const nb_model *model, nb_error *err);
void nb_cuda_unload(nb_cuda *d);
int nb_cuda_weight_alloc(nb_cuda *d, int64_t n_byte, void **out, nb_error *err);

int nb_cuda_reserve(nb_cuda *d, const nb_reserve *reserve, nb_error *err);
void nb_cuda_release(nb_cuda *d);

// Checks `batch` against what is reserved, advances the ledger and writes the metadata, padded to `bucket` decodes if >
// 0.
int nb_cuda_meta_write(nb_cuda *d, const nb_batch *batch, int bucket, uint8_t *to, nb_cuda_meta *out, nb_error *err);

// All kernels of a step, into the device's stream.
int nb_cuda_step_run(nb_cuda *d, const nb_cuda_meta *meta, int pdl, nb_error *err);

// The same as a graph with an event behind each kernel; calls d->time for each.
int nb_cuda_times_run(nb_cuda *d, const nb_cuda_meta *meta, nb_error *err);
void nb_cuda_times_close(nb_cuda_times *times);

static inline int nb_cuda_padded(int n_in)
{
    return nb_ceil_div(n_in, 2 * NB_CUDA_K_TILE) * 2 * NB_CUDA_K_TILE;
}

#endif
