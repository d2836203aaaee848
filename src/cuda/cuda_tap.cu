// Taps: what the kernels read and wrote, copied to the host in the shapes of model/device.h. Inputs of linears are made
// once more by the kernel that makes them for large batches; states are put together as the next step would.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_product.h"
#include "cuda/cuda_step.h"

static int fetch(const nb_cuda_step *s, void *to, const void *gpu, size_t n_byte)
{
    NB_CUDA_TRY(cudaStreamSynchronize(s->d->stream), s->err);
    NB_CUDA_TRY(cudaMemcpy(to, gpu, n_byte, cudaMemcpyDeviceToHost), s->err);
    return NB_OK;
}

static void call(const nb_cuda_step *s, nb_tap tap)
{
    s->d->tap(s->d->tap_user, &tap);
}

static nb_tap tap_of(nb_tap_site site, int layer, int64_t n_row, int64_t n_col, const float *data)
{
    nb_tap tap = {};
    tap.site = site, tap.layer = layer, tap.seq = -1, tap.n_row = n_row, tap.n_col = n_col, tap.data = data;
    return tap;
}

int nb_cuda_tap_rows(const nb_cuda_step *s, nb_tap_site site, int layer, const float *gpu, int64_t n_row, int64_t n_col,
                     const int32_t *index)
{
    if (!s->d->tap) return NB_OK;
    size_t n = (size_t)(n_row * n_col);
    float *data = (float *)malloc(n * sizeof *data);
    int32_t *ids = (int32_t *)malloc(n * sizeof *ids);
    int code = fetch(s, data, gpu, n * sizeof *data);
    if (code == NB_OK && index) code = fetch(s, ids, index, n * sizeof *ids);
    nb_tap tap = tap_of(site, layer, n_row, n_col, data);
    if (index) tap.index = ids;
    if (code == NB_OK) call(s, tap);
    free(data), free(ids);
    return code;
}

// n_row rows of 16-bit values, bf16 or (f16) e4m3 values in f16 times `scale`, as floats without the padding. placed:
// in the order of nb_product_place.
static int fetch_halfs(const nb_cuda_step *s, const uint16_t *gpu, int64_t n_row, int n_col, int stride, bool placed,
                       int f16, float scale, float *to)
{
    size_t n = (size_t)n_row * (size_t)stride;
    uint16_t *raw = (uint16_t *)malloc(n * sizeof *raw);
    int code = fetch(s, raw, gpu, n * sizeof *raw);
    for (int64_t r = 0; code == NB_OK && r < n_row; r++)
        for (int i = 0; i < n_col; i++) {
            uint16_t v = raw[r * stride + (placed ? nb_product_place(i) : i)];
            to[r * n_col + i] = f16 ? __half2float(__ushort_as_half(v)) * scale : nb_bf16_to_f32(v);
        }
    free(raw);
    return code;
}

int nb_cuda_tap_bf16(const nb_cuda_step *s, nb_tap_site site, int layer, const uint16_t *gpu, int64_t n_row, int n_col,
                     int stride)
{
    if (!s->d->tap) return NB_OK;
    float *data = (float *)malloc((size_t)n_row * (size_t)n_col * sizeof *data);
    int code = fetch_halfs(s, gpu, n_row, n_col, stride, false, 0, 1, data);
    if (code == NB_OK) call(s, tap_of(site, layer, n_row, n_col, data));
    free(data);
    return code;
}

static void call_input(const nb_cuda_step *s, const nb_linear *linear, int64_t n_row, const float *data)
{
    nb_tap tap = tap_of(NB_TAP_LINEAR_INPUT, -1, n_row, linear->n_in, data);
    tap.linear = linear;
    if (n_row) call(s, tap);
}

int nb_cuda_tap_inputs(const nb_cuda_step *s, const nb_cuda_dense *dense, const nb_linear *const *linear)
{
    if (!s->d->tap) return NB_OK;
    int n_in = dense->source.n_in, code = NB_OK;
    float *data = (float *)malloc((size_t)dense->n_tok * (size_t)n_in * sizeof *data);
    for (int i = 0; i < dense->n_matrix && code == NB_OK; i++) {
        const nb_cuda_matrix *m = &dense->matrix[i];
        int stride = m->n_k_tile * NB_CUDA_K_TILE, f16 = m->kind == NB_KIND_FP8_A8;
        code = nb_cuda_prepare_run(&s->at, &dense->source, dense->n_tok, m->input_scale, f16 ? dense->input : NULL,
                                   f16 ? NULL : dense->input, stride, s->err);
        if (code == NB_OK)
            code = fetch_halfs(s, dense->input, dense->n_tok, n_in, stride, false, f16, m->input_scale, data);
        if (code == NB_OK) call_input(s, linear[i], dense->n_tok, data);
    }
    free(data);
    return code;
}

typedef struct routing { // of a step, on the host
    int32_t *index;      // [n_tok][top_k]
    int32_t *row;        // [n_tok][top_k] where the pair's activations are
} routing;

