// Everything that nb_device_ops.reserve allocates: KV pages, state slots, activations, metadata, pinned buffers. After
// it no step allocates, but for the logits of the first step that asks for whole rows.
#include <stdlib.h>

#include "cuda/cuda_internal.h"
#include "cuda/cuda_product.h"
#include "cuda/cuda_router.h"

enum { SLACK_BYTES = 256 << 20, PAGES_MAX = 1 << 20, META_EXTRA_BYTES = 16 << 20 };

// Gives out parts of one block; with block NULL it only counts.
typedef struct carver {
    uint8_t *block;
    int64_t used;
} carver;

template <class T> static void carve(carver *c, T **out, int64_t n)
{
    *out = c->block ? (T *)(c->block + c->used) : NULL;
    c->used += (n * (int64_t)sizeof(T) + NB_CUDA_ALIGN - 1) / NB_CUDA_ALIGN * NB_CUDA_ALIGN;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// Of pair_out: cuda_product.h leaves bf16 there, the smaller batches f32.
static int64_t pair_floats(const nb_cuda *d)
{
    const nb_config *f = &d->model->config;
    int64_t T = d->reserve.max_tok, row = (int64_t)(f->num_experts_per_tok + 1) * f->hidden_size;
    if (!d->wgmma || T < NB_PRODUCT_MIN_TOKENS) return T * row;
    return max64(T * row / 2, (NB_PRODUCT_MIN_TOKENS - 1) * row);
}

static void carve_scratch(nb_cuda *d, carver *c)
{
    const nb_config *f = &d->model->config;
    nb_cuda_scratch *s = &d->scratch;
    int64_t T = d->reserve.max_tok, R = d->reserve.max_row, E = f->num_experts, K = f->num_experts_per_tok;
    int64_t n_v = (int64_t)f->linear_num_value_heads * NB_GDN_DIM,
            n_channel = 2 * f->linear_num_key_heads * NB_GDN_DIM + n_v;
    int64_t n_q = (int64_t)f->num_attention_heads * f->head_dim, n_kv = (int64_t)f->num_key_value_heads * f->head_dim;
    int64_t hidden = nb_cuda_padded(f->hidden_size),
            ff = max64(f->moe_intermediate_size, f->shared_expert_intermediate_size);
    bool mtp = d->weights.has_mtp;
    int64_t concat = mtp ? nb_cuda_padded(2 * f->hidden_size) : 0, S = mtp ? d->reserve.max_seq : 0;
    int64_t widest = max64(max64(hidden, concat), max64(nb_cuda_padded((int)n_v), nb_cuda_padded((int)n_q)));
    int64_t tiles = (T * d->group / NB_ATTENTION_COLUMNS + d->reserve.max_seq + 1) * f->num_key_value_heads;
    int64_t splits = max64(4 * d->n_sm, 1),
            inter_rows = max64(T * (K + 1), (E + 1 < NB_CUDA_SMALL_MAX * K + 1 ? E + 1 : NB_CUDA_SMALL_MAX * K + 1) *
                                                NB_CUDA_SMALL_MAX);
    carve(c, &s->residual, T * f->hidden_size);
    carve(c, &s->input, max64(T, R) * widest), carve(c, &s->kept, max64(T, R) * widest);
    carve(c, &s->hidden, T * hidden), carve(c, &s->hidden_f8, T * hidden);
    carve(c, &s->projected, T * (n_q * (1 + f->attn_output_gate) + 2 * n_kv));
    carve(c, &s->qkv, T * n_channel), carve(c, &s->z, T * n_v);
    carve(c, &s->ba, T * 2 * f->linear_num_value_heads), carve(c, &s->delta, T * n_v);
    carve(c, &s->square, n_v / 32 + 1);
    carve(c, &s->q, T * n_q), carve(c, &s->attended, T * n_q);
    carve(c, &s->part, splits * NB_ATTENTION_COLUMNS * f->head_dim),
        carve(c, &s->part_sum, splits * NB_ATTENTION_COLUMNS);
    carve(c, &s->attention_counter, tiles);
    nb_cuda_route *r = &s->route;
    carve(c, &r->logits, T * (E + 1)), carve(c, &r->top_index, T * K), carve(c, &r->top_weight, T * K);
    carve(c, &r->shared_weight, T), carve(c, &r->counter, 1), carve(c, &r->n_group, 1);
    carve(c, &r->counters, nb_ceil_div(T, NB_ROUTER_TOKENS)), carve(c, &r->meet, 2);
    carve(c, &r->expert_first, E), carve(c, &r->expert_count, E);
    carve(c, &r->group_expert, E + 1), carve(c, &r->group_weight, (E + 1) * NB_CUDA_SMALL_MAX);
    carve(c, &r->pair_token, T * K), carve(c, &r->pair_at, T * K), carve(c, &r->n_tile, 1);
    carve(c, &r->tile, E + T * K / NB_CUDA_SMALL_MAX + T / NB_CUDA_SMALL_MAX + 2);
    carve(c, &s->inter, inter_rows * nb_cuda_padded((int)ff));
    int64_t chunks = nb_gdn_chunk_bytes((int)T, f->linear_num_key_heads, f->linear_num_value_heads);
    carve(c, &s->pair_out, max64(pair_floats(d), chunks / (int64_t)sizeof(float) + 1));
    carve(c, &s->logits, R * f->vocab_size), carve(c, &s->z_row, R * f->vocab_size);
    carve(c, &s->result, R);
    carve(c, &s->head_part, max64(R * NB_HEAD_PARTS, (int64_t)NB_CUDA_SMALL_MAX * NB_CUDA_LONG_BLOCKS * d->n_sm));
    carve(c, &s->tok, T);
    carve(c, &s->final_hidden, T * hidden), carve(c, &s->concat, T * concat);
    carve(c, &s->draft_hidden, S * hidden), carve(c, &s->draft_logits, S * f->vocab_size);
    carve(c, &s->draft_tok, S), carve(c, &s->draft_row, S);
}

static int claim(void **out, int64_t n_byte, const char *what, nb_error *err)
{
    size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    if (cudaMalloc(out, (size_t)n_byte) == cudaSuccess) {
        NB_CUDA_TRY(cudaMemset(*out, 0, (size_t)n_byte), err);
        return NB_OK;
    }
    cudaGetLastError();
    return nb_error_set(err, NB_ERR_MEMORY,
                        "%s need %lld MiB of GPU memory, %lld MiB are free: fewer sequences, a shorter context or "
                        "fewer batched tokens would fit",
                        what, (long long)(n_byte >> 20), (long long)(free_bytes >> 20));
}

static void count_layers(nb_cuda *d)
{
    const nb_config *c = &d->model->config;
    d->n_attention = d->n_deltanet = 0;
    for (int i = 0; i < c->num_hidden_layers; i++) {
        nb_cuda_layer *l = &d->weights.layer[i];
        if (l->kind == NB_LAYER_FULL_ATTENTION)
            l->i_attention = d->n_attention++;
        else
            l->i_deltanet = d->n_deltanet++;
    }
    if (d->weights.has_mtp) d->weights.mtp.layer.i_attention = d->n_attention++; // the last: its pages have a tail
    d->group = c->num_attention_heads / c->num_key_value_heads;
    int size = d->reserve.kv == NB_KV_FP8 ? 1 : 2,
        n_channel = (2 * c->linear_num_key_heads + c->linear_num_value_heads) * NB_GDN_DIM;
    d->layer_page_bytes = (int64_t)2 * c->num_key_value_heads * NB_PAGE_TOKENS * c->head_dim * size;
    d->layer_floats =
        (int64_t)c->linear_num_value_heads * (NB_GDN_DIM * NB_GDN_DIM + NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS);
    d->layer_halfs = (int64_t)NB_GDN_RING * n_channel;
    d->slot_floats = d->layer_floats * d->n_deltanet, d->slot_halfs = d->layer_halfs * d->n_deltanet;
}

// Pages behind all others that only the MTP module's layer has, one a sequence: for keys of proposals.
static int64_t tail_bytes(const nb_cuda *d)
{
    return d->weights.has_mtp ? d->layer_page_bytes * d->reserve.max_seq : 0;
}

// What may still be reserved.
static int usable_bytes(const nb_cuda *d, int64_t *out, nb_error *err)
{
    size_t free_bytes = 0, total = 0;
    NB_CUDA_TRY(cudaMemGetInfo(&free_bytes, &total), err);
    *out = (int64_t)free_bytes - SLACK_BYTES - tail_bytes(d) -
           (int64_t)((double)total * (1 - d->options.gpu_memory_utilization));
    return NB_OK;
}

static int add_saved_states(nb_cuda *d, nb_error *err)
{
    int64_t usable = 0, slot = nb_cuda_slot_bytes(d), page = d->layer_page_bytes * d->n_attention;
    NB_TRY(usable_bytes(d, &usable, err));
    int64_t room = usable - (d->reserve.n_slot + 1) * slot - d->reserve.n_page * page;
    d->reserve.n_slot += nb_plan_saved_states(room, slot, d->reserve.max_seq);
    return NB_OK;
}

static int reserve_states(nb_cuda *d, nb_error *err)
{
    if (d->reserve.fit_saved) NB_TRY(add_saved_states(d, err));
    int64_t n = d->reserve.n_slot + 1;
    d->state_bytes = n * nb_cuda_slot_bytes(d);
    NB_TRY(claim((void **)&d->state, n * d->slot_floats * 4 + NB_CUDA_ALIGN, "the state slots", err));
    NB_TRY(claim((void **)&d->ring, n * d->slot_halfs * 2 + NB_CUDA_ALIGN, "the convolution states", err));
    NB_TRY(claim((void **)&d->last_tok, n * 4, "the slots' tokens", err));
    int64_t hidden = n * nb_cuda_hidden_halfs(d) * 2;
    if (hidden) NB_TRY(claim((void **)&d->hidden, hidden, "the slots' hidden states", err));
    d->ledger = (nb_cuda_ledger *)calloc((size_t)n, sizeof *d->ledger);
    d->staged = (nb_cuda_ledger *)calloc((size_t)n, sizeof *d->staged);
    d->plan = (nb_cuda_seq_plan *)calloc((size_t)d->reserve.max_seq, sizeof *d->plan);
    return d->ledger && d->staged && d->plan
               ? NB_OK
               : nb_error_set(err, NB_ERR_MEMORY, "no memory for the ledger of %d slots", d->reserve.n_slot);
}

static int reserve_pages(nb_cuda *d, nb_error *err)
{
    int64_t page = d->layer_page_bytes * d->n_attention;
    if (d->reserve.n_page == 0 && page > 0) {
        int64_t usable = 0;
        NB_TRY(usable_bytes(d, &usable, err));
        int64_t n = usable / page - 1;
        d->reserve.n_page = (int)(n < 0 ? 0 : n > PAGES_MAX ? PAGES_MAX : n);
        if (d->reserve.n_page == 0)
            return nb_error_set(err, NB_ERR_MEMORY, "no GPU memory is left for KV pages of %lld KiB",
                                (long long)(page >> 10));
    }
    d->kv_bytes = page * (d->reserve.n_page + 1) + tail_bytes(d);
    return claim((void **)&d->cache, d->kv_bytes + NB_CUDA_ALIGN, "the KV pages", err);
}

static int reserve_flights(nb_cuda *d, nb_error *err)
{
    int words = nb_ceil_div(d->model->config.vocab_size, 32);
    int64_t T = d->reserve.max_tok, S = d->reserve.max_seq, R = d->reserve.max_row, tiles = T * d->group + 2 * S;
    d->meta_capacity = META_EXTRA_BYTES + T * 64 + tiles * 2 * (int64_t)sizeof(nb_attention_tile) + S * 512 + R * 256 +
                       (int64_t)PAGES_MAX * 8 + R * words * 4;
    NB_TRY(claim((void **)&d->meta, d->meta_capacity, "the metadata of a batch", err));
    for (int i = 0; i < NB_CUDA_FLIGHTS; i++) {
        nb_cuda_flight *f = &d->flight[i];
        NB_CUDA_TRY(cudaMallocHost(&f->meta, (size_t)d->meta_capacity), err);
        NB_CUDA_TRY(cudaMallocHost(&f->result, (size_t)R * sizeof *f->result), err);
        NB_CUDA_TRY(cudaMallocHost(&f->proposal, (size_t)S * sizeof *f->proposal), err);
        NB_CUDA_TRY(cudaEventCreate(&f->begin), err);
        NB_CUDA_TRY(cudaEventCreate(&f->end), err);
        f->row_logits = (bool *)calloc((size_t)R, sizeof *f->row_logits);
        if (!f->row_logits) return nb_error_set(err, NB_ERR_MEMORY, "no memory for the steps under way");
    }
    return NB_OK;
}

int nb_cuda_reserve(nb_cuda *d, const nb_reserve *reserve, nb_error *err)
{
    if (reserve->kv == NB_KV_F32)
        return nb_error_set(err, NB_ERR_INPUT, "a KV cache in F32 is for the CPU; CUDA has bf16 and fp8");
    d->reserve = *reserve, d->wgmma = nb_cuda_step_by_wgmma(d);
    d->flash = !d->options.portable && nb_flash_usable(d->model->config.head_dim);
    count_layers(d);
    carver c = {};
    carve_scratch(d, &c);
    d->scratch.bytes = c.used;
    NB_TRY(claim(&d->scratch.block, c.used, "the activations of a step", err));
    c.block = (uint8_t *)d->scratch.block, c.used = 0;
    carve_scratch(d, &c);
    NB_TRY(reserve_flights(d, err));
    NB_TRY(reserve_states(d, err));
    NB_TRY(reserve_pages(d, err));
    return nb_cuda_single_make(d, err);
}

void nb_cuda_release(nb_cuda *d)
{
    nb_cuda_single_drop(d);
    cudaFree(d->scratch.block), cudaFree(d->state), cudaFree(d->ring), cudaFree(d->last_tok), cudaFree(d->meta),
        cudaFree(d->cache), cudaFree(d->hidden);
    for (int i = 0; i < NB_CUDA_FLIGHTS; i++) {
        nb_cuda_flight *f = &d->flight[i];
        cudaFreeHost(f->meta), cudaFreeHost(f->result), cudaFreeHost(f->proposal), free(f->logits), free(f->row_logits);
        if (f->begin) cudaEventDestroy(f->begin);
        if (f->end) cudaEventDestroy(f->end);
    }
    for (int i = 0; i <= NB_CUDA_BUCKET_MAX; i++) {
        if (d->graph[i].exec) cudaGraphExecDestroy(d->graph[i].exec);
        if (d->graph[i].graph) cudaGraphDestroy(d->graph[i].graph);
    }
    free(d->ledger), free(d->staged), free(d->plan);
}
