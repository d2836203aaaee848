// Weights to the GPU. Matrices go in pieces through two pinned buffers: host threads copy a buffer full of pieces from
// the mapped files, one transfer takes it over, kernels repack it into tiles while the threads fill the other. Dummy
// matrices are made in the GPU's half of the buffers instead.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_internal.h"
#include "cuda/cuda_repack.h"

extern "C" {
#include "base/threads.h"
#include "model/bind.h"
}

enum { BUFFER_BYTES = 64 << 20, PIECE_MAX = 4096, CHUNK_BYTES = 256 << 20, COPY_BYTES = 1 << 20 };

typedef struct piece { // rows of a matrix on their way through a buffer
    const nb_linear *linear;
    int is_scale, row_first, n_row;
    int64_t offset, n_byte; // in the buffer
} piece;

typedef struct repack { // pieces that become tiles
    nb_cuda_matrix matrix;
    int tile_first, n_tile;
    int64_t low, high, low_scale, high_scale; // offsets in the buffer, -1: none
} repack;

typedef struct buffer {
    uint8_t *host, *gpu;
    cudaEvent_t done;
} buffer;

typedef struct loader {
    nb_cuda *d;
    nb_threads *team;
    buffer buffer[2];
    int which, n_piece, n_repack;
    int64_t used;
    piece *piece;
    repack *repack;
    nb_error *err;
} loader;

int nb_cuda_weight_alloc(nb_cuda *d, int64_t n_byte, void **out, nb_error *err)
{
    nb_cuda_weights *w = &d->weights;
    n_byte = (n_byte + NB_CUDA_ALIGN - 1) / NB_CUDA_ALIGN * NB_CUDA_ALIGN;
    bool own = n_byte > w->left && n_byte > CHUNK_BYTES / 8; // a block of its own: the last one keeps its rest
    if (n_byte > w->left) {
        int64_t size = own ? n_byte : CHUNK_BYTES;
        if (w->n_chunk == NB_CUDA_CHUNK_MAX)
            return nb_error_set(err, NB_ERR_MEMORY, "the weights need too many blocks");
        cudaError_t code = cudaMalloc(&w->chunk[w->n_chunk], (size_t)size);
        if (code != cudaSuccess)
            return nb_error_set(err, NB_ERR_MEMORY,
                                "the weights do not fit on the GPU: %lld MiB are loaded, %lld more were refused",
                                (long long)(w->total >> 20), (long long)(size >> 20));
        w->chunk_bytes[w->n_chunk++] = size;
        if (!own) w->at = (uint8_t *)w->chunk[w->n_chunk - 1], w->left = size;
    }
    *out = own ? w->chunk[w->n_chunk - 1] : w->at;
    if (!own) w->at += n_byte, w->left -= n_byte;
    w->total += n_byte;
    return NB_OK;
}

static int upload(loader *l, const float *from, int64_t n, const float **out)
{
    void *to;
    NB_TRY(nb_cuda_weight_alloc(l->d, n * (int64_t)sizeof(float), &to, l->err));
    NB_CUDA_TRY(cudaMemcpy(to, from, (size_t)n * sizeof(float), cudaMemcpyHostToDevice), l->err);
    *out = (const float *)to;
    return NB_OK;
}

static bool is_wide(const nb_linear *w)
{
    return w->format == NB_FORMAT_F16 || w->format == NB_FORMAT_F32;
}

static int64_t row_bytes(const nb_linear *w, int is_scale)
{
    if (is_scale) return w->n_in / NB_NVFP4_BLOCK;
    return w->format == NB_FORMAT_NVFP4 ? w->n_in / 2 : w->format == NB_FORMAT_FP8 ? w->n_in : (int64_t)w->n_in * 2;
}

