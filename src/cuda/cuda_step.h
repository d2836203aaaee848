// A step under way, and the blocks of the layer loop that the MTP module runs too. cuda_step.cu, cuda_mtp.cu and
// cuda_tap.cu share it.
#ifndef NB_CUDA_STEP_H
#define NB_CUDA_STEP_H

#include "cuda/cuda_internal.h"
#include "cuda/cuda_product.h"

typedef struct nb_cuda_step {
    nb_cuda *d;
    const nb_cuda_meta *m;
    nb_cuda_launch at;
    nb_error *err;
} nb_cuda_step;

// What the kernels launched from now on belong to, where they are timed.
static inline void nb_cuda_part(const nb_cuda_step *s, nb_plan_part part)
{
    if (s->at.times) s->at.times->now = part;
}

// Which products go by cuda_product.h, for n_tok tokens.
static inline void nb_cuda_choose_products(nb_cuda_step *s)
{
    s->at.products = s->d->wgmma;
    s->at.wgmma = s->d->wgmma && s->m->n_tok >= NB_PRODUCT_MIN_TOKENS;
}

// cuda_step.cu: each normalises the residual stream, works, and adds its result to it.
// ready: its input was prepared by the layer before.
int nb_cuda_attention_block(const nb_cuda_step *s, const nb_cuda_layer *layer, bool ready);
int nb_cuda_attention_absorb(const nb_cuda_step *s, const nb_cuda_layer *layer);       // keys and values only
int nb_cuda_moe_block(const nb_cuda_step *s, const nb_cuda_layer *layer, int i_layer); // -1: of the MTP module
nb_cuda_dense nb_cuda_dense_of(const nb_cuda_step *s, nb_cuda_source source);
nb_cuda_source nb_cuda_norm_of(const nb_cuda_step *s, const float *weight); // of the residual stream
void nb_cuda_dense_add(nb_cuda_dense *dense, const nb_cuda_matrix *m, int kind, void *out, int stride, int first);

// cuda_mtp.cu: behind the head, if some sequence wants proposals.
int nb_cuda_mtp_run(const nb_cuda_step *s);

// cuda_tap.cu. Without a tap they do nothing; with one they wait for the stream, so such steps are slow and never
// graphs.
int nb_cuda_tap_rows(const nb_cuda_step *s, nb_tap_site site, int layer, const float *gpu, int64_t n_row, int64_t n_col,
                     const int32_t *index);
int nb_cuda_tap_bf16(const nb_cuda_step *s, nb_tap_site site, int layer, const uint16_t *gpu, int64_t n_row, int n_col,
                     int stride);
int nb_cuda_tap_inputs(const nb_cuda_step *s, const nb_cuda_dense *dense, const nb_linear *const *linear);
int nb_cuda_tap_experts(const nb_cuda_step *s, const nb_cuda_moe *moe, const nb_moe_weights *weights);
int nb_cuda_tap_states(const nb_cuda_step *s, const nb_cuda_layer *layer, int i_layer);

#endif
