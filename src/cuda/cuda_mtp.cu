// The MTP module (multi-token prediction) on the GPU: one attention layer with a mixture of experts that predicts the
// token after the next. Its row for token i takes the embedding of token i and the hidden state h behind the final norm
// of the token before, and gives d = norm(layer(fc [norm(embedding), norm(h)])); lm_head d predicts token i + 1.
//
// Absorbing: each step's tokens go into the module's KV cache, at their own index: index 0 holds nothing (kv_first).
// Rotation is by index; only differences of positions count. The hidden state before the step's first token comes from
// the slot, which keeps those behind the last definitive token and its drafts.
//
// Proposing: starts behind the last confirmed token, where a draft is confirmed if the row before it drew it. That is
// known on the device only, so anchor_kernel finds it and writes the sequences' lengths for attention; the host laid
// out everything else (cuda_meta_mtp.cu). Keys of proposals go behind the confirmed ones, over rejected ones, or into
// the sequence's tail page; they are written again when their tokens are absorbed.
#include "cuda/cuda_product.h"
#include "cuda/cuda_step.h"

#include "cuda/cuda_route.cuh"
#include "cuda/cuda_source.cuh"

enum { NORM_THREADS = 256, ARGMAX_THREADS = 1024 };

typedef struct mtp_args {  // what the kernels of this file share
    const uint16_t *embed; // [vocab][d_model]
    const float *embedding_norm, *hidden_norm;
    float eps;
    int d_model, vocab, stride, concat_stride; // strides of rows of hidden states and of concat
    const uint16_t *final_hidden;              // [n_tok][stride]
    uint16_t *slot_hidden;                     // [slot][NB_JOURNAL_ROWS][d_model]
    const int32_t *tok;                        // [n_tok], resolved
    uint16_t *concat;                          // [row][concat_stride]
    uint16_t *draft_hidden;                    // [draft][stride]
    int32_t *draft_tok, *draft_row;
    const nb_mtp_draft *draft;
    nb_attention_seq *draft_seq;
    const nb_cuda_home *home;
} mtp_args;

// y = x * rsqrt(mean(x^2) + eps) * w of one row by the block, rounded to bf16.
__device__ static void norm_row(const uint16_t *x, const float *w, int n, float eps, uint16_t *y, float *red)
{
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += NORM_THREADS) sum += nb_bf16_to_f32(x[i]) * nb_bf16_to_f32(x[i]);
    float scale = rsqrtf(nb_block_sum(sum, red) / (float)n + eps);
    for (int i = threadIdx.x; i < n; i += NORM_THREADS) y[i] = nb_bf16_from_f32(nb_bf16_to_f32(x[i]) * scale * w[i]);
}

__device__ static void concat_row(const mtp_args &p, int row, int tok, const uint16_t *hidden, float *red)
{
    uint16_t *to = p.concat + (int64_t)row * p.concat_stride;
    norm_row(p.embed + (int64_t)tok * p.d_model, p.embedding_norm, p.d_model, p.eps, to, red);
    norm_row(hidden, p.hidden_norm, p.d_model, p.eps, to + p.d_model, red);
}

__global__ void __launch_bounds__(NORM_THREADS) absorb_kernel(mtp_args p, const nb_mtp_row *row)
{
    __shared__ float red[32];
    nb_mtp_row r = row[blockIdx.x];
    const uint16_t *hidden = r.hidden >= 0 ? p.final_hidden + (int64_t)r.hidden * p.stride
                                           : p.slot_hidden + (int64_t)(-1 - r.hidden) * p.d_model;
    concat_row(p, blockIdx.x, p.tok[r.tok], hidden, red);
}

__global__ void keep_hidden_kernel(mtp_args p, const nb_mtp_keep *keep)
{
    nb_mtp_keep k = keep[blockIdx.x];
    for (int row = 0; row < k.n; row++)
        for (int i = threadIdx.x; i < p.d_model; i += blockDim.x)
            p.slot_hidden[((int64_t)k.slot * NB_JOURNAL_ROWS + row) * p.d_model + i] =
                p.final_hidden[(int64_t)(k.first + row) * p.stride + i];
}

// The token drawn behind token `tok` of the batch, or -1.
__device__ static int drawn_behind(const nb_mtp_draft &d, const nb_row *row, const nb_row_result *result, int tok)
{
    for (int i = d.row_first; i < d.row_first + d.n_row; i++)
        if (row[i].tok == tok && (row[i].flags & NB_ROW_SAMPLE)) return result[i].tok;
    return -1;
}

__global__ void anchor_kernel(mtp_args p, int n_draft, const nb_row *row, const nb_row_result *result)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n_draft) return;
    nb_mtp_draft d = p.draft[i];
    int at = d.row, tok = drawn_behind(d, row, result, at);
    while (at < d.last && tok >= 0 && tok == p.tok[at + 1]) tok = drawn_behind(d, row, result, ++at);
    p.draft_tok[i] = tok, p.draft_row[i] = at;
    p.draft_seq[i] = {d.behind + at - d.row, 1, i, d.page_first};
}