// F16 and F32 weights are rounded to bf16.
static void narrow_rows(const piece *p, uint8_t *to)
{
    float *row = (float *)malloc((size_t)p->linear->n_in * sizeof(float));
    for (int r = 0; row && r < p->n_row; r++) {
        nb_linear_decode_row(p->linear, p->row_first + r, row);
        for (int i = 0; i < p->linear->n_in; i++)
            ((uint16_t *)to)[(int64_t)r * p->linear->n_in + i] = nb_bf16_from_f32(row[i]);
    }
    free(row);
}

static void copy_piece(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    const loader *l = (const loader *)user;
    const piece *p = &l->piece[i_task];
    uint8_t *to = l->buffer[l->which].host + p->offset;
    if (!p->linear->data) return;
    const uint8_t *from = p->is_scale ? p->linear->scale : (const uint8_t *)p->linear->data;
    if (is_wide(p->linear))
        narrow_rows(p, to);
    else
        memcpy(to, from + p->row_first * row_bytes(p->linear, p->is_scale), (size_t)p->n_byte);
}

static int fill_dummies(loader *l, uint8_t *gpu)
{
    for (int i = 0; i < l->n_piece; i++) {
        const piece *p = &l->piece[i];
        if (p->linear->data) continue;
        int64_t first = p->row_first * row_bytes(p->linear, p->is_scale);
        NB_TRY(nb_repack_dummy(l->d->stream, p->linear, p->is_scale, first, p->n_byte, gpu + p->offset, l->err));
    }
    return NB_OK;
}

static int flush(loader *l)
{
    buffer *b = &l->buffer[l->which];
    if (l->n_piece == 0) return NB_OK;
    NB_CUDA_TRY(cudaEventSynchronize(b->done), l->err);
    if (l->d->model->ckpt || l->piece[0].linear->data) {
        nb_threads_run(l->team, copy_piece, l, l->n_piece);
        NB_CUDA_TRY(cudaMemcpyAsync(b->gpu, b->host, (size_t)l->used, cudaMemcpyHostToDevice, l->d->stream), l->err);
    }
    NB_TRY(fill_dummies(l, b->gpu));
    for (int i = 0; i < l->n_repack; i++) {
        const repack *r = &l->repack[i];
        nb_repack_source s = {b->gpu + r->low, b->gpu + r->high, b->gpu + r->low_scale, b->gpu + r->high_scale};
        NB_TRY(nb_repack_run(l->d->stream, &r->matrix, &s, r->tile_first, r->n_tile, l->err));
    }
    NB_CUDA_TRY(cudaEventRecord(b->done, l->d->stream), l->err);
    l->which ^= 1, l->n_piece = l->n_repack = 0, l->used = 0;
    return NB_OK;
}

static int64_t add_piece(loader *l, const nb_linear *w, int is_scale, int row_first, int n_row)
{
    piece *p = &l->piece[l->n_piece++];
    p->linear = w, p->is_scale = is_scale, p->row_first = row_first;
    p->n_row = row_first + n_row > w->n_out ? w->n_out - row_first : n_row;
    p->offset = l->used, p->n_byte = p->n_row * row_bytes(w, is_scale);
    l->used += (p->n_byte + 15) / 16 * 16;
    return p->offset;
}

// Sends `low` (and `high`, if the matrix is paired) into the tiles of `m`, whose memory there is.
static int send_matrix(loader *l, const nb_cuda_matrix *m, const nb_linear *low, const nb_linear *high)
{
    int rows = m->paired ? 8 : 16, nv = m->kind == NB_KIND_NVFP4, n_source = m->paired ? 2 : 1;
    int64_t tile_bytes = n_source * rows * (row_bytes(low, 0) + (nv ? row_bytes(low, 1) : 0));
    int step = (int)(COPY_BYTES / tile_bytes) / 2 * 2;
    if (step < 2) step = 2;
    for (int tile = 0; tile < m->n_row_tile; tile += step) {
        int n = tile + step > m->n_row_tile ? m->n_row_tile - tile : step;
        if (l->used + n * tile_bytes + 64 > BUFFER_BYTES || l->n_piece + 4 > PIECE_MAX) NB_TRY(flush(l));
        repack r = {*m, tile, n, 0, 0, 0, 0};
        r.low = r.high = add_piece(l, low, 0, tile * rows, n * rows);
        if (nv) r.low_scale = r.high_scale = add_piece(l, low, 1, tile * rows, n * rows);
        if (m->paired) r.high = add_piece(l, high, 0, tile * rows, n * rows);
        if (m->paired && nv) r.high_scale = add_piece(l, high, 1, tile * rows, n * rows);
        l->repack[l->n_repack++] = r;
    }
    return NB_OK;
}

