// The kernels of a step in order. One sequence: one persistent kernel (cuda_single.h). Up to 256 a layer of a decode is
// 6 launches: input projections; DeltaNet or attention; output projection with the residual sum; norm and router, whose
// last block routes; gate and up; down with the residual sum. Up to 8 tokens input projections make the norm
// themselves; of more, kernels that know whole rows or heads leave the input of the next product, and experts run as
// grouped products. The residual stream is fp32, everything between kernels bf16 where the reference rounds too, else
// fp32.
#include <stdlib.h>

#include "cuda/cuda_router.h"
#include "cuda/cuda_single.h"
#include "cuda/cuda_step.h"

nb_cuda_source nb_cuda_norm_of(const nb_cuda_step *s, const float *weight)
{
    nb_cuda_source x = {};
    x.kind = NB_SOURCE_NORM, x.value = s->d->scratch.residual, x.weight = weight;
    x.eps = (float)s->d->model->config.rms_norm_eps, x.n_in = s->d->model->config.hidden_size;
    return x;
}

void nb_cuda_dense_add(nb_cuda_dense *d, const nb_cuda_matrix *m, int kind, void *out, int stride, int first)
{
    nb_cuda_output o = {kind, out, stride, first};
    d->matrix[d->n_matrix] = *m, d->output[d->n_matrix++] = o;
}

nb_cuda_dense nb_cuda_dense_of(const nb_cuda_step *s, nb_cuda_source source)
{
    nb_cuda_dense d = {};
    d.n_tok = s->m->n_tok, d.source = source, d.input = s->d->scratch.input, d.keep = s->d->scratch.kept;
    return d;
}

typedef struct projection { // rows of q (with gate, per head), k and v side by side
    int n_q, n_kv, q_rows, stride;
} projection;

static projection projection_of(const nb_config *c)
{
    projection p;
    p.n_q = c->num_attention_heads * c->head_dim, p.n_kv = c->num_key_value_heads * c->head_dim;
    p.q_rows = p.n_q * (1 + c->attn_output_gate), p.stride = p.q_rows + 2 * p.n_kv;
    return p;
}

static nb_cuda_attention attention_of(const nb_cuda_step *s, const nb_cuda_layer *l)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    nb_cuda_scratch *x = &d->scratch;
    nb_cuda_attention a = {};
    a.n_tok = s->m->n_tok, a.n_seq = s->m->n_seq, a.n_tile = s->m->n_tile, a.n_split = s->m->n_split;
    a.n_head = c->num_attention_heads, a.n_kv_head = c->num_key_value_heads, a.d_head = c->head_dim;
    a.gated = c->attn_output_gate, a.fp8 = d->reserve.kv == NB_KV_FP8, a.kv_first = l->kv_first;
    a.seq = (const nb_attention_seq *)(d->meta + s->m->attention_seq),
    a.tile = (const nb_attention_tile *)(d->meta + s->m->tile);
    a.n_flash = s->m->n_flash, a.flash = (const nb_attention_tile *)(d->meta + s->m->flash);
    a.tok_seq = (const int32_t *)(d->meta + s->m->tok_seq), a.page = (const int32_t *)(d->meta + s->m->page);
    a.projected = x->projected, a.projected_stride = projection_of(c).stride, a.q_norm = l->q_norm,
    a.k_norm = l->k_norm;
    a.inv_freq = d->weights.inv_freq, a.n_rot = c->rope.n_rot, a.rope_factor = (float)c->rope.attention_factor;
    a.eps = (float)c->rms_norm_eps, a.k_scale = a.fp8 ? l->k_scale : 1, a.v_scale = a.fp8 ? l->v_scale : 1;
    a.q = x->q, a.cache = d->cache + l->i_attention * d->layer_page_bytes * (d->reserve.n_page + 1),
    a.page_bytes = d->layer_page_bytes;
    a.part = x->part, a.part_sum = x->part_sum, a.counter = x->attention_counter, a.out = x->attended;
    return a;
}

static nb_cuda_dense attention_input(const nb_cuda_step *s, const nb_cuda_layer *l)
{
    float *projected = s->d->scratch.projected;
    projection p = projection_of(&s->d->model->config);
    nb_cuda_dense in = nb_cuda_dense_of(s, nb_cuda_norm_of(s, l->input_layernorm));
    nb_cuda_dense_add(&in, &l->q, NB_OUT_F32, projected, p.stride, 0);
    nb_cuda_dense_add(&in, &l->k, NB_OUT_F32, projected, p.stride, p.q_rows);
    nb_cuda_dense_add(&in, &l->v, NB_OUT_F32, projected, p.stride, p.q_rows + p.n_kv);
    return in;
}

