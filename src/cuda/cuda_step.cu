// The kernels of a step in order. Up to 8 tokens a layer is 6 launches (7 with full attention): input norm and
// projections; DeltaNet, or q/k/v preparation and attention; output projection with the residual sum; norm and router,
// whose last block routes; gate and up; down with the residual sum. The residual stream is fp32, everything between
// kernels bf16 where the reference rounds too, else fp32.
#include <stdlib.h>

#include "cuda/cuda_internal.h"

typedef struct step {
    nb_cuda *d;
    const nb_cuda_meta *m;
    nb_cuda_launch at;
    nb_error *err;
} step;

static nb_cuda_source norm_source(const step *s, const float *weight)
{
    nb_cuda_source x = {};
    x.kind = NB_SOURCE_NORM, x.value = s->d->scratch.residual, x.weight = weight;
    x.eps = (float)s->d->model->config.rms_norm_eps, x.n_in = s->d->model->config.hidden_size;
    return x;
}

static void add_matrix(nb_cuda_dense *d, const nb_cuda_matrix *m, int kind, void *out, int stride, int first)
{
    nb_cuda_output o = {kind, out, stride, first};
    d->matrix[d->n_matrix] = *m, d->output[d->n_matrix++] = o;
}

static nb_cuda_dense dense(const step *s, nb_cuda_source source)
{
    nb_cuda_dense d = {};
    d.n_tok = s->m->n_tok, d.source = source, d.input = s->d->scratch.input, d.keep = s->d->scratch.kept;
    return d;
}

static int emit(const step *s, nb_tap_site site, int layer, int seq, const void *gpu, int64_t n_row, int64_t n_col,
                const int32_t *index);

static int run_attention(const step *s, const nb_cuda_layer *l)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    nb_cuda_scratch *x = &d->scratch;
    int n_q = c->num_attention_heads * c->head_dim, n_kv = c->num_key_value_heads * c->head_dim,
        q_rows = n_q * (1 + c->attn_output_gate);
    nb_cuda_dense in = dense(s, norm_source(s, l->input_layernorm));
    int stride = q_rows + 2 * n_kv;
    add_matrix(&in, &l->q, NB_OUT_F32, x->projected, stride, 0);
    add_matrix(&in, &l->k, NB_OUT_F32, x->projected, stride, q_rows);
    add_matrix(&in, &l->v, NB_OUT_F32, x->projected, stride, q_rows + n_kv);
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    nb_cuda_attention a = {};
    a.n_tok = s->m->n_tok, a.n_seq = s->m->n_seq, a.n_tile = s->m->n_tile, a.n_split = s->m->n_split;
    a.n_head = c->num_attention_heads, a.n_kv_head = c->num_key_value_heads, a.d_head = c->head_dim;
    a.gated = c->attn_output_gate, a.fp8 = d->reserve.kv == NB_KV_FP8;
    a.seq = (const nb_attention_seq *)(d->meta + s->m->attention_seq),
    a.tile = (const nb_attention_tile *)(d->meta + s->m->tile);
    a.tok_seq = (const int32_t *)(d->meta + s->m->tok_seq), a.page = (const int32_t *)(d->meta + s->m->page);
    a.projected = x->projected, a.projected_stride = stride, a.q_norm = l->q_norm, a.k_norm = l->k_norm;
    a.inv_freq = d->weights.inv_freq, a.n_rot = c->rope.n_rot, a.rope_factor = (float)c->rope.attention_factor;
    a.eps = (float)c->rms_norm_eps, a.k_scale = a.fp8 ? l->k_scale : 1, a.v_scale = a.fp8 ? l->v_scale : 1;
    a.q = x->q, a.cache = d->cache + l->i_attention * d->layer_page_bytes * (d->reserve.n_page + 1),
    a.page_bytes = d->layer_page_bytes;
    a.part = x->part, a.part_sum = x->part_sum, a.counter = x->attention_counter, a.out = x->attended;
    NB_TRY(nb_cuda_attention_run(&s->at, &a, s->err));
    nb_cuda_source attended = {};
    attended.kind = NB_SOURCE_BF16, attended.bf16 = x->attended, attended.stride = n_q, attended.n_in = n_q;
    nb_cuda_dense out = dense(s, attended);
    add_matrix(&out, &l->o, NB_OUT_ADD, x->residual, c->hidden_size, 0);
    return nb_cuda_dense_run(&s->at, &out, s->err);
}