// Small batches: row 8 * group + token of the expert's group. Large ones: the pair's place.
static int fetch_routing(const nb_cuda_step *s, const nb_cuda_route *r, routing *out)
{
    int n_pair = r->n_tok * r->top_k, n_group = 0;
    out->index = (int32_t *)malloc((size_t)n_pair * sizeof(int32_t));
    out->row = (int32_t *)malloc((size_t)n_pair * sizeof(int32_t));
    int32_t *group = (int32_t *)malloc((size_t)(r->n_expert + 1) * sizeof *group);
    int code = fetch(s, out->index, r->top_index, (size_t)n_pair * sizeof(int32_t));
    bool small = r->n_tok <= NB_CUDA_SMALL_MAX;
    if (code == NB_OK && !small) code = fetch(s, out->row, r->pair_at, (size_t)n_pair * sizeof(int32_t));
    if (code == NB_OK && small) code = fetch(s, &n_group, r->n_group, sizeof n_group);
    if (code == NB_OK && small) code = fetch(s, group, r->group_expert, (size_t)n_group * sizeof *group);
    for (int i = 0; code == NB_OK && small && i < n_pair; i++)
        for (int g = 0; g < n_group; g++)
            if (group[g] == out->index[i]) out->row[i] = g * NB_CUDA_SMALL_MAX + i / r->top_k;
    free(group);
    return code;
}

// Expert e's rows, by token: of `hidden` (by token) for gate and up, of `inter` (by pair) for down.
static void call_expert(const nb_cuda_step *s, const nb_cuda_moe *moe, const nb_expert *w, int e, const routing *r,
                        const float *hidden, const float *inter, float *gathered)
{
    int n = 0, d = moe->d_model, ff = moe->d_ff, n_pair = moe->n_tok * moe->route.top_k;
    for (int i = 0; i < n_pair; i++)
        if (r->index[i] == e)
            memcpy(gathered + (int64_t)n++ * d, hidden + (int64_t)(i / moe->route.top_k) * d,
                   (size_t)d * sizeof(float));
    call_input(s, &w->gate_proj, n, gathered);
    call_input(s, &w->up_proj, n, gathered);
    n = 0;
    for (int i = 0; i < n_pair; i++)
        if (r->index[i] == e)
            memcpy(gathered + (int64_t)n++ * ff, inter + (int64_t)r->row[i] * ff, (size_t)ff * sizeof(float));
    call_input(s, &w->down_proj, n, gathered);
}

static bool is_placed(const nb_cuda_step *s, const nb_cuda_moe *moe)
{
    return s->at.wgmma && moe->n_tok > NB_CUDA_SMALL_MAX;
}

static int tap_shared(const nb_cuda_step *s, const nb_cuda_moe *moe, const nb_expert *w, const float *hidden,
                      float *inter)
{
    const nb_cuda_matrix *down = &moe->shared_down;
    int64_t first = moe->n_tok <= NB_CUDA_SMALL_MAX ? 0 : (int64_t)moe->n_tok * moe->route.top_k;
    call_input(s, &w->gate_proj, moe->n_tok, hidden);
    call_input(s, &w->up_proj, moe->n_tok, hidden);
    NB_TRY(fetch_halfs(s, moe->inter + first * moe->inter_stride, moe->n_tok, down->n_in, moe->inter_stride,
                       is_placed(s, moe), down->kind == NB_KIND_FP8_A8, down->input_scale, inter));
    call_input(s, &w->down_proj, moe->n_tok, inter);
    return NB_OK;
}

int nb_cuda_tap_experts(const nb_cuda_step *s, const nb_cuda_moe *moe, const nb_moe_weights *weights)
{
    if (!s->d->tap) return NB_OK;
    const nb_cuda_route *r = &moe->route;
    const nb_cuda_matrix *up = &moe->experts.gate_up, *down = &moe->experts.down;
    bool small = moe->n_tok <= NB_CUDA_SMALL_MAX;
    int n_group = moe->n_tok * r->top_k + 1 < r->n_expert + 1 ? moe->n_tok * r->top_k + 1 : r->n_expert + 1;
    int64_t n_inter = small ? n_group * NB_CUDA_SMALL_MAX : moe->n_tok * r->top_k, T = moe->n_tok;
    int widest = moe->d_ff > moe->d_ff_shared ? moe->d_ff : moe->d_ff_shared;
    float *hidden = (float *)malloc((size_t)T * (size_t)moe->d_model * sizeof(float));
    float *inter = (float *)malloc((size_t)(n_inter > T ? n_inter : T) * (size_t)widest * sizeof(float));
    float *gathered =
        (float *)malloc((size_t)T * (size_t)(moe->d_model > widest ? moe->d_model : widest) * sizeof(float));
    routing at = {};
    int f16 = up->kind == NB_KIND_FP8_A8;
    int code = fetch_routing(s, r, &at);
    if (code == NB_OK)
        code = fetch_halfs(s, f16 ? moe->input_f8 : moe->input, T, moe->d_model, moe->input_stride, is_placed(s, moe),
                           f16, up->input_scale, hidden);
    if (code == NB_OK)
        code = fetch_halfs(s, moe->inter, n_inter, down->n_in, moe->inter_stride, is_placed(s, moe),
                           down->kind == NB_KIND_FP8_A8, down->input_scale, inter);
    for (int e = 0; code == NB_OK && e < r->n_expert; e++)
        call_expert(s, moe, &weights->expert[e], e, &at, hidden, inter, gathered);
    if (code == NB_OK && r->has_shared) code = tap_shared(s, moe, &weights->shared_expert, hidden, inter);
    free(at.index), free(at.row), free(hidden), free(inter), free(gathered);
    return code;
}

