// The CUDA device's own struct, and what its files give each other: cuda_load.cu (weights), cuda_memory.cu (everything
// that is reserved), cuda_step.cu (the blocks of a step), cuda_device.cu (submit, wait, graphs).
#ifndef NB_CUDA_INTERNAL_H
#define NB_CUDA_INTERNAL_H

#include "cuda/cuda_attention.h"
#include "cuda/cuda_chunk.h"
#include "cuda/cuda_deltanet.h"
#include "cuda/cuda_device.h"
#include "cuda/cuda_flash.h"
#include "cuda/cuda_head.h"
#include "cuda/cuda_linear.h"
#include "cuda/cuda_moe.h"

enum {
    NB_CUDA_CHUNK_MAX = 1024, // blocks of weight memory
    NB_CUDA_BUCKET_MAX = 256, // largest decode batch that is run as a graph
    NB_CUDA_ALIGN = 512,
};

typedef struct nb_cuda_layer { // matrices of one input are neighbours: cuda_single.cu takes them as arrays
    nb_layer_kind kind;
    int i_attention, i_deltanet;
    const nb_layer *from; // the model's: names linears at taps
    const float *input_layernorm, *post_attention_layernorm;
    nb_cuda_matrix q, k, v, o; // full attention
    const float *q_norm, *k_norm;
    float k_scale, v_scale;
    int kv_first;                     // keys before this one are not there: 1 in the MTP module, else 0
    nb_cuda_matrix qkv, z, b, a, out; // Gated DeltaNet
    const float *conv1d, *A_log, *dt_bias, *norm;
    nb_cuda_matrix router, shared_gate;
    nb_cuda_experts experts;
    nb_cuda_matrix shared_gate_up, shared_down;
    int has_shared;
} nb_cuda_layer;

typedef struct nb_cuda_mtp_weights { // cuda_mtp.cu
    nb_cuda_matrix fc;               // [d_model][2 * d_model]
    const float *pre_fc_norm_embedding, *pre_fc_norm_hidden, *norm;
    nb_cuda_layer layer;
} nb_cuda_mtp_weights;

typedef struct nb_cuda_weights {
    nb_cuda_layer *layer; // [n_layer], host
    bool has_mtp;
    nb_cuda_mtp_weights mtp;
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
    float *square;                // [n_value_head * d_value / 32]
    uint16_t *q, *attended;       // [T][n_head * d_head]
    float *part;
    float2 *part_sum;
    unsigned *attention_counter;
    nb_cuda_route route;
    uint16_t *inter;
    float *pair_out;       // also the scratch of chunked DeltaNet
    float *logits, *z_row; // [R][vocab]
    nb_head_part *head_part;
    nb_row_result *result;
    // of the MTP module; S = max_seq
    int32_t *tok;           // [T] the batch's tokens, NB_TOKEN_LAST resolved
    uint16_t *final_hidden; // [T][d_model padded] behind the final norm
    uint16_t *concat;       // [T][2 * d_model padded]
    uint16_t *draft_hidden; // [S][d_model padded] the module's output, for its next round
    float *draft_logits;    // [S][vocab]
    int32_t *draft_tok;     // [S] the token that a draft's next row embeds, -1: none
    int32_t *draft_row;     // [S] the batch's row whose hidden state its first row takes
    void *block;
    int64_t bytes;
} nb_cuda_scratch;

typedef struct nb_cuda_ledger { // of a slot, once all submitted steps are done
    int32_t n_folded;           // tokens in S
    int32_t n_journal;          // rows behind them
    int32_t n_sure;             // tokens that no later step can drop: without the last step's drafts
    bool has_last;              // a token was drawn
    bool mtp;                   // the MTP module has absorbed every token
} nb_cuda_ledger;

// A batch's row that the MTP module absorbs: the embedding of one token and the hidden state before it.
typedef struct nb_mtp_row {
    int32_t tok;    // index into the batch's tokens
    int32_t hidden; // row of the batch; or -1 - i: row i of the slots' hidden states, [slot][NB_JOURNAL_ROWS]
} nb_mtp_row;

typedef struct nb_mtp_keep { // hidden states that the next step's first row may take
    int32_t slot, first, n;  // rows of the batch
} nb_mtp_keep;

typedef struct nb_mtp_draft { // a sequence that proposes
    int32_t i_seq;            // of the batch
    int32_t row, last;        // its last definitive token, and its last token
    int32_t row_first, n_row; // the batch's output rows from the first of this sequence on
    int32_t behind;           // tokens of the sequence up to and with `row`
    int32_t page_first;       // its pages and one of its own behind them
} nb_mtp_draft;

typedef struct nb_cuda_seq_plan { // what a step does with a sequence's slot
    nb_gdn_seq gdn;
    bool late;    // the drafts go to the journal in a second launch
    bool mtp;     // the MTP module absorbs the step's tokens ..
    int mtp_keep; // .. from this row of the slot's hidden states on
} nb_cuda_seq_plan;

// A batch's metadata as it lies in one buffer, host and device: offsets in bytes.
typedef struct nb_cuda_meta {
    int n_tok, n_seq, n_row, n_tile, n_split, n_page, n_flash, n_chunk, n_walk;
    int64_t home, tok, tok_slot, tok_seq, seq, gdn_seq, gdn_chunk, gdn_walk, attention_seq, tile, flash, row, row_tok,
        page, history, bias, mask, bytes;
    int long_rows, shaped;
    int n_gdn_late; // sequences whose drafts go to the journal in a launch of their own, behind the fold ..
    int64_t gdn_late;
    // the MTP module: what it absorbs, and who proposes (falling n_propose, so that a round's drafts are the first
    // ones)
    int n_mtp_row, n_mtp_seq, n_mtp_keep, n_mtp_tile, n_draft, n_draft_page;
    int n_round[NB_DRAFT_MAX]; // drafts of round i
    int64_t mtp_row, mtp_keep, mtp_attention_seq, mtp_tile, mtp_tok_seq, draft, draft_seq, draft_tile, draft_tok_seq,
        draft_page;
} nb_cuda_meta;

