// The router of 9 tokens and more whose experts go by grouped products: norm of the residual stream, logits, choice of
// experts and grouping of pairs in one launch.
#ifndef NB_CUDA_ROUTER_H
#define NB_CUDA_ROUTER_H

#include "cuda/cuda_moe.h"

enum { NB_ROUTER_TOKENS = 16 }; // of a block

typedef struct nb_cuda_router {
    nb_cuda_source source;              // a norm
    nb_cuda_matrix matrix, shared_gate; // n_expert rows and, with route.has_shared, 1; BF16
    nb_cuda_route route;
    int n_row_tile;   // of both; filled at the launch
    uint16_t *hidden; // [n_tok][n_k_tile * 64] bf16: the experts' input
} nb_cuda_router;

bool nb_cuda_router_serves(const nb_cuda_router *router);
int nb_cuda_router_run(const nb_cuda_launch *at, nb_cuda_router *router, nb_error *err);

#endif