static int run_deltanet(const step *s, const nb_cuda_layer *l)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    nb_cuda_scratch *x = &d->scratch;
    int n_value = c->linear_num_value_heads, n_v = n_value * NB_GDN_DIM,
        n_channel = 2 * c->linear_num_key_heads * NB_GDN_DIM + n_v;
    nb_cuda_dense in = dense(s, norm_source(s, l->input_layernorm));
    add_matrix(&in, &l->qkv, NB_OUT_BF16, x->qkv, n_channel, 0);
    add_matrix(&in, &l->z, NB_OUT_BF16, x->z, n_v, 0);
    add_matrix(&in, &l->b, NB_OUT_F32, x->ba, 2 * n_value, 0);
    add_matrix(&in, &l->a, NB_OUT_F32, x->ba, 2 * n_value, n_value);
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    nb_cuda_gdn g = {};
    g.n_tok = s->m->n_tok, g.n_seq = s->m->n_seq, g.n_key_head = c->linear_num_key_heads, g.n_value_head = n_value;
    g.seq = (const nb_gdn_seq *)(d->meta + s->m->gdn_seq), g.qkv = x->qkv, g.ba = x->ba;
    g.conv1d = l->conv1d, g.A_log = l->A_log, g.dt_bias = l->dt_bias;
    g.state = d->state + l->i_deltanet * d->layer_floats,
    g.journal = g.state + (int64_t)n_value * NB_GDN_DIM * NB_GDN_DIM;
    g.ring = d->ring + l->i_deltanet * d->layer_halfs, g.slot_floats = d->slot_floats, g.slot_halfs = d->slot_halfs;
    g.out = x->delta, g.long_rows = s->m->long_rows;
    NB_TRY(nb_cuda_gdn_run(&s->at, &g, s->err));
    nb_cuda_source gated = {};
    gated.kind = NB_SOURCE_GDN, gated.value = x->delta, gated.gate = x->z, gated.gate_stride = n_v,
    gated.weight = l->norm;
    gated.eps = (float)c->rms_norm_eps, gated.n_in = n_v;
    nb_cuda_dense out = dense(s, gated);
    add_matrix(&out, &l->out, NB_OUT_ADD, x->residual, c->hidden_size, 0);
    return nb_cuda_dense_run(&s->at, &out, s->err);
}

// Columns of a grouped tile: about twice the mean tokens of an expert, so that few experts need two.
static int tile_columns(int n_tok, int top_k, int n_expert)
{
    double mean = (double)n_tok * top_k / n_expert;
    return mean <= 3 ? 8 : mean <= 8 ? 16 : mean <= 16 ? 32 : 64;
}

static int run_moe(const step *s, const nb_cuda_layer *l, int i_layer)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    nb_cuda_scratch *x = &d->scratch;
    nb_cuda_route r = x->route;
    r.n_tok = s->m->n_tok, r.n_expert = c->num_experts, r.top_k = c->num_experts_per_tok, r.has_shared = l->has_shared;
    r.tile_shared = l->has_shared && l->shared_gate_up.kind == l->experts.gate_up.kind &&
                    l->shared_down.kind == l->experts.down.kind;
    r.normalise = c->norm_topk_prob, r.tile_columns = tile_columns(r.n_tok, r.top_k, r.n_expert);
    bool small = r.n_tok <= NB_CUDA_SMALL_MAX;
    nb_cuda_dense in = dense(s, norm_source(s, l->post_attention_layernorm));
    add_matrix(&in, &l->router, NB_OUT_F32, r.logits, r.n_expert + 1, 0);
    if (l->has_shared) add_matrix(&in, &l->shared_gate, NB_OUT_F32, r.logits, r.n_expert + 1, r.n_expert);
    in.keep = x->hidden, in.route = small && r.n_tok > 1 ? &r : NULL;
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    if (!small) NB_TRY(nb_cuda_route_run(&s->at, &r, s->err));
    nb_cuda_moe m = {};
    m.n_tok = r.n_tok, m.d_model = c->hidden_size, m.d_ff = c->moe_intermediate_size,
    m.d_ff_shared = c->shared_expert_intermediate_size;
    m.experts = l->experts, m.shared_gate_up = l->shared_gate_up, m.shared_down = l->shared_down, m.route = r;
    m.input = x->hidden, m.input_f8 = x->hidden_f8, m.inter = x->inter, m.pair_out = x->pair_out,
    m.residual = x->residual;
    m.input_stride = nb_cuda_padded(c->hidden_size);
    int ff = m.d_ff > m.d_ff_shared ? m.d_ff : m.d_ff_shared;
    m.inter_stride = nb_cuda_padded(ff);
    if (l->experts.gate_up.kind == NB_KIND_FP8_A8) {
        nb_cuda_source h = {};
        h.kind = NB_SOURCE_BF16, h.bf16 = x->hidden, h.stride = m.input_stride, h.n_in = c->hidden_size;
        NB_TRY(nb_cuda_prepare_run(&s->at, &h, r.n_tok, l->experts.gate_up.input_scale, x->hidden_f8, NULL,
                                   m.input_stride, s->err));
    }
    NB_TRY(nb_cuda_moe_run(&s->at, &m, s->err));
    return emit(s, NB_TAP_ROUTER, i_layer, -1, r.top_weight, r.n_tok, r.top_k, r.top_index);
}

