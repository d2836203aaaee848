// Both ends of a step: embedding of tokens (NB_TOKEN_LAST included), and drawing tokens from logits on the device by
// the rules of model/batch.h.
#ifndef NB_CUDA_HEAD_H
#define NB_CUDA_HEAD_H

#include "cuda/cuda_linear.h"

enum { NB_HEAD_PARTS = 32 }; // blocks that share the first pass over a row

// Where a step's results go: the host's pinned memory. It lies in the metadata, because it differs from step to step
// and a graph's parameters do not.
typedef struct nb_cuda_home {
    nb_row_result *result;             // [n_row] draw_kernel
    int32_t (*proposal)[NB_DRAFT_MAX]; // [n_seq] propose_kernel of cuda_mtp.cu
} nb_cuda_home;

typedef struct nb_cuda_head {
    int n_row, vocab, shaped; // shaped: some row has penalties, bias or a mask: z is used
    const nb_row *row;        // device copy; first of history, bias, mask index the arrays below
    const nb_seq *seq;
    const int32_t *tok; // the batch's tokens
    const nb_history *history;
    const nb_bias *bias;
    const uint32_t *mask;
    const float *logits;   // [n_row][vocab]
    float *z;              // [n_row][vocab], or NULL
    nb_head_part *part;    // [n_row][n_part]
    int n_part;            // 0: the head's product left none, so a pass over the logits makes NB_HEAD_PARTS
    nb_row_result *result; // [n_row], for kernels behind
    const nb_cuda_home *home;
    int32_t *last_tok; // [slot]
} nb_cuda_head;

// How a batch's tokens become rows of the residual stream.
typedef struct nb_cuda_embedding {
    const int32_t *tok, *tok_slot; // [n_tok]
    const int32_t *last_tok;       // [slot] what NB_TOKEN_LAST stands for
    const uint16_t *table;         // [vocab][d_model] bf16
    int vocab, d_model;
    int32_t *resolved; // [n_tok] the tokens' ids, NB_TOKEN_LAST replaced
} nb_cuda_embedding;

typedef struct nb_cuda_embed {
    nb_cuda_embedding from;
    float *out;             // [n_tok][d_model]
    const float *next_norm; // the row, normalised by these weights, goes to `next`: the first layer's input; or NULL
    float eps;
    nb_cuda_prepared next;
} nb_cuda_embed;

int nb_cuda_embed_run(const nb_cuda_launch *at, const nb_cuda_embed *embed, int n_tok, nb_error *err);
int nb_cuda_head_run(const nb_cuda_launch *at, const nb_cuda_head *head, nb_error *err);

#endif