static int n_block(int n, int block)
{
    return block > 0 ? nb_ceil_div(n, block) : 1;
}

// The multipliers of FP8 matrices: one, one per row, or blocks of inputs. out: [n_source] matrices side by side.
static int fp8_scales(loader *l, nb_cuda_matrix *m, const nb_linear *const *source, int n_source)
{
    const nb_linear *w = source[0];
    int n_out = n_block(w->n_out, w->block_out), n_in = n_block(w->n_in, w->block_in);
    m->block_out = w->block_out, m->block_in = w->block_in, m->n_in_block = n_in;
    if (n_out * n_in == 1) return NB_OK;
    if (n_in > 1 && w->block_in % NB_CUDA_K_TILE)
        return nb_error_set(l->err, NB_ERR_INPUT,
                            "FP8 blocks of %d inputs are not supported on CUDA; a multiple of %d is", w->block_in,
                            NB_CUDA_K_TILE);
    int64_t each = n_in > 1 ? (int64_t)n_out * n_in : w->n_out;
    float *all = (float *)malloc((size_t)(each * n_source) * sizeof(float));
    if (!all) return nb_error_set(l->err, NB_ERR_MEMORY, "no memory for the scales of a matrix");
    for (int s = 0; s < n_source; s++)
        for (int64_t i = 0; i < each; i++)
            all[s * each + i] = n_in > 1 ? source[s]->block_scale[i] : source[s]->block_scale[i / w->block_out];
    const float *gpu = NULL;
    int code = upload(l, all, each * n_source, &gpu);
    free(all);
    if (n_in > 1)
        m->block_scale[0] = gpu, m->block_scale[1] = m->paired ? gpu + each : gpu;
    else
        m->row_scale = gpu;
    return code;
}

// What one number multiplies a whole matrix by.
static float multiplier(const nb_cuda_matrix *m, const nb_linear *w)
{
    if (m->kind == NB_KIND_NVFP4) return w->scale_2 * 128.0f; // NB_NVFP4_UNIT_SCALE
    if (w->format != NB_FORMAT_FP8) return 1;
    bool one = n_block(w->n_out, w->block_out) * n_block(w->n_in, w->block_in) == 1;
    return (one ? w->block_scale[0] : 1.0f) * (m->kind == NB_KIND_FP8_A8 ? w->input_scale : 1.0f);
}

static int allocate(loader *l, nb_cuda_matrix *m, int64_t n_copy)
{
    void *data, *scale = NULL;
    NB_TRY(nb_cuda_weight_alloc(l->d, nb_repack_data_bytes(m) * n_copy, &data, l->err));
    if (nb_repack_scale_bytes(m)) NB_TRY(nb_cuda_weight_alloc(l->d, nb_repack_scale_bytes(m) * n_copy, &scale, l->err));
    m->data = (const uint4 *)data, m->scale = (const uint32_t *)scale;
    return NB_OK;
}

static int add_matrix(loader *l, nb_cuda_matrix *m, const nb_linear *low, const nb_linear *high)
{
    const nb_linear *source[] = {low, high};
    nb_repack_shape(m, low, high != NULL);
    if (high && (high->format != low->format || high->input_scale != low->input_scale))
        return nb_error_set(l->err, NB_ERR_INPUT,
                            "gate_proj and up_proj of an expert differ in format; CUDA needs them equal");
    NB_TRY(allocate(l, m, 1));
    m->scale_low = multiplier(m, low), m->scale_high = multiplier(m, high ? high : low);
    if (low->format == NB_FORMAT_FP8) NB_TRY(fp8_scales(l, m, source, high ? 2 : 1));
    return send_matrix(l, m, low, high);
}