// One head's S with its journal folded in: S <- e^g S + k u^T for each row. journal: [rows][NB_GDN_JOURNAL_FLOATS].
static void fold(float *state, const float *journal, int n)
{
    for (int r = 0; r < n; r++, journal += NB_GDN_JOURNAL_FLOATS) {
        float decay = expf(journal[2 * NB_GDN_DIM]);
        for (int k = 0; k < NB_GDN_DIM; k++)
            for (int v = 0; v < NB_GDN_DIM; v++)
                state[k * NB_GDN_DIM + v] = decay * state[k * NB_GDN_DIM + v] + journal[k] * journal[NB_GDN_DIM + v];
    }
}

static int tap_gdn_state(const nb_cuda_step *s, int slot, int i_seq, const nb_cuda_layer *l, int i_layer)
{
    const nb_cuda *d = s->d;
    const nb_cuda_ledger *ledger = &d->ledger[slot];
    int n_head = d->model->config.linear_num_value_heads;
    int64_t n_state = (int64_t)n_head * NB_GDN_DIM * NB_GDN_DIM;
    float *data = (float *)malloc((size_t)d->layer_floats * sizeof *data);
    int code = fetch(s, data, d->state + slot * d->slot_floats + l->i_deltanet * d->layer_floats,
                     (size_t)d->layer_floats * sizeof *data);
    if (ledger->n_folded == 0) memset(data, 0, (size_t)n_state * sizeof *data); // nothing was written yet
    for (int h = 0; h < n_head; h++)
        fold(data + (int64_t)h * NB_GDN_DIM * NB_GDN_DIM,
             data + n_state + (int64_t)h * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS, ledger->n_journal);
    nb_tap tap = tap_of(NB_TAP_GDN_STATE, i_layer, (int64_t)n_head * NB_GDN_DIM, NB_GDN_DIM, data);
    tap.seq = i_seq;
    if (code == NB_OK) call(s, tap);
    free(data);
    return code;
}

static int tap_conv_state(const nb_cuda_step *s, int slot, int i_seq, const nb_cuda_layer *l, int i_layer)
{
    const nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    int n_channel = (2 * c->linear_num_key_heads + c->linear_num_value_heads) * NB_GDN_DIM, n_past = NB_GDN_KERNEL - 1;
    int end = d->ledger[slot].n_folded + d->ledger[slot].n_journal;
    float *ring = (float *)malloc((size_t)NB_GDN_RING * (size_t)n_channel * sizeof *ring);
    float *data = (float *)calloc((size_t)n_past * (size_t)n_channel, sizeof *data);
    int code = fetch_halfs(s, d->ring + slot * d->slot_halfs + l->i_deltanet * d->layer_halfs, NB_GDN_RING, n_channel,
                           n_channel, false, 0, 1, ring);
    for (int i = 0; i < n_past; i++) {
        int position = end - n_past + i;
        if (position >= 0)
            memcpy(data + (int64_t)i * n_channel, ring + (int64_t)(position % NB_GDN_RING) * n_channel,
                   (size_t)n_channel * sizeof *data);
    }
    nb_tap tap = tap_of(NB_TAP_CONV_STATE, i_layer, n_past, n_channel, data);
    tap.seq = i_seq;
    if (code == NB_OK) call(s, tap);
    free(ring), free(data);
    return code;
}

int nb_cuda_tap_states(const nb_cuda_step *s, const nb_cuda_layer *l, int i_layer)
{
    if (!s->d->tap) return NB_OK;
    nb_seq *seq = (nb_seq *)malloc((size_t)s->m->n_seq * sizeof *seq);
    int code = fetch(s, seq, s->d->meta + s->m->seq, (size_t)s->m->n_seq * sizeof *seq);
    for (int i = 0; i < s->m->n_seq && code == NB_OK; i++) {
        code = tap_gdn_state(s, seq[i].slot, i, l, i_layer);
        if (code == NB_OK) code = tap_conv_state(s, seq[i].slot, i, l, i_layer);
    }
    free(seq);
    return code;
}
