// The delta rule in chunks of 64 tokens for sequences with many new ones, by tensor cores (any card). Formulas, with
// G_i the sum of g up to token i of its chunk and S the state before it (docs/numerics.md):
//   A_ij = beta_i (k_i . k_j) e^(G_i - G_j), j < i;  T = (I + A)^-1, by substitution in binary32
//   N = T (beta_i (v_i - e^(G_i) S^T k_i));  o_i = e^(G_i) S^T q_i + sum_{j <= i} (q_i . k_j) e^(G_i - G_j) N_j
//   S <- e^(G_last) S + sum_j e^(G_last - G_j) k_j N_j^T
// which is, with W = T diag(beta e^G) k and U = T diag(beta) v, N = U - W S. Two kernels: one makes q, k, W, U and the
// products of q and k for all chunks at once, one walks a sequence's chunks.
//
// S and all sums are binary32; operands of the products are rounded to F16, 11 bits. Bounds: |T|, |W|, |q|, |k| <= 1,
// since a step of the rule only shrinks what was there; |U|, |N| <= CHUNK times the largest |v| and |S|, and F16 ends
// at 65,504: outputs are right as long as |v| < 1,000 and no element of S exceeds 65,504. Elements below 6e-5 lose
// bits.
#ifndef NB_CUDA_CHUNK_H
#define NB_CUDA_CHUNK_H

#include "cuda/cuda_deltanet.h"

enum {
    NB_GDN_CHUNK = 64,
    NB_GDN_CHUNKED_MIN = 32, // new tokens from which on a sequence is taken in chunks; > NB_JOURNAL_ROWS
};

// Whether a sequence is taken in chunks: all of its new tokens go into S.
static __host__ __device__ __forceinline__ bool nb_gdn_is_chunked(const nb_gdn_seq *s)
{
    return s->n_new >= NB_GDN_CHUNKED_MIN && s->n_commit == s->n_new;
}

// Bytes of scratch for up to n_tok new tokens in chunked sequences.
int64_t nb_gdn_chunk_bytes(int n_tok, int n_key_head, int n_value_head);

int nb_gdn_chunks_run(const nb_cuda_launch *at, const nb_cuda_gdn *gdn, nb_error *err);

#endif