int nb_cuda_attention_block(const nb_cuda_step *s, const nb_cuda_layer *l, bool ready)
{
    nb_cuda_scratch *x = &s->d->scratch;
    const nb_attention_weights *w = &l->from->attention;
    const nb_linear *qkv[] = {&w->q_proj, &w->k_proj, &w->v_proj}, *o[] = {&w->o_proj};
    projection p = projection_of(&s->d->model->config);
    nb_cuda_dense in = attention_input(s, l);
    in.ready = ready;
    NB_TRY(nb_cuda_tap_inputs(s, &in, qkv));
    nb_cuda_part(s, NB_PART_ATTENTION_LINEARS);
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    nb_cuda_attention a = attention_of(s, l);
    nb_cuda_source attended = {};
    attended.kind = NB_SOURCE_BF16, attended.bf16 = x->attended, attended.stride = p.n_q, attended.n_in = p.n_q;
    nb_cuda_dense out = nb_cuda_dense_of(s, attended);
    nb_cuda_dense_add(&out, &l->o, NB_OUT_ADD, x->residual, s->d->model->config.hidden_size, 0);
    nb_cuda_prepared to;
    out.ready = nb_cuda_dense_input(&s->at, &out, &to) && to.stride == p.n_q && a.n_flash == 0 && !s->d->tap;
    nb_cuda_part(s, NB_PART_ATTENTION);
    NB_TRY(nb_cuda_attention_run(&s->at, &a, out.ready ? &to : NULL, s->err));
    NB_TRY(nb_cuda_tap_inputs(s, &out, o));
    nb_cuda_part(s, NB_PART_ATTENTION_LINEARS);
    return nb_cuda_dense_run(&s->at, &out, s->err);
}

int nb_cuda_attention_absorb(const nb_cuda_step *s, const nb_cuda_layer *l)
{
    projection p = projection_of(&s->d->model->config);
    nb_cuda_dense in = nb_cuda_dense_of(s, nb_cuda_norm_of(s, l->input_layernorm));
    nb_cuda_dense_add(&in, &l->k, NB_OUT_F32, s->d->scratch.projected, p.stride, p.q_rows);
    nb_cuda_dense_add(&in, &l->v, NB_OUT_F32, s->d->scratch.projected, p.stride, p.q_rows + p.n_kv);
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    nb_cuda_attention a = attention_of(s, l);
    return nb_cuda_attention_store(&s->at, &a, s->err);
}

// Of the first layer, without its vectors.
static nb_cuda_gdn gdn_of(const nb_cuda_step *s)
{
    const nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    const nb_cuda_scratch *x = &d->scratch;
    nb_cuda_gdn g = {};
    g.n_tok = s->m->n_tok, g.n_seq = s->m->n_seq;
    g.n_key_head = c->linear_num_key_heads, g.n_value_head = c->linear_num_value_heads;
    g.seq = (const nb_gdn_seq *)(d->meta + s->m->gdn_seq), g.qkv = x->qkv, g.ba = x->ba;
    g.state = d->state, g.journal = g.state + (int64_t)g.n_value_head * NB_GDN_DIM * NB_GDN_DIM;
    g.ring = d->ring, g.slot_floats = d->slot_floats, g.slot_halfs = d->slot_halfs;
    g.out = x->delta, g.long_rows = s->m->long_rows;
    g.n_chunk = s->m->n_chunk, g.n_walk = s->m->n_walk, g.scratch = x->pair_out;
    g.chunk = (const nb_gdn_chunk *)(d->meta + s->m->gdn_chunk),
    g.walk = (const nb_gdn_walk *)(d->meta + s->m->gdn_walk);
    return g;
}

// Sequences whose journal is folded while they bring drafts: the drafts' rows may overwrite rows of the journal that
// other blocks still read, so they are appended by a launch of their own, which starts when the fold is done.
static int run_late(const nb_cuda_step *s, nb_cuda_gdn g)
{
    nb_cuda_launch at = s->at;
    if (s->m->n_gdn_late == 0) return NB_OK;
    at.pdl = 0;
    g.n_seq = s->m->n_gdn_late, g.long_rows = 0, g.n_walk = g.n_chunk = 0;
    g.seq = (const nb_gdn_seq *)(s->d->meta + s->m->gdn_late);
    return nb_cuda_gdn_run(&at, &g, s->err);
}

