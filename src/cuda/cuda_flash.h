// Attention of sequences with many new tokens by wgmma (sm_90a): tiles of 128 (token, query head) pairs that share a KV
// head, over the same paged cache as cuda_attention.h, causal, any number of earlier tokens.
#ifndef NB_CUDA_FLASH_H
#define NB_CUDA_FLASH_H

#include "cuda/cuda_attention.h"

enum {
    NB_FLASH_ROWS = 128,
    NB_FLASH_MIN_TOKENS = 16, // new tokens from which on a sequence is taken so
};

// Whether this GPU and this build have it, for heads of this size.
bool nb_flash_usable(int d_head);

// Tiles p->flash[n_flash] of p; the preparation of q, k and v is done.
int nb_flash_run(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err);

#endif
