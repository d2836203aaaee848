// Parts of a row of logits put together: by the head's product, by the pass over a row, by the draw.
#ifndef NB_CUDA_PART_CUH
#define NB_CUDA_PART_CUH

#include "cuda/cuda_linear.h"

__device__ __forceinline__ nb_head_part nb_part_none(int vocab)
{
    return {-INFINITY, 0.0f, -INFINITY, vocab};
}

// One more logit that nothing shapes. Tokens come in rising order.
__device__ __forceinline__ void nb_part_add(nb_head_part *p, float logit, int tok)
{
    if (logit > p->raw_top) {
        p->raw_sum *= __expf(p->raw_top - logit);
        p->raw_top = p->top = logit, p->top_tok = tok;
    }
    p->raw_sum += __expf(logit - p->raw_top);
}

__device__ __forceinline__ float nb_part_sum(const nb_head_part &p, float top) // against another top
{
    return p.raw_top == top ? p.raw_sum : p.raw_sum * __expf(p.raw_top - top);
}

__device__ __forceinline__ nb_head_part nb_part_join(const nb_head_part &a, const nb_head_part &b)
{
    bool second = b.top > a.top || (b.top == a.top && b.top_tok < a.top_tok);
    float top = fmaxf(a.raw_top, b.raw_top);
    return {top, nb_part_sum(a, top) + nb_part_sum(b, top), second ? b.top : a.top, second ? b.top_tok : a.top_tok};
}

// Of the lanes whose numbers are the same below `step`, to all of them.
__device__ __forceinline__ nb_head_part nb_part_join_lanes(nb_head_part p, int step)
{
#pragma unroll
    for (int o = 16; o >= step; o >>= 1) {
        nb_head_part other = {__shfl_xor_sync(0xffffffffu, p.raw_top, o), __shfl_xor_sync(0xffffffffu, p.raw_sum, o),
                              __shfl_xor_sync(0xffffffffu, p.top, o), __shfl_xor_sync(0xffffffffu, p.top_tok, o)};
        p = nb_part_join(p, other);
    }
    return p;
}

#endif