static nb_cuda_dense deltanet_input(const nb_cuda_step *s, const nb_cuda_layer *l)
{
    const nb_config *c = &s->d->model->config;
    nb_cuda_scratch *x = &s->d->scratch;
    int n_value = c->linear_num_value_heads, n_v = n_value * NB_GDN_DIM,
        n_channel = 2 * c->linear_num_key_heads * NB_GDN_DIM + n_v;
    nb_cuda_dense in = nb_cuda_dense_of(s, nb_cuda_norm_of(s, l->input_layernorm));
    nb_cuda_dense_add(&in, &l->qkv, NB_OUT_BF16, x->qkv, n_channel, 0);
    nb_cuda_dense_add(&in, &l->z, NB_OUT_BF16, x->z, n_v, 0);
    nb_cuda_dense_add(&in, &l->b, NB_OUT_F32, x->ba, 2 * n_value, 0);
    nb_cuda_dense_add(&in, &l->a, NB_OUT_F32, x->ba, 2 * n_value, n_value);
    return in;
}

static nb_cuda_dense deltanet_output(const nb_cuda_step *s, const nb_cuda_layer *l)
{
    const nb_config *c = &s->d->model->config;
    nb_cuda_scratch *x = &s->d->scratch;
    nb_cuda_source gated = {};
    gated.kind = NB_SOURCE_GDN, gated.value = x->delta, gated.gate = x->z, gated.weight = l->norm;
    gated.eps = (float)c->rms_norm_eps, gated.n_in = gated.gate_stride = c->linear_num_value_heads * NB_GDN_DIM;
    nb_cuda_dense out = nb_cuda_dense_of(s, gated);
    nb_cuda_dense_add(&out, &l->out, NB_OUT_ADD, x->residual, c->hidden_size, 0);
    return out;
}

// The delta rule; of decodes that nobody looks into with the output projection's input.
static int run_delta(const nb_cuda_step *s, const nb_cuda_layer *l, nb_cuda_dense *out)
{
    nb_cuda *d = s->d;
    nb_cuda_gdn g = gdn_of(s);
    g.conv1d = l->conv1d, g.A_log = l->A_log, g.dt_bias = l->dt_bias;
    g.state += l->i_deltanet * d->layer_floats, g.journal += l->i_deltanet * d->layer_floats;
    g.ring += l->i_deltanet * d->layer_halfs;
    nb_gdn_gated gated = {out->source.gate, out->source.weight, out->source.eps};
    out->ready = g.n_tok == g.n_seq && !d->tap && nb_cuda_dense_input(&s->at, out, &gated.to);
    if (out->ready) return nb_cuda_gdn_decode_run(&s->at, &g, &gated, s->err);
    NB_TRY(nb_cuda_gdn_run(&s->at, &g, s->err));
    return run_late(s, g);
}

static int run_deltanet(const nb_cuda_step *s, const nb_cuda_layer *l, int i_layer, bool ready)
{
    const nb_deltanet_weights *w = &l->from->deltanet;
    const nb_linear *projections[] = {&w->in_proj_qkv, &w->in_proj_z, &w->in_proj_b, &w->in_proj_a},
                    *out_proj[] = {&w->out_proj};
    nb_cuda_dense in = deltanet_input(s, l), out = deltanet_output(s, l);
    in.ready = ready;
    NB_TRY(nb_cuda_tap_inputs(s, &in, projections));
    nb_cuda_part(s, NB_PART_DELTANET_LINEARS);
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    nb_cuda_part(s, NB_PART_DELTANET);
    NB_TRY(run_delta(s, l, &out));
    NB_TRY(nb_cuda_tap_states(s, l, i_layer));
    NB_TRY(nb_cuda_tap_inputs(s, &out, out_proj));
    nb_cuda_part(s, NB_PART_DELTANET_LINEARS);
    return nb_cuda_dense_run(&s->at, &out, s->err);
}

// Columns of a grouped tile: about twice the mean tokens of an expert, so that few experts need two.
static int tile_columns(int n_tok, int top_k, int n_expert)
{
    double mean = (double)n_tok * top_k / n_expert;
    return mean <= 3 ? 8 : mean <= 8 ? 16 : mean <= 16 ? 32 : 64;
}