// A draft without a token goes along with token 0, and proposes nothing.
__global__ void __launch_bounds__(NORM_THREADS) draft_kernel(mtp_args p, int round)
{
    __shared__ float red[32];
    int i = blockIdx.x;
    const uint16_t *hidden =
        round == 0 ? p.final_hidden + (int64_t)p.draft_row[i] * p.stride : p.draft_hidden + (int64_t)i * p.stride;
    concat_row(p, i, max(p.draft_tok[i], 0), hidden, red);
    if (threadIdx.x == 0 && round > 0) p.draft_seq[i].n_past++;
}

__global__ void __launch_bounds__(ARGMAX_THREADS) propose_kernel(mtp_args p, const float *logits, int round)
{
    __shared__ float value[32];
    __shared__ int index[32];
    int i = blockIdx.x, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, at = p.vocab;
    float top = -INFINITY;
    for (int j = threadIdx.x; j < p.vocab; j += ARGMAX_THREADS) {
        float z = logits[(int64_t)i * p.vocab + j];
        if (z > top) top = z, at = j;
    }
    nb_warp_argmax(&top, &at);
    if (lane == 0) value[warp] = top, index[warp] = at;
    __syncthreads();
    if (warp > 0) return;
    top = value[lane], at = index[lane];
    nb_warp_argmax(&top, &at);
    if (lane > 0 || p.draft_tok[i] < 0 || at >= p.vocab) return;
    p.draft_tok[i] = at, p.home->proposal[p.draft[i].i_seq][round] = at;
}

static mtp_args args_of(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    mtp_args p = {};
    p.embed = d->weights.embed;
    p.embedding_norm = d->weights.mtp.pre_fc_norm_embedding, p.hidden_norm = d->weights.mtp.pre_fc_norm_hidden;
    p.eps = (float)d->model->config.rms_norm_eps;
    p.d_model = d->model->config.hidden_size, p.vocab = d->model->config.vocab_size;
    p.stride = nb_cuda_padded(p.d_model), p.concat_stride = nb_cuda_padded(2 * p.d_model);
    p.final_hidden = d->scratch.final_hidden, p.slot_hidden = d->hidden, p.tok = d->scratch.tok;
    p.concat = d->scratch.concat, p.draft_hidden = d->scratch.draft_hidden;
    p.draft_tok = d->scratch.draft_tok, p.draft_row = d->scratch.draft_row;
    p.home = (const nb_cuda_home *)(d->meta + s->m->home);
    p.draft = (const nb_mtp_draft *)(d->meta + s->m->draft),
    p.draft_seq = (nb_attention_seq *)(d->meta + s->m->draft_seq);
    return p;
}

// The module's rows as a batch of their own, for the blocks of the layer loop.
static nb_cuda_meta meta_of(const nb_cuda_step *s, int n_row, int n_seq, int n_tile)
{
    const nb_cuda *d = s->d;
    nb_cuda_meta m = {};
    int most = 4 * d->n_sm / (n_tile * d->model->config.num_key_value_heads);
    m.n_tok = n_row, m.n_seq = n_seq, m.n_tile = n_tile;
    m.n_split = most < 1 ? 1 : most > NB_ATTENTION_SPLITS_MAX ? NB_ATTENTION_SPLITS_MAX : most;
    return m;
}

// residual = fc concat
static int mix(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    int d_model = d->model->config.hidden_size;
    const nb_linear *fc[] = {&d->model->mtp.fc};
    nb_cuda_source concat = {};
    concat.kind = NB_SOURCE_BF16, concat.bf16 = d->scratch.concat, concat.stride = nb_cuda_padded(2 * d_model);
    concat.n_in = 2 * d_model;
    nb_cuda_dense in = nb_cuda_dense_of(s, concat);
    nb_cuda_dense_add(&in, &d->weights.mtp.fc, NB_OUT_F32, d->scratch.residual, d_model, 0);
    NB_TRY(nb_cuda_tap_inputs(s, &in, fc));
    return nb_cuda_dense_run(&s->at, &in, s->err);
}

// draft_hidden = norm(residual) and draft_logits = lm_head of it.
static int run_head(const nb_cuda_step *s, uint16_t *hidden, float *logits)
{
    nb_cuda *d = s->d;
    const nb_linear *lm_head[] = {&d->model->lm_head};
    nb_cuda_source last = nb_cuda_norm_of(s, d->weights.mtp.norm);
    int stride = nb_cuda_padded(d->model->config.hidden_size);
    NB_TRY(nb_cuda_prepare_run(&s->at, &last, s->m->n_tok, 0, NULL, hidden, stride, s->err));
    nb_cuda_dense out = nb_cuda_dense_of(s, last);
    nb_cuda_dense_add(&out, &d->weights.lm_head, NB_OUT_F32, logits, d->model->config.vocab_size, 0);
    NB_TRY(nb_cuda_tap_inputs(s, &out, lm_head));
    return nb_cuda_dense_run(&s->at, &out, s->err);
}