// A submitted step. Kernels read and write its pinned memory in place: with unified addressing it has one address on
// both sides, and what they wrote is there once `end` has come. The host leaves it alone until then.
typedef struct nb_cuda_flight {
    uint8_t *meta;                     // pinned
    nb_row_result *result;             // pinned, [max_row]
    float *logits;                     // [max_row][vocab], made when first asked for
    int32_t (*proposal)[NB_DRAFT_MAX]; // pinned, [max_seq]
    bool *row_logits;                  // [max_row] whose logits were asked for
    cudaEvent_t begin, end;
    int n_row, n_seq;
    bool logits_wanted;
} nb_cuda_flight;

// One more than NB_IN_FLIGHT: the host still reads the last wait's result while two steps are under way.
enum { NB_CUDA_FLIGHTS = NB_IN_FLIGHT + 1 };

typedef struct nb_cuda_graph {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t take; // its first kernel, whose parameters differ from step to step
    bool warm;            // ran once without a graph: its kernels are loaded
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
    uint16_t *hidden;  // [n_slot + 1][NB_JOURNAL_ROWS][d_model] of the MTP module, or NULL
    uint8_t *meta;
    int64_t meta_capacity, layer_page_bytes, slot_floats, slot_halfs, layer_floats, layer_halfs;
    int n_attention, n_deltanet, group; // query heads per KV head
    bool wgmma, flash;                  // large batches by cuda_product.h; long sequences by cuda_flash.h
    nb_cuda_ledger *ledger, *staged;    // [n_slot + 1]; staged: the next one while a batch is being checked
    nb_cuda_seq_plan *plan;             // [max_seq] of the batch being checked
    nb_cuda_flight flight[NB_CUDA_FLIGHTS];
    int64_t n_submitted, n_waited;
    nb_cuda_graph graph[NB_CUDA_BUCKET_MAX + 1];
    nb_tap_fn tap;
    void *tap_user;
    int64_t kv_bytes, state_bytes;
    struct nb_cuda_single *single; // the persistent kernel's tables, or NULL: it does not serve
    nb_cuda_times *times;          // NULL until kernels are timed
    nb_cuda_time_fn time;
    void *time_user;
} nb_cuda;

int nb_cuda_load(nb_cuda *d, const nb_model *model, nb_error *err);
void nb_cuda_unload(nb_cuda *d);
int nb_cuda_weight_alloc(nb_cuda *d, int64_t n_byte, void **out, nb_error *err);

int nb_cuda_reserve(nb_cuda *d, const nb_reserve *reserve, nb_error *err);
void nb_cuda_release(nb_cuda *d);

// Prepares the persistent kernel of cuda_single.h; d->single stays NULL where it does not serve.
int nb_cuda_single_make(nb_cuda *d, nb_error *err);
void nb_cuda_single_drop(nb_cuda *d);

// Every rule of batch.h, and the sizes that are reserved.
int nb_cuda_meta_check(const nb_cuda *d, const nb_batch *batch, nb_error *err);

// Writes the metadata of a checked batch to f->meta, padded to `bucket` decodes if > 0, and advances the ledger; a
// batch that the ledger refuses leaves it as it was.
int nb_cuda_meta_write(nb_cuda *d, const nb_batch *batch, int bucket, nb_cuda_flight *f, nb_cuda_meta *out,
                       nb_error *err);

// Copies it to d->meta on the device: a step's first kernel. The second waits for it and only then lets others begin,
// which may read metadata at once.
int nb_cuda_meta_take(const nb_cuda_launch *at, const nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *meta,
                      nb_error *err);

// The same kernel in a graph, for the graph's next launch; those under way keep theirs.
int nb_cuda_meta_retake(cudaGraphExec_t exec, cudaGraphNode_t node, const nb_cuda *d, const nb_cuda_flight *f,
                        const nb_cuda_meta *meta, nb_error *err);

// The MTP module's part of the metadata: counts before the layout, arrays behind it.
void nb_cuda_meta_mtp_count(const nb_cuda *d, const nb_batch *batch, nb_cuda_meta *m);
void nb_cuda_meta_mtp_write(const nb_cuda *d, const nb_batch *batch, uint8_t *to, const nb_cuda_meta *m);
// Whether cuda_product.h serves this GPU and every matrix of the model.
bool nb_cuda_step_by_wgmma(const nb_cuda *d);

// All kernels of a step, into the device's stream.
int nb_cuda_step_run(nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *meta, int pdl, nb_error *err);

// The same as a graph with an event behind each kernel; calls d->time for each.
int nb_cuda_times_run(nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *meta, nb_error *err);
void nb_cuda_times_close(nb_cuda_times *times);

static inline int nb_cuda_padded(int n_in)
{
    return nb_ceil_div(n_in, 2 * NB_CUDA_K_TILE) * 2 * NB_CUDA_K_TILE;
}

// 16-bit words of one slot's hidden states.
static inline int64_t nb_cuda_hidden_halfs(const nb_cuda *d)
{
    return d->weights.has_mtp ? (int64_t)NB_JOURNAL_ROWS * d->model->config.hidden_size : 0;
}

static inline int64_t nb_cuda_slot_bytes(const nb_cuda *d)
{
    return d->slot_floats * 4 + d->slot_halfs * 2 + nb_cuda_hidden_halfs(d) * 2;
}

#endif