static int same_kind(loader *l, const nb_linear *a, const nb_linear *b)
{
    if (a->format == b->format && a->input_scale == b->input_scale && a->block_in == b->block_in) return NB_OK;
    return nb_error_set(l->err, NB_ERR_INPUT,
                        "the experts of a layer differ in format or input scale; CUDA needs them equal");
}

// One family of matrices of all experts: `pick` gives expert e's low and high source.
typedef void (*pick_fn)(const nb_expert *expert, const nb_linear **low, const nb_linear **high);
static void pick_gate_up(const nb_expert *e, const nb_linear **low, const nb_linear **high)
{
    *low = &e->gate_proj, *high = &e->up_proj;
}
static void pick_down(const nb_expert *e, const nb_linear **low, const nb_linear **high)
{
    *low = &e->down_proj, *high = NULL;
}

static int add_experts(loader *l, const nb_expert *expert, int n, pick_fn pick, nb_cuda_matrix *m, int64_t *data_stride,
                       int64_t *scale_stride, const float **low_multiplier, const float **high_multiplier)
{
    const nb_linear *low, *high, *source[2 * NB_EXPERT_MAX];
    float value[2][NB_EXPERT_MAX];
    pick(&expert[0], &low, &high);
    nb_repack_shape(m, low, high != NULL);
    NB_TRY(allocate(l, m, n));
    *data_stride = nb_repack_data_bytes(m) / (int64_t)sizeof(uint4), *scale_stride = nb_repack_scale_bytes(m) / 4;
    int n_source = high ? 2 : 1;
    for (int e = 0; e < n; e++) {
        nb_cuda_matrix mine = *m;
        const nb_linear *a, *b;
        pick(&expert[e], &a, &b);
        NB_TRY(same_kind(l, a, low));
        if (b) NB_TRY(same_kind(l, b, low));
        mine.data += e * *data_stride, mine.scale += e * *scale_stride;
        value[0][e] = multiplier(m, a), value[1][e] = multiplier(m, b ? b : a);
        source[e * n_source] = a;
        if (b) source[e * n_source + 1] = b;
        NB_TRY(send_matrix(l, &mine, a, b));
    }
    if (low->format == NB_FORMAT_FP8) NB_TRY(fp8_scales(l, m, source, n * n_source));
    NB_TRY(upload(l, value[0], n, low_multiplier));
    return high_multiplier ? upload(l, value[1], n, high_multiplier) : NB_OK;
}

static int add_moe(loader *l, const nb_moe_weights *w, nb_cuda_layer *out)
{
    const nb_config *c = &l->d->model->config;
    nb_cuda_experts *x = &out->experts;
    NB_TRY(add_matrix(l, &out->router, &w->gate, NULL));
    NB_TRY(add_experts(l, w->expert, c->num_experts, pick_gate_up, &x->gate_up, &x->gate_up_data, &x->gate_up_scale,
                       &x->gate_multiplier, &x->up_multiplier));
    NB_TRY(add_experts(l, w->expert, c->num_experts, pick_down, &x->down, &x->down_data, &x->down_scale,
                       &x->down_multiplier, NULL));
    out->has_shared = w->shared_expert.gate_proj.n_out > 0;
    if (!out->has_shared) return NB_OK;
    NB_TRY(add_matrix(l, &out->shared_gate, &w->shared_expert_gate, NULL));
    NB_TRY(add_matrix(l, &out->shared_gate_up, &w->shared_expert.gate_proj, &w->shared_expert.up_proj));
    NB_TRY(add_matrix(l, &out->shared_down, &w->shared_expert.down_proj, NULL));
    bool a8 = out->shared_gate_up.kind == NB_KIND_FP8_A8 || x->gate_up.kind == NB_KIND_FP8_A8;
    bool same =
        out->shared_gate_up.kind == x->gate_up.kind && out->shared_gate_up.input_scale == x->gate_up.input_scale;
    if (!a8 || same) return NB_OK; // inputs are prepared once, in one format
    return nb_error_set(l->err, NB_ERR_INPUT,
                        "the shared expert and the routed experts have FP8 inputs of different scales; CUDA needs one");
}

