// A token of the batch as a row of the embedding: for embed_kernel, and for the persistent kernel, which embeds itself.
#ifndef NB_CUDA_EMBEDDING_CUH
#define NB_CUDA_EMBEDDING_CUH

#include "cuda/cuda_head.h"

__device__ __forceinline__ int nb_embedding_id(const nb_cuda_embedding &p, int i)
{
    int id = p.tok[i], slot = p.tok_slot[i];
    if (id == NB_TOKEN_LAST) id = p.last_tok[slot];
    return min(max(id, 0), p.vocab - 1);
}

#endif
