// Whether the persistent kernel serves a model on a card, and its tables in GPU memory.
#include <stdlib.h>

#include "cuda/cuda_single.h"

struct nb_cuda_single {
    nb_cuda_layer *layer;
    nb_single_strand *strand;
    unsigned long long *barrier;
    nb_packet *packet; // those of nb_single_args
    int n_strand;
};

// The static matrices of a layer's stage, into the mixer or out of it: neighbours in nb_cuda_layer.
enum { STAGES = 2 };

static int matrices_of(const nb_cuda_layer *l, int stage, const nb_cuda_matrix **m)
{
    bool gdn = l->kind != NB_LAYER_FULL_ATTENTION;
    *m = stage == 0 ? (gdn ? &l->qkv : &l->q) : (gdn ? &l->out : &l->o);
    return stage == 0 ? (gdn ? 2 : 3) : 1;
}

static bool serves_stage(const nb_cuda *d, const nb_cuda_layer *l, int stage)
{
    const nb_cuda_matrix *m;
    int n = matrices_of(l, stage, &m), row_tiles = 0;
    for (int i = 0; i < n; i++) {
        if (m[i].n_k_tile * NB_CUDA_K_TILE > NB_SINGLE_X_MAX || m[i].n_in % 4) return false;
        row_tiles += m[i].n_row_tile;
    }
    return row_tiles <= NB_SINGLE_ROWS_MAX * d->n_sm;
}

static bool serves_thin(const nb_cuda_matrix *m)
{
    return m->kind == NB_KIND_BF16 && m->n_k_tile * NB_CUDA_K_TILE <= NB_SINGLE_THIN_MAX;
}

static bool serves_experts(const nb_cuda *d, const nb_cuda_layer *l)
{
    const nb_config *c = &d->model->config;
    const nb_cuda_matrix *g = &l->experts.gate_up, *o = &l->experts.down;
    int bytes = g->kind == NB_KIND_NVFP4 ? 576 : 2048; // of a tile
    int n_group = c->num_experts_per_tok + l->has_shared;
    if (g->kind != o->kind || (g->kind != NB_KIND_NVFP4 && g->kind != NB_KIND_BF16)) return false;
    if (l->has_shared &&
        (l->shared_gate_up.kind != g->kind || l->shared_down.kind != g->kind || l->shared_gate_up.n_out != g->n_out))
        return false;
    return g->n_k_tile * bytes <= NB_SINGLE_GATE_BYTES && n_group * o->n_k_tile * bytes <= NB_SINGLE_DOWN_BYTES &&
           o->n_row_tile <= d->n_sm && n_group * g->n_row_tile <= NB_SINGLE_GATE_MAX * d->n_sm &&
           n_group <= NB_SINGLE_GROUP_MAX && n_group * nb_cuda_padded(c->moe_intermediate_size) <= 2 * NB_SINGLE_X_MAX;
}

static bool serves(const nb_cuda *d)
{
    const nb_config *c = &d->model->config;
    int major = 0, n_q = c->num_attention_heads * c->head_dim;
    if (d->options.portable) return false;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->options.ordinal) != cudaSuccess ||
        major < 9)
        return false;
    if (!nb_cuda_shared_fits(nb_cuda_single_shared_bytes()) || c->hidden_size % 4 || n_q % (2 * NB_CUDA_K_TILE) ||
        c->num_experts > NB_SINGLE_EXPERT_MAX || (c->head_dim != 128 && c->head_dim != 256) || c->rope.n_rot % 16)
        return false;
    if (c->linear_num_value_heads * 4 > d->n_sm || d->group > NB_ATTENTION_COLUMNS || c->num_key_value_heads > d->n_sm)
        return false;
    for (int i = 0; i < c->num_hidden_layers; i++) {
        const nb_cuda_layer *l = &d->weights.layer[i];
        for (int stage = 0; stage < STAGES; stage++)
            if (!serves_stage(d, l, stage)) return false;
        if (!serves_thin(&l->router) || (l->has_shared && !serves_thin(&l->shared_gate))) return false;
        if (l->kind != NB_LAYER_FULL_ATTENTION && (!serves_thin(&l->b) || !serves_thin(&l->a))) return false;
        if (!serves_experts(d, l) || l->experts.gate_up.kind != d->weights.layer[0].experts.gate_up.kind) return false;
    }
    return true;
}