static int add_attention(loader *l, const nb_attention_weights *w, nb_cuda_layer *out)
{
    int d = l->d->model->config.head_dim;
    NB_TRY(add_matrix(l, &out->q, &w->q_proj, NULL));
    NB_TRY(add_matrix(l, &out->k, &w->k_proj, NULL));
    NB_TRY(add_matrix(l, &out->v, &w->v_proj, NULL));
    NB_TRY(add_matrix(l, &out->o, &w->o_proj, NULL));
    NB_TRY(upload(l, w->q_norm, d, &out->q_norm));
    out->k_scale = w->k_scale > 0 ? w->k_scale : 1, out->v_scale = w->v_scale > 0 ? w->v_scale : 1;
    return upload(l, w->k_norm, d, &out->k_norm);
}

static int add_deltanet(loader *l, const nb_deltanet_weights *w, nb_cuda_layer *out)
{
    const nb_config *c = &l->d->model->config;
    int n_channel = (2 * c->linear_num_key_heads + c->linear_num_value_heads) * NB_GDN_DIM;
    NB_TRY(add_matrix(l, &out->qkv, &w->in_proj_qkv, NULL));
    NB_TRY(add_matrix(l, &out->z, &w->in_proj_z, NULL));
    NB_TRY(add_matrix(l, &out->b, &w->in_proj_b, NULL));
    NB_TRY(add_matrix(l, &out->a, &w->in_proj_a, NULL));
    NB_TRY(add_matrix(l, &out->out, &w->out_proj, NULL));
    NB_TRY(upload(l, w->conv1d, (int64_t)n_channel * c->linear_conv_kernel_dim, &out->conv1d));
    NB_TRY(upload(l, w->A_log, c->linear_num_value_heads, &out->A_log));
    NB_TRY(upload(l, w->dt_bias, c->linear_num_value_heads, &out->dt_bias));
    return upload(l, w->norm, NB_GDN_DIM, &out->norm);
}

static int add_layer(loader *l, const nb_layer *w, nb_cuda_layer *out)
{
    int d = l->d->model->config.hidden_size;
    out->from = w;
    out->kind = w->kind, out->i_attention = w->i_attention, out->i_deltanet = w->i_deltanet;
    NB_TRY(upload(l, w->input_layernorm, d, &out->input_layernorm));
    NB_TRY(upload(l, w->post_attention_layernorm, d, &out->post_attention_layernorm));
    if (w->kind == NB_LAYER_FULL_ATTENTION)
        NB_TRY(add_attention(l, &w->attention, out));
    else
        NB_TRY(add_deltanet(l, &w->deltanet, out));
    return add_moe(l, &w->moe, out);
}

// Rows [first, first + n) of a matrix into the host's buffer, shared out among the threads.
static void copy_rows(loader *l, const nb_linear *w, int first, int n)
{
    int rows = (int)(COPY_BYTES / row_bytes(w, 0));
    if (rows < 1) rows = 1;
    for (int at = 0; at < n; at += rows) add_piece(l, w, 0, first + at, at + rows > n ? n - at : rows);
    nb_threads_run(l->team, copy_piece, l, l->n_piece);
    l->n_piece = 0, l->used = 0;
}