// Whether layer i's input is left by the layer before, or the embedding, and as what.
static bool input_ahead(const nb_cuda_step *s, int i, nb_cuda_prepared *input)
{
    const nb_config *c = &s->d->model->config;
    if (i >= c->num_hidden_layers || c->hidden_size > NB_MOE_NORM_MAX || s->d->tap) return false;
    const nb_cuda_layer *l = &s->d->weights.layer[i];
    nb_cuda_dense in = l->kind == NB_LAYER_FULL_ATTENTION ? attention_input(s, l) : deltanet_input(s, l);
    return nb_cuda_dense_input(&s->at, &in, input);
}

static nb_cuda_route route_of(const nb_cuda_step *s, const nb_cuda_layer *l)
{
    const nb_config *c = &s->d->model->config;
    nb_cuda_route r = s->d->scratch.route;
    r.n_tok = s->m->n_tok, r.n_expert = c->num_experts, r.top_k = c->num_experts_per_tok, r.has_shared = l->has_shared;
    r.tile_shared = l->has_shared && l->shared_gate_up.kind == l->experts.gate_up.kind &&
                    l->shared_down.kind == l->experts.down.kind;
    r.normalise = c->norm_topk_prob, r.spread = s->at.wgmma;
    r.tile_columns = s->at.wgmma ? (int)NB_PRODUCT_COLUMNS : tile_columns(r.n_tok, r.top_k, r.n_expert);
    return r;
}

// Norm, logits, choice of experts.
static int run_router(const nb_cuda_step *s, const nb_cuda_layer *l, const nb_cuda_route &r)
{
    const nb_moe_weights *w = &l->from->moe;
    const nb_linear *router[] = {&w->gate, &w->shared_expert_gate};
    uint16_t *hidden = s->d->scratch.hidden;
    bool small = r.n_tok <= NB_CUDA_SMALL_MAX;
    nb_cuda_dense in = nb_cuda_dense_of(s, nb_cuda_norm_of(s, l->post_attention_layernorm));
    nb_cuda_dense_add(&in, &l->router, NB_OUT_F32, r.logits, r.n_expert + 1, 0);
    if (l->has_shared) nb_cuda_dense_add(&in, &l->shared_gate, NB_OUT_F32, r.logits, r.n_expert + 1, r.n_expert);
    NB_TRY(nb_cuda_tap_inputs(s, &in, router));
    nb_cuda_part(s, NB_PART_ROUTER);
    nb_cuda_router whole = {in.source, l->router, l->shared_gate, r, 0, hidden};
    if (!small && !s->at.wgmma && nb_cuda_router_serves(&whole)) return nb_cuda_router_run(&s->at, &whole, s->err);
    in.keep = hidden, in.route = small && r.n_tok > 1 ? &r : NULL;
    NB_TRY(nb_cuda_dense_run(&s->at, &in, s->err));
    return small ? NB_OK : nb_cuda_route_run(&s->at, &r, s->err);
}

int nb_cuda_moe_block(const nb_cuda_step *s, const nb_cuda_layer *l, int i_layer)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    nb_cuda_scratch *x = &d->scratch;
    nb_cuda_route r = route_of(s, l);
    NB_TRY(run_router(s, l, r));
    nb_cuda_part(s, NB_PART_EXPERTS);
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
        h.kind = NB_SOURCE_BF16, h.bf16 = x->hidden, h.stride = h.n_in = m.input_stride;
        NB_TRY(nb_cuda_prepare_run(&s->at, &h, r.n_tok, l->experts.gate_up.input_scale, x->hidden_f8, NULL,
                                   m.input_stride, s->err));
    }
    m.eps = (float)c->rms_norm_eps;
    if (i_layer >= 0 && input_ahead(s, i_layer + 1, &m.next))
        m.next_norm = d->weights.layer[i_layer + 1].input_layernorm;
    NB_TRY(nb_cuda_moe_run(&s->at, &m, s->err));
    if (i_layer >= 0) NB_TRY(nb_cuda_tap_rows(s, NB_TAP_ROUTER, i_layer, r.top_weight, r.n_tok, r.top_k, r.top_index));
    return nb_cuda_tap_experts(s, &m, &l->from->moe);
}

