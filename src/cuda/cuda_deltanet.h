// Gated DeltaNet between its projections: causal convolution, gates, L2 norms and the delta rule, for sequences of any
// number of new tokens. A slot's state of a layer is S [n_value_head][d_key][d_value] up to position `base`, plus a
// journal of the tokens behind base (k, u and g of each), so that S is written only when the journal fills, and drafts
// are dropped by keeping fewer rows. The host knows base: it follows from the batches alone (cuda_slots.h).
#ifndef NB_CUDA_DELTANET_H
#define NB_CUDA_DELTANET_H

#include "cuda/cuda_linear.h"

enum {
    NB_GDN_KERNEL = 4,                          // taps of the convolution
    NB_GDN_DIM = 128,                           // d_key = d_value of the family
    NB_GDN_JOURNAL_FLOATS = 2 * NB_GDN_DIM + 4, // k, u, g and padding to 16 bytes
    NB_GDN_RING = NB_JOURNAL_ROWS + 4,          // rows of raw convolution inputs, by position modulo this
};

typedef struct nb_gdn_seq { // one per sequence of the batch
    int32_t slot, n_past, n_new, tok_first;
    int32_t n_keep;   // journal rows that count
    int32_t n_commit; // fold the journal and this many new tokens into S; the others are appended. -1: only append
} nb_gdn_seq;

typedef struct nb_gdn_chunk { // cuda_chunk.h: tokens first .. first + 63 of a sequence's new ones
    int32_t seq, first;
} nb_gdn_chunk;

typedef struct nb_gdn_walk { // a sequence that is taken in chunks, chunk_first and the following
    int32_t seq, chunk_first;
} nb_gdn_walk;

typedef struct nb_cuda_gdn {
    int n_tok, n_seq, n_key_head, n_value_head;
    const nb_gdn_seq *seq;
    const uint16_t *qkv; // [n_tok][n_channel] bf16, before the convolution
    const float *ba;     // [n_tok][2 * n_value_head]: b, then a
    const float *conv1d, *A_log, *dt_bias;
    float *state;         // of this layer: [slot][n_value_head][d_key][d_value]
    float *journal;       // [slot][n_value_head][NB_JOURNAL_ROWS][NB_GDN_JOURNAL_FLOATS]
    uint16_t *ring;       // [slot][NB_GDN_RING][n_channel] bf16
    int64_t slot_floats;  // from slot to slot, in floats (state and journal) ..
    int64_t slot_halfs;   // .. and in 16-bit words (ring)
    float *out;           // [n_tok][n_value_head * d_value]
    const uint16_t *gate; // z [n_tok][n_value_head * d_value], or NULL: out is o; decode only: see nb_gdn_output
    const float *norm;    // [d_value]
    float *square;        // [n_tok][n_value_head * d_value / 32]
    int long_rows;        // some sequence has more new tokens than the journal has rows
    int n_chunk, n_walk;  // 0: all sequences token by token
    const nb_gdn_chunk *chunk;
    const nb_gdn_walk *walk;
    void *scratch; // nb_gdn_chunk_bytes
} nb_cuda_gdn;

// The next product's input from a decode: o normalised over its head, times `norm` and silu(z).
typedef struct nb_gdn_gated {
    const uint16_t *z; // [n_tok][n_value_head * d_value] bf16
    const float *norm; // [d_value]
    float eps;
    nb_cuda_prepared to; // [n_tok][n_value_head * d_value]
} nb_gdn_gated;

int nb_cuda_gdn_run(const nb_cuda_launch *at, const nb_cuda_gdn *gdn, nb_error *err);

// One new token a sequence: cuda_deltanet_decode.cu. gated: wanted in place of `out`, or NULL.
int nb_cuda_gdn_decode_run(const nb_cuda_launch *at, const nb_cuda_gdn *gdn, const nb_gdn_gated *gated, nb_error *err);

#endif