// The embedding table stays row-major: it is read by row.
static int add_embed(loader *l, const nb_linear *w)
{
    void *to;
    int64_t row = (int64_t)w->n_in * 2;
    int step = (int)(BUFFER_BYTES / row) / 16 * 16;
    NB_TRY(nb_cuda_weight_alloc(l->d, row * w->n_out, &to, l->err));
    l->d->weights.embed = (const uint16_t *)to;
    if (w->format != NB_FORMAT_BF16 && !is_wide(w))
        return nb_error_set(l->err, NB_ERR_INPUT, "the embedding table is %s; CUDA needs BF16, F16 or F32",
                            nb_format_name(w->format));
    for (int first = 0; first < w->n_out; first += step) {
        int n = first + step > w->n_out ? w->n_out - first : step;
        NB_TRY(flush(l));
        buffer *b = &l->buffer[l->which];
        NB_CUDA_TRY(cudaEventSynchronize(b->done), l->err);
        uint8_t *target = (uint8_t *)to + first * row;
        if (!w->data) {
            NB_TRY(nb_repack_dummy(l->d->stream, w, 0, first * row, n * row, target, l->err));
            continue;
        }
        copy_rows(l, w, first, n);
        NB_CUDA_TRY(cudaMemcpyAsync(target, b->host, (size_t)(n * row), cudaMemcpyHostToDevice, l->d->stream), l->err);
        NB_CUDA_TRY(cudaEventRecord(b->done, l->d->stream), l->err);
        l->which ^= 1;
    }
    return NB_OK;
}

// Frequencies of the rotation; with YaRN, interpolated below beta_slow turns and kept above beta_fast.
static int add_rope(loader *l, const nb_rope *r)
{
    float freq[512];
    int half = r->n_rot / 2;
    for (int i = 0; i < half; i++) {
        double f = pow(r->rope_theta, -2.0 * i / r->n_rot);
        if (r->yarn) {
            double base = 2 * log(r->rope_theta), n = (double)r->original_max_position_embeddings;
            double low = floor(r->n_rot * log(n / (r->yarn_beta_fast * 2 * M_PI)) / base);
            double high = ceil(r->n_rot * log(n / (r->yarn_beta_slow * 2 * M_PI)) / base);
            low = low < 0 ? 0 : low, high = high > r->n_rot - 1 ? r->n_rot - 1 : high;
            double ramp = (i - low) / (high - low > 0.001 ? high - low : 0.001);
            ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
            f = f * (1 - ramp) + f / r->yarn_factor * ramp;
        }
        freq[i] = (float)f;
    }
    return upload(l, freq, half, &l->d->weights.inv_freq);
}

static int supported(const nb_config *c, nb_error *err)
{
    if (c->head_dim != 64 && c->head_dim != 128 && c->head_dim != 256)
        return nb_error_set(err, NB_ERR_INPUT, "head_dim %d is not supported on CUDA; 64, 128 and 256 are",
                            c->head_dim);
    if (c->linear_num_value_heads && (c->linear_key_head_dim != NB_GDN_DIM || c->linear_value_head_dim != NB_GDN_DIM ||
                                      c->linear_conv_kernel_dim != NB_GDN_KERNEL))
        return nb_error_set(
            err, NB_ERR_INPUT,
            "DeltaNet heads of %d and %d with a convolution of %d are not supported on CUDA; 128, 128 and 4 are",
            c->linear_key_head_dim, c->linear_value_head_dim, c->linear_conv_kernel_dim);
    if (c->hidden_size % 8 || c->rope.n_rot / 2 > 512)
        return nb_error_set(err, NB_ERR_INPUT, "hidden_size %d is not a multiple of 8", c->hidden_size);
    return NB_OK;
}

static int add_mtp(loader *l, const nb_mtp_weights *w, nb_cuda_mtp_weights *out)
{
    int d = l->d->model->config.hidden_size;
    NB_TRY(add_matrix(l, &out->fc, &w->fc, NULL));
    NB_TRY(upload(l, w->pre_fc_norm_embedding, d, &out->pre_fc_norm_embedding));
    NB_TRY(upload(l, w->pre_fc_norm_hidden, d, &out->pre_fc_norm_hidden));
    NB_TRY(upload(l, w->norm, d, &out->norm));
    out->layer.kv_first = 1;
    return add_layer(l, &w->layer, &out->layer);
}