// The hidden states of all tokens, for taps and for the MTP module; the head makes its own rows' itself.
static int run_final_norm(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    int d_model = d->model->config.hidden_size, stride = nb_cuda_padded(d_model);
    if (!d->tap && s->m->n_draft == 0) return NB_OK;
    nb_cuda_source all = nb_cuda_norm_of(s, d->weights.norm);
    NB_TRY(nb_cuda_prepare_run(&s->at, &all, s->m->n_tok, 0, NULL, d->scratch.final_hidden, stride, s->err));
    return nb_cuda_tap_bf16(s, NB_TAP_FINAL_NORM, d->model->config.num_hidden_layers, d->scratch.final_hidden,
                            s->m->n_tok, d_model, stride);
}

static int run_head(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    const nb_linear *lm_head[] = {&d->model->lm_head};
    NB_TRY(run_final_norm(s));
    if (s->m->n_row == 0) return NB_OK;
    nb_cuda_source last = nb_cuda_norm_of(s, d->weights.norm);
    last.index = (const int32_t *)(d->meta + s->m->row_tok);
    nb_cuda_dense out = nb_cuda_dense_of(s, last);
    out.n_tok = s->m->n_row;
    out.part = s->m->shaped ? NULL : d->scratch.head_part;
    nb_cuda_dense_add(&out, &d->weights.lm_head, NB_OUT_F32, d->scratch.logits, c->vocab_size, 0);
    NB_TRY(nb_cuda_tap_inputs(s, &out, lm_head));
    nb_cuda_part(s, NB_PART_HEAD);
    NB_TRY(nb_cuda_dense_run(&s->at, &out, s->err));
    NB_TRY(
        nb_cuda_tap_rows(s, NB_TAP_LOGITS, c->num_hidden_layers, d->scratch.logits, s->m->n_row, c->vocab_size, NULL));
    nb_cuda_part(s, NB_PART_SAMPLE);
    nb_cuda_head h = {};
    h.n_row = s->m->n_row, h.vocab = c->vocab_size, h.shaped = s->m->shaped;
    h.row = (const nb_row *)(d->meta + s->m->row), h.seq = (const nb_seq *)(d->meta + s->m->seq),
    h.tok = (const int32_t *)(d->meta + s->m->tok);
    h.history = (const nb_history *)(d->meta + s->m->history), h.bias = (const nb_bias *)(d->meta + s->m->bias);
    h.mask = (const uint32_t *)(d->meta + s->m->mask), h.logits = d->scratch.logits, h.z = d->scratch.z_row;
    h.part = d->scratch.head_part, h.n_part = out.n_part, h.result = d->scratch.result, h.last_tok = d->last_tok;
    h.home = (const nb_cuda_home *)(d->meta + s->m->home);
    return nb_cuda_head_run(&s->at, &h, s->err);
}

static int run_layer(const nb_cuda_step *s, int i)
{
    const nb_cuda_layer *l = &s->d->weights.layer[i];
    int d_model = s->d->model->config.hidden_size, n_tok = s->m->n_tok;
    const float *x = s->d->scratch.residual;
    nb_cuda_prepared input;
    bool ready = input_ahead(s, i, &input);
    NB_TRY(nb_cuda_tap_rows(s, NB_TAP_RESIDUAL, i, x, n_tok, d_model, NULL));
    if (l->kind == NB_LAYER_FULL_ATTENTION)
        NB_TRY(nb_cuda_attention_block(s, l, ready));
    else
        NB_TRY(run_deltanet(s, l, i, ready));
    NB_TRY(nb_cuda_tap_rows(s, NB_TAP_MIXER, i, x, n_tok, d_model, NULL));
    return nb_cuda_moe_block(s, l, i);
}

static nb_cuda_output output_of(int kind, void *out, int first)
{
    nb_cuda_output o = {kind, out, 0, first};
    return o;
}

static nb_cuda_embedding embedding_of(const nb_cuda_step *s)
{
    const nb_cuda *d = s->d;
    nb_cuda_embedding e = {};
    e.tok = (const int32_t *)(d->meta + s->m->tok), e.tok_slot = (const int32_t *)(d->meta + s->m->tok_slot);
    e.last_tok = d->last_tok, e.table = d->weights.embed, e.resolved = d->scratch.tok;
    e.vocab = d->model->config.vocab_size, e.d_model = d->model->config.hidden_size;
    return e;
}

