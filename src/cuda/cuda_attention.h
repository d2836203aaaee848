// Softmax attention over the paged KV cache, split over blocks, for any mixture of decodes and chunks.
//
// A page of one layer holds NB_PAGE_TOKENS tokens: K [n_kv_head][tokens][d_head], then V transposed,
// [n_kv_head][d_head][tokens], so that both products read their operand as the tensor cores want it, 16 or 32 bytes per
// lane in a row.
#ifndef NB_CUDA_ATTENTION_H
#define NB_CUDA_ATTENTION_H

#include "cuda/cuda_linear.h"

enum { NB_ATTENTION_COLUMNS = 8 }; // (token, query head) pairs of a block: the n of one mma
enum { NB_ATTENTION_SPLITS_MAX = 32 };

typedef struct nb_attention_seq {
    int32_t n_past, n_new, tok_first, page_first;
} nb_attention_seq;

typedef struct nb_attention_tile { // columns first .. first + 7 of a sequence's n_new * group (token, head) pairs
    int32_t seq, first;
} nb_attention_tile;

typedef struct nb_cuda_attention {
    int n_tok, n_seq, n_tile, n_split, n_head, n_kv_head, d_head, gated, fp8;
    int kv_first; // keys before this one are not there
    const nb_attention_seq *seq;
    const nb_attention_tile *tile;
    int n_flash; // tiles of cuda_flash.h, of the sequences that have no others
    const nb_attention_tile *flash;
    const int32_t *tok_seq; // [n_tok]
    const int32_t *page;
    const float *projected; // [n_tok][projected_stride]: q (with gate, per head), k, v
    int projected_stride;
    const float *q_norm, *k_norm, *inv_freq;
    int n_rot;
    float eps, rope_factor, k_scale, v_scale;
    uint16_t *q;        // [n_tok][n_head][d_head] bf16, or f16 where the cache is FP8
    uint8_t *cache;     // of this layer
    int64_t page_bytes; // of this layer
    float *part;        // [n_tile][n_kv_head][n_split][8][d_head]
    float2 *part_sum;   // [n_tile][n_kv_head][n_split][8] maximum and sum
    unsigned *counter;  // [n_tile][n_kv_head], 0 between launches
    uint16_t *out;      // [n_tok][n_head * d_head] bf16, times sigmoid(gate)
} nb_cuda_attention;

// to: the next product's input, wanted in place of `out`; or NULL. Only without tiles of cuda_flash.h.
int nb_cuda_attention_run(const nb_cuda_launch *at, const nb_cuda_attention *attention, const nb_cuda_prepared *to,
                          nb_error *err);

// Keys and values into the cache, and nothing else.
int nb_cuda_attention_store(const nb_cuda_launch *at, const nb_cuda_attention *attention, nb_error *err);

#endif