static int add_strands(const nb_cuda_layer *l, nb_single_strand *out)
{
    int n = 0;
    for (int stage = 0; stage < STAGES; stage++) {
        const nb_cuda_matrix *m;
        int n_matrix = matrices_of(l, stage, &m), first = 0;
        for (int i = 0; i < n_matrix; first += m[i++].n_row_tile) {
            int slots =
                m[i].kind == NB_KIND_BF16 ? 2 * m[i].n_k_tile : m[i].n_k_tile / (m[i].kind == NB_KIND_NVFP4 ? 2 : 1);
            out[n++] = {m[i].data, m[i].scale, m[i].n_row_tile, slots, first, m[i].kind};
        }
    }
    return n;
}

// The packets of nb_single_args one behind the other, pairs on even places; returns how many there are.
static size_t place_packets(const nb_cuda *d, nb_packet *at, nb_single_args *p)
{
    const nb_config *c = &d->model->config;
    size_t columns = (size_t)c->num_key_value_heads * nb_cuda_single_splits(d) * NB_ATTENTION_COLUMNS;
    p->added = at, p->mixed = p->added + c->hidden_size;
    p->part = p->mixed + c->hidden_size, p->part_sum = p->part + columns * c->head_dim;
    p->attended = p->part_sum + columns * 2;
    p->logits = p->attended + c->num_attention_heads * c->head_dim / 2;
    return (size_t)(p->logits + c->num_experts + 1 - at);
}

int nb_cuda_single_make(nb_cuda *d, nb_error *err)
{
    enum { STRANDS_OF_LAYER = 8 };
    nb_single_args none = {};
    if (!serves(d)) return NB_OK;
    int n_layer = d->model->config.num_hidden_layers;
    nb_single_strand *strand = (nb_single_strand *)calloc((size_t)n_layer * STRANDS_OF_LAYER, sizeof *strand);
    struct nb_cuda_single *s = d->single = (struct nb_cuda_single *)calloc(1, sizeof *s);
    if (!strand || !s) {
        free(strand);
        return nb_error_set(err, NB_ERR_MEMORY, "no memory for the plan of a step");
    }
    for (int i = 0; i < n_layer; i++) s->n_strand += add_strands(&d->weights.layer[i], strand + s->n_strand);
    size_t layers = (size_t)n_layer * sizeof *s->layer, strands = (size_t)s->n_strand * sizeof *strand,
           packets = place_packets(d, NULL, &none) * sizeof *s->packet;
    cudaError_t code = cudaMalloc(&s->layer, layers);
    if (code == cudaSuccess) code = cudaMalloc(&s->strand, strands);
    if (code == cudaSuccess) code = cudaMalloc(&s->barrier, sizeof *s->barrier);
    if (code == cudaSuccess) code = cudaMemset(s->barrier, 0, sizeof *s->barrier);
    if (code == cudaSuccess) code = cudaMalloc(&s->packet, packets);
    if (code == cudaSuccess) code = cudaMemset(s->packet, 0, packets);
    if (code == cudaSuccess) code = cudaMemcpy(s->layer, d->weights.layer, layers, cudaMemcpyHostToDevice);
    if (code == cudaSuccess) code = cudaMemcpy(s->strand, strand, strands, cudaMemcpyHostToDevice);
    free(strand);
    return code == cudaSuccess ? NB_OK : nb_cuda_fail(code, "the plan of a step", err);
}

void nb_cuda_single_drop(nb_cuda *d)
{
    if (!d->single) return;
    cudaFree(d->single->layer), cudaFree(d->single->strand), cudaFree(d->single->barrier), cudaFree(d->single->packet);
    free(d->single);
    d->single = NULL;
}

int nb_cuda_single_splits(const nb_cuda *d)
{
    return 2 * d->n_sm / d->model->config.num_key_value_heads;
}

void nb_cuda_single_fill(const nb_cuda *d, nb_single_args *p)
{
    p->layer = d->single->layer, p->strand = d->single->strand, p->n_strand = d->single->n_strand;
    p->n_layer = d->model->config.num_hidden_layers, p->barrier = d->single->barrier;
    place_packets(d, d->single->packet, p);
    p->layer_floats = d->layer_floats, p->layer_halfs = d->layer_halfs;
    p->layer_cache = d->layer_page_bytes * (d->reserve.n_page + 1);
}