static int run_head(const step *s)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    if (s->m->n_row == 0) return NB_OK;
    nb_cuda_source last = norm_source(s, d->weights.norm);
    last.index = (const int32_t *)(d->meta + s->m->row_tok);
    nb_cuda_dense out = dense(s, last);
    out.n_tok = s->m->n_row;
    add_matrix(&out, &d->weights.lm_head, NB_OUT_F32, d->scratch.logits, c->vocab_size, 0);
    NB_TRY(nb_cuda_dense_run(&s->at, &out, s->err));
    NB_TRY(emit(s, NB_TAP_LOGITS, c->num_hidden_layers, -1, d->scratch.logits, s->m->n_row, c->vocab_size, NULL));
    nb_cuda_head h = {};
    h.n_row = s->m->n_row, h.vocab = c->vocab_size, h.shaped = s->m->shaped;
    h.row = (const nb_row *)(d->meta + s->m->row), h.seq = (const nb_seq *)(d->meta + s->m->seq),
    h.tok = (const int32_t *)(d->meta + s->m->tok);
    h.history = (const nb_history *)(d->meta + s->m->history), h.bias = (const nb_bias *)(d->meta + s->m->bias);
    h.mask = (const uint32_t *)(d->meta + s->m->mask), h.logits = d->scratch.logits, h.z = d->scratch.z_row;
    h.part = d->scratch.head_part, h.result = d->scratch.result, h.last_tok = d->last_tok;
    return nb_cuda_head_run(&s->at, &h, s->err);
}

// A tap: waits for the stream, copies, calls. Steps with taps are slow and never graphs.
static int emit(const step *s, nb_tap_site site, int layer, int seq, const void *gpu, int64_t n_row, int64_t n_col,
                const int32_t *index)
{
    nb_cuda *d = s->d;
    if (!d->tap) return NB_OK;
    size_t n = (size_t)(n_row * n_col);
    float *data = (float *)malloc(n * sizeof(float));
    int32_t *ids = (int32_t *)malloc(n * sizeof(int32_t));
    cudaError_t code = cudaStreamSynchronize(d->stream);
    if (code == cudaSuccess) code = cudaMemcpy(data, gpu, n * sizeof(float), cudaMemcpyDeviceToHost);
    if (code == cudaSuccess && index) code = cudaMemcpy(ids, index, n * sizeof(int32_t), cudaMemcpyDeviceToHost);
    nb_tap t = {};
    t.site = site, t.layer = layer, t.seq = seq, t.n_row = n_row, t.n_col = n_col, t.data = data,
    t.index = index ? ids : NULL;
    if (code == cudaSuccess) d->tap(d->tap_user, &t);
    free(data), free(ids);
    return code == cudaSuccess ? NB_OK : nb_cuda_fail(code, "the copy of a tap", s->err);
}

static int run_layer(const step *s, int i)
{
    const nb_cuda_layer *l = &s->d->weights.layer[i];
    int d_model = s->d->model->config.hidden_size, n_tok = s->m->n_tok;
    const float *x = s->d->scratch.residual;
    NB_TRY(emit(s, NB_TAP_RESIDUAL, i, -1, x, n_tok, d_model, NULL));
    if (l->kind == NB_LAYER_FULL_ATTENTION)
        NB_TRY(run_attention(s, l));
    else
        NB_TRY(run_deltanet(s, l));
    NB_TRY(emit(s, NB_TAP_MIXER, i, -1, x, n_tok, d_model, NULL));
    return run_moe(s, l, i);
}

int nb_cuda_step_run(nb_cuda *d, const nb_cuda_meta *m, int pdl, nb_error *err)
{
    step s = {d, m, {d->stream, d->n_sm, pdl, d->time ? d->times : NULL}, err};
    const nb_config *c = &d->model->config;
    NB_TRY(nb_cuda_embed_run(&s.at, (const int32_t *)(d->meta + m->tok), (const int32_t *)(d->meta + m->tok_slot),
                             d->last_tok, d->weights.embed, m->n_tok, c->hidden_size, c->vocab_size,
                             d->scratch.residual, err));
    for (int i = 0; i < c->num_hidden_layers; i++) NB_TRY(run_layer(&s, i));
    NB_TRY(emit(&s, NB_TAP_RESIDUAL, c->num_hidden_layers, -1, d->scratch.residual, m->n_tok, c->hidden_size, NULL));
    return run_head(&s);
}