static int load_all(loader *l)
{
    nb_cuda *d = l->d;
    const nb_model *m = d->model;
    NB_TRY(add_embed(l, &m->embed_tokens));
    NB_TRY(add_rope(l, &m->config.rope));
    NB_TRY(upload(l, m->norm, m->config.hidden_size, &d->weights.norm));
    for (int i = 0; i < m->config.num_hidden_layers; i++) {
        NB_TRY(add_layer(l, &m->layer[i], &d->weights.layer[i]));
    }
    NB_TRY(add_matrix(l, &d->weights.lm_head, &m->lm_head, NULL));
    if (d->options.mtp && m->has_mtp) NB_TRY(add_mtp(l, &m->mtp, &d->weights.mtp));
    d->weights.has_mtp = d->options.mtp && m->has_mtp;
    NB_TRY(flush(l));
    NB_CUDA_TRY(cudaStreamSynchronize(d->stream), l->err);
    return NB_OK;
}

typedef struct weight_count {
    int64_t n_byte;
    bool mtp;
} weight_count;

static int add_bytes(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    weight_count *count = (weight_count *)user;
    if (bound->linear && (count->mtp || bound->role != NB_ROLE_MTP)) count->n_byte += nb_linear_bytes(bound->linear);
    return NB_OK;
}

// Said before minutes are spent on loading.
static int check_room(const nb_cuda *d, const nb_model *model, nb_error *err)
{
    size_t free_bytes = 0, total = 0;
    weight_count count = {0, d->options.mtp};
    NB_TRY(nb_model_walk(model, add_bytes, &count, err));
    NB_CUDA_TRY(cudaMemGetInfo(&free_bytes, &total), err);
    if (count.n_byte <= (int64_t)free_bytes) return NB_OK;
    return nb_error_set(err, NB_ERR_MEMORY,
                        "the weights take %.1f GB; GPU %d has %.1f GB free of %.1f: a quantized checkpoint or a GPU "
                        "with more memory is needed",
                        (double)count.n_byte / 1e9, d->options.ordinal, (double)free_bytes / 1e9, (double)total / 1e9);
}

int nb_cuda_load(nb_cuda *d, const nb_model *model, nb_error *err)
{
    loader l = {};
    NB_TRY(supported(&model->config, err));
    NB_TRY(check_room(d, model, err));
    d->model = model;
    d->weights.layer = (nb_cuda_layer *)calloc((size_t)model->config.num_hidden_layers, sizeof(nb_cuda_layer));
    l.d = d, l.err = err, l.team = nb_threads_open(0);
    l.piece = (piece *)calloc(PIECE_MAX, sizeof(piece)), l.repack = (repack *)calloc(PIECE_MAX, sizeof(repack));
    int code = NB_OK;
    for (int i = 0; i < 2 && code == NB_OK; i++) {
        buffer *b = &l.buffer[i];
        if (cudaMallocHost(&b->host, BUFFER_BYTES) != cudaSuccess || cudaMalloc(&b->gpu, BUFFER_BYTES) != cudaSuccess ||
            cudaEventCreateWithFlags(&b->done, cudaEventDisableTiming) != cudaSuccess)
            code = nb_error_set(err, NB_ERR_MEMORY, "the GPU has no memory for the loader's buffers");
    }
    if (code == NB_OK && d->weights.layer && l.piece && l.repack) code = load_all(&l);
    cudaStreamSynchronize(d->stream);
    for (int i = 0; i < 2; i++) {
        cudaFreeHost(l.buffer[i].host), cudaFree(l.buffer[i].gpu);
        if (l.buffer[i].done) cudaEventDestroy(l.buffer[i].done);
    }
    nb_threads_close(l.team);
    free(l.piece), free(l.repack);
    return code;
}

void nb_cuda_unload(nb_cuda *d)
{
    for (int i = 0; i < d->weights.n_chunk; i++) cudaFree(d->weights.chunk[i]);
    free(d->weights.layer);
}