// Embedding and all layers of one token by the persistent kernel.
static int run_single(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    nb_cuda_scratch *x = &d->scratch;
    projection q = projection_of(c);
    nb_cuda_layer none = {}; // the kernel takes each layer's own values from d->weights.layer
    nb_single_args p = {};
    nb_cuda_single_fill(d, &p);
    p.embedding = embedding_of(s), p.residual = x->residual;
    p.d_model = c->hidden_size, p.eps = (float)c->rms_norm_eps;
    p.attention = attention_of(s, &none), p.attention.n_split = nb_cuda_single_splits(d);
    p.attention.k_scale = p.attention.v_scale = 1;
    p.gdn = gdn_of(s), p.gdn.gate = x->z, p.gdn.square = x->square;
    p.route = x->route, p.route.n_tok = 1, p.route.n_expert = c->num_experts, p.route.top_k = c->num_experts_per_tok;
    p.route.has_shared = d->weights.layer[0].has_shared, p.route.normalise = c->norm_topk_prob;
    p.inter = x->inter, p.inter_stride = nb_cuda_padded(c->moe_intermediate_size);
    nb_cuda_output *gdn = p.output[NB_SINGLE_STAGE_IN_GDN], *in = p.output[NB_SINGLE_STAGE_IN_ATTENTION];
    gdn[0] = output_of(NB_OUT_BF16, x->qkv, 0), gdn[1] = output_of(NB_OUT_BF16, x->z, 0);
    p.ba = x->ba;
    for (int i = 0; i < 3; i++) in[i] = output_of(NB_OUT_F32, x->projected, i ? q.q_rows + (i - 1) * q.n_kv : 0);
    p.output[NB_SINGLE_STAGE_OUT][0] = output_of(NB_OUT_ADD, p.mixed, 0);
    return nb_cuda_single_run(&s->at, &p, d->weights.layer[0].experts.gate_up.kind, s->err);
}

static int run_embed(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    nb_cuda_embed e = {};
    e.from = embedding_of(s), e.out = d->scratch.residual, e.eps = (float)d->model->config.rms_norm_eps;
    if (input_ahead(s, 0, &e.next)) e.next_norm = d->weights.layer[0].input_layernorm;
    return nb_cuda_embed_run(&s->at, &e, s->m->n_tok, s->err);
}

// From tokens to the residual stream behind all layers. Taps, and times of a step's parts, need the layers one by one.
static int run_layers(const nb_cuda_step *s)
{
    const nb_cuda *d = s->d;
    if (d->single && s->m->n_tok == 1 && !d->tap && !d->time) return run_single(s);
    NB_TRY(run_embed(s));
    for (int i = 0; i < d->model->config.num_hidden_layers; i++) NB_TRY(run_layer(s, i));
    return NB_OK;
}

int nb_cuda_step_run(nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *m, int pdl, nb_error *err)
{
    nb_cuda_step s = {d, m, {d->stream, d->n_sm, pdl}, err};
    s.at.times = d->time ? d->times : NULL;
    nb_cuda_choose_products(&s);
    const nb_config *c = &d->model->config;
    nb_cuda_part(&s, NB_PART_EMBED);
    NB_TRY(nb_cuda_meta_take(&s.at, d, f, m, err));
    NB_TRY(run_layers(&s));
    NB_TRY(nb_cuda_tap_rows(&s, NB_TAP_RESIDUAL, c->num_hidden_layers, d->scratch.residual, m->n_tok, c->hidden_size,
                            NULL));
    NB_TRY(run_head(&s));
    return nb_cuda_mtp_run(&s);
}

static bool layer_by_wgmma(const nb_cuda_layer *l)
{
    const nb_cuda_matrix *m[] = {&l->q,
                                 &l->k,
                                 &l->v,
                                 &l->o,
                                 &l->qkv,
                                 &l->z,
                                 &l->b,
                                 &l->a,
                                 &l->out,
                                 &l->router,
                                 &l->shared_gate,
                                 &l->experts.gate_up,
                                 &l->experts.down,
                                 &l->shared_gate_up,
                                 &l->shared_down};
    for (int i = 0; i < (int)(sizeof m / sizeof m[0]); i++)
        if (!nb_product_serves(m[i])) return false;
    return true;
}

bool nb_cuda_step_by_wgmma(const nb_cuda *d)
{
    if (d->options.portable || !nb_product_usable() || !nb_product_serves(&d->weights.lm_head)) return false;
    for (int i = 0; i < d->model->config.num_hidden_layers; i++)
        if (!layer_by_wgmma(&d->weights.layer[i])) return false;
    return !d->weights.has_mtp || (nb_product_serves(&d->weights.mtp.fc) && layer_by_wgmma(&d->weights.mtp.layer));
}