// Output of the absorbed rows, which nothing else needs; concat, whose rows are done, takes the hidden states.
static int tap_absorbed(const nb_cuda_step *s)
{
    nb_cuda *d = s->d;
    const nb_config *c = &d->model->config;
    float *logits = NULL;
    NB_CUDA_TRY(cudaMalloc(&logits, (size_t)s->m->n_tok * (size_t)c->vocab_size * sizeof *logits), s->err);
    int code = run_head(s, d->scratch.concat, logits);
    if (code == NB_OK)
        code = nb_cuda_tap_bf16(s, NB_TAP_MTP_HIDDEN, -1, d->scratch.concat, s->m->n_tok, c->hidden_size,
                                nb_cuda_padded(c->hidden_size));
    if (code == NB_OK) code = nb_cuda_tap_rows(s, NB_TAP_MTP_LOGITS, -1, logits, s->m->n_tok, c->vocab_size, NULL);
    cudaFree(logits);
    return code;
}

static int absorb(const nb_cuda_step *step)
{
    nb_cuda *d = step->d;
    const nb_cuda_layer *layer = &d->weights.mtp.layer;
    if (step->m->n_mtp_row == 0) return NB_OK;
    nb_cuda_meta m = meta_of(step, step->m->n_mtp_row, step->m->n_mtp_seq, step->m->n_mtp_tile);
    m.attention_seq = step->m->mtp_attention_seq, m.tile = step->m->mtp_tile, m.tok_seq = step->m->mtp_tok_seq;
    m.page = step->m->page;
    nb_cuda_step s = *step;
    s.m = &m;
    nb_cuda_choose_products(&s);
    NB_TRY(nb_cuda_start(&s.at, absorb_kernel, m.n_tok, NORM_THREADS, 0, s.err, args_of(step),
                         (const nb_mtp_row *)(d->meta + step->m->mtp_row)));
    NB_TRY(mix(&s));
    if (!d->tap) return nb_cuda_attention_absorb(&s, layer);
    NB_TRY(nb_cuda_attention_block(&s, layer, false));
    NB_TRY(nb_cuda_moe_block(&s, layer, -1));
    return tap_absorbed(&s);
}

static int propose(const nb_cuda_step *step, int round)
{
    nb_cuda *d = step->d;
    int n = step->m->n_round[round];
    nb_cuda_meta m = meta_of(step, n, n, n * nb_ceil_div(d->group, NB_ATTENTION_COLUMNS));
    m.attention_seq = step->m->draft_seq, m.tile = step->m->draft_tile, m.tok_seq = step->m->draft_tok_seq;
    m.page = step->m->draft_page;
    nb_cuda_step s = *step;
    s.m = &m;
    nb_cuda_choose_products(&s);
    mtp_args p = args_of(step);
    NB_TRY(nb_cuda_start(&s.at, draft_kernel, n, NORM_THREADS, 0, s.err, p, round));
    NB_TRY(mix(&s));
    NB_TRY(nb_cuda_attention_block(&s, &d->weights.mtp.layer, false));
    NB_TRY(nb_cuda_moe_block(&s, &d->weights.mtp.layer, -1));
    NB_TRY(run_head(&s, d->scratch.draft_hidden, d->scratch.draft_logits));
    return nb_cuda_start(&s.at, propose_kernel, n, ARGMAX_THREADS, 0, s.err, p, (const float *)d->scratch.draft_logits,
                         round);
}

int nb_cuda_mtp_run(const nb_cuda_step *step)
{
    nb_cuda *d = step->d;
    const nb_cuda_meta *m = step->m;
    nb_cuda_step s = *step;
    s.at.pdl = 0; // these kernels do not wait for their predecessor themselves
    if (m->n_draft == 0) return NB_OK;
    NB_TRY(absorb(&s));
    NB_TRY(nb_cuda_start(&s.at, keep_hidden_kernel, m->n_mtp_keep, NORM_THREADS, 0, s.err, args_of(&s),
                         (const nb_mtp_keep *)(d->meta + m->mtp_keep)));
    NB_TRY(nb_cuda_start(&s.at, anchor_kernel, nb_ceil_div(m->n_draft, NORM_THREADS), NORM_THREADS, 0, s.err,
                         args_of(&s), m->n_draft, (const nb_row *)(d->meta + m->row),
                         (const nb_row_result *)d->scratch.result));
    for (int round = 0; round < NB_DRAFT_MAX && m->n_round[round] > 0; round++) NB_TRY(propose(&s, round));
    return NB_OK;
}
