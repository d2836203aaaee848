// A batch as the kernels want it, in one buffer: written by the host into pinned memory, taken over by one kernel.
// The layout depends on the counts alone, so that a graph finds the arrays of its bucket at the same places in each
// step.
#include <string.h>

#include "cuda/cuda_internal.h"
#include "cuda/cuda_tile.cuh"

static int64_t part(nb_cuda_meta *m, int64_t n_byte)
{
    int64_t at = m->bytes;
    m->bytes += (n_byte + 15) / 16 * 16;
    return at;
}

static void lay_out(const nb_cuda *d, nb_cuda_meta *m, const nb_batch *b)
{
    int64_t T = m->n_tok, S = m->n_seq, R = m->n_row;
    m->home = part(m, sizeof(nb_cuda_home)), m->tok = part(m, T * 4), m->tok_slot = part(m, T * 4),
    m->tok_seq = part(m, T * 4);
    m->seq = part(m, S * (int64_t)sizeof(nb_seq)), m->gdn_seq = part(m, S * (int64_t)sizeof(nb_gdn_seq));
    m->gdn_chunk = part(m, m->n_chunk * (int64_t)sizeof(nb_gdn_chunk)),
    m->gdn_walk = part(m, m->n_walk * (int64_t)sizeof(nb_gdn_walk));
    m->attention_seq = part(m, S * (int64_t)sizeof(nb_attention_seq)),
    m->tile = part(m, m->n_tile * (int64_t)sizeof(nb_attention_tile)),
    m->flash = part(m, m->n_flash * (int64_t)sizeof(nb_attention_tile));
    m->row = part(m, R * (int64_t)sizeof(nb_row)), m->row_tok = part(m, R * 4),
    m->page = part(m, (int64_t)m->n_page * 4);
    m->history = part(m, b->n_history * (int64_t)sizeof(nb_history)),
    m->bias = part(m, b->n_bias * (int64_t)sizeof(nb_bias));
    m->mask = part(m, b->n_mask * 4);
    m->gdn_late = part(m, m->n_gdn_late * (int64_t)sizeof(nb_gdn_seq));
    int64_t D = m->n_draft, M = m->n_mtp_seq, heads = nb_ceil_div(d->group, NB_ATTENTION_COLUMNS);
    m->mtp_row = part(m, m->n_mtp_row * (int64_t)sizeof(nb_mtp_row)),
    m->mtp_keep = part(m, m->n_mtp_keep * (int64_t)sizeof(nb_mtp_keep));
    m->mtp_attention_seq = part(m, M * (int64_t)sizeof(nb_attention_seq)),
    m->mtp_tile = part(m, m->n_mtp_tile * (int64_t)sizeof(nb_attention_tile));
    m->mtp_tok_seq = part(m, m->n_mtp_row * 4);
    m->draft = part(m, D * (int64_t)sizeof(nb_mtp_draft)),
    m->draft_seq = part(m, D * (int64_t)sizeof(nb_attention_seq));
    m->draft_tile = part(m, D * heads * (int64_t)sizeof(nb_attention_tile)), m->draft_tok_seq = part(m, D * 4);
    m->draft_page = part(m, m->n_draft_page * (int64_t)4);
}

// Journal or fold: the journal takes the step's tokens if it has room; otherwise it and all but the drafts go into S.
static int plan_seq(nb_cuda_ledger *l, const nb_batch *b, const nb_seq *s, nb_cuda_seq_plan *out, nb_error *err)
{
    if (s->n_past == 0) *l = {}, l->mtp = true;
    int keep = s->n_past - l->n_folded;
    if (s->n_past < l->n_sure || keep < 0 || keep > l->n_journal)
        return nb_error_set(
            err, NB_ERR_INPUT,
            "batch: n_past is %d, but slot %d holds %d tokens, of which the %d drafts at the end can be dropped",
            s->n_past, s->slot, l->n_folded + l->n_journal, l->n_folded + l->n_journal - l->n_sure);
    if (b->tok[s->tok_first] == NB_TOKEN_LAST && !l->has_last)
        return nb_error_set(err, NB_ERR_INPUT,
                            "batch: a sequence starts with NB_TOKEN_LAST, but slot %d sampled nothing", s->slot);
    bool room = keep + s->n_new <= NB_JOURNAL_ROWS;
    *out = {};
    out->gdn = {s->slot, s->n_past, s->n_new, s->tok_first, keep, room ? -1 : s->n_new - s->n_draft};
    out->late = !room && s->n_draft > 0;
    if (out->late) out->gdn.n_new -= s->n_draft;
    out->mtp_keep = s->n_past - l->n_sure;
    l->n_sure = s->n_past + s->n_new - s->n_draft;
    l->n_journal = room ? keep + s->n_new : s->n_draft;
    if (!room) l->n_folded = l->n_sure;
    l->mtp = l->mtp && s->n_propose > 0;
    out->mtp = l->mtp;
    return NB_OK;
}

// The ledger behind this batch goes to d->staged, what the step does with each sequence to d->plan.
static int plan_batch(nb_cuda *d, const nb_batch *b, nb_error *err)
{
    memcpy(d->staged, d->ledger, (size_t)(d->reserve.n_slot + 1) * sizeof *d->staged);
    for (int i = 0; i < b->n_copy; i++) d->staged[b->copy[i].to] = d->staged[b->copy[i].from];
    for (int i = 0; i < b->n_seq; i++) NB_TRY(plan_seq(&d->staged[b->seq[i].slot], b, &b->seq[i], &d->plan[i], err));
    for (int i = 0; i < b->n_row; i++)
        if (b->row[i].flags & NB_ROW_SAMPLE) d->staged[b->seq[b->row[i].seq].slot].has_last = true;
    return NB_OK;
}

int nb_cuda_meta_check(const nb_cuda *d, const nb_batch *b, nb_error *err)
{
    const nb_reserve *r = &d->reserve;
    if (b->n_tok > r->max_tok || b->n_seq > r->max_seq || b->n_row > r->max_row)
        return nb_error_set(err, NB_ERR_LIMIT,
                            "a batch of %d tokens, %d sequences and %d rows is over what was reserved (%d, %d, %d)",
                            b->n_tok, b->n_seq, b->n_row, r->max_tok, r->max_seq, r->max_row);
    return nb_batch_check(b, d->model->config.vocab_size, r->n_slot, r->n_page, err);
}

static bool is_shaped(const nb_row *r)
{
    const nb_sampling *s = &r->sampling;
    if (!(r->flags & NB_ROW_SAMPLE)) return false;
    return r->n_bias || r->mask_first >= 0 || s->repetition_penalty != 1 || s->presence_penalty != 0 ||
           s->frequency_penalty != 0;
}

static bool is_flash(const nb_cuda *d, const nb_seq *s)
{
    return d->flash && s->n_new >= NB_FLASH_MIN_TOKENS;
}

static void count(const nb_cuda *d, const nb_batch *b, int bucket, nb_cuda_meta *m)
{
    int pad = bucket > 0 ? bucket - b->n_seq : 0;
    m->n_tok = b->n_tok + pad, m->n_seq = b->n_seq + pad, m->n_row = b->n_row + (bucket > 0 ? bucket - b->n_row : 0);
    m->n_page = b->n_page + pad;
    for (int i = 0; i < b->n_seq; i++) {
        bool flash = is_flash(d, &b->seq[i]);
        int64_t n_pair = (int64_t)b->seq[i].n_new * d->group;
        m->n_flash += flash ? nb_ceil_div(n_pair, NB_FLASH_ROWS) : 0;
        m->n_tile += flash ? 0 : nb_ceil_div(n_pair, NB_ATTENTION_COLUMNS);
        if (b->seq[i].n_new > NB_JOURNAL_ROWS) m->long_rows = 1;
        m->n_gdn_late += d->plan[i].late;
        if (!nb_gdn_is_chunked(&d->plan[i].gdn)) continue;
        m->n_walk++, m->n_chunk += nb_ceil_div(d->plan[i].gdn.n_new, NB_GDN_CHUNK);
    }
    m->n_tile += pad * nb_ceil_div(d->group, NB_ATTENTION_COLUMNS);
    for (int i = 0; i < b->n_row; i++) m->shaped |= is_shaped(&b->row[i]);
    int most = 4 * d->n_sm / ((m->n_tile ? m->n_tile : 1) * d->model->config.num_key_value_heads);
    m->n_split = most < 1 ? 1 : most > NB_ATTENTION_SPLITS_MAX ? NB_ATTENTION_SPLITS_MAX : most;
}

// Sequence i of the padding: one token in the last slot and the last page, both nobody's.
static nb_seq padding_seq(const nb_cuda *d, const nb_batch *b, int i)
{
    nb_seq s = {};
    s.slot = d->reserve.n_slot, s.n_new = 1, s.tok_first = b->n_tok + i, s.page_first = b->n_page + i, s.n_page = 1;
    return s;
}

typedef struct tile_counts {
    int n_tile, n_flash;
} tile_counts;

// Flash tiles from the last to the first: those with the longest context begin first.
static void write_tiles(const nb_cuda *d, const nb_seq *s, int i, uint8_t *to, const nb_cuda_meta *m, tile_counts *n)
{
    int n_pair = s->n_new * d->group;
    if (is_flash(d, s))
        for (int c = (n_pair - 1) / NB_FLASH_ROWS * NB_FLASH_ROWS; c >= 0; c -= NB_FLASH_ROWS)
            ((nb_attention_tile *)(to + m->flash))[n->n_flash++] = {i, c};
    else
        for (int c = 0; c < n_pair; c += NB_ATTENTION_COLUMNS)
            ((nb_attention_tile *)(to + m->tile))[n->n_tile++] = {i, c};
}

static void write_seq(const nb_cuda *d, const nb_seq *s, const nb_gdn_seq *gdn, int i, uint8_t *to,
                      const nb_cuda_meta *m, tile_counts *n)
{
    ((nb_seq *)(to + m->seq))[i] = *s;
    ((nb_gdn_seq *)(to + m->gdn_seq))[i] = *gdn;
    nb_attention_seq a = {s->n_past, s->n_new, s->tok_first, s->page_first};
    ((nb_attention_seq *)(to + m->attention_seq))[i] = a;
    write_tiles(d, s, i, to, m, n);
    for (int j = 0; j < s->n_new; j++) {
        ((int32_t *)(to + m->tok_slot))[s->tok_first + j] = s->slot;
        ((int32_t *)(to + m->tok_seq))[s->tok_first + j] = i;
    }
}

// The padding behind the batch's own sequences and rows; its rows draw nothing.
static void write_padding(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m, tile_counts *n)
{
    for (int i = 0; i < m->n_seq - b->n_seq; i++) {
        nb_seq s = padding_seq(d, b, i);
        nb_gdn_seq gdn = {s.slot, 0, 1, s.tok_first, 0, -1};
        write_seq(d, &s, &gdn, b->n_seq + i, to, m, n);
        ((int32_t *)(to + m->tok))[s.tok_first] = 0;
        ((int32_t *)(to + m->page))[s.page_first] = d->reserve.n_page;
    }
    for (int i = b->n_row; i < m->n_row; i++) {
        nb_row none = {};
        none.tok = i, none.seq = i, none.target = -1, none.mask_first = -1, none.sampling.repetition_penalty = 1;
        ((nb_row *)(to + m->row))[i] = none;
    }
}

// Drafts of a sequence whose journal is folded: appended to the empty journal behind the fold.
static void write_late(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m)
{
    nb_gdn_seq *late = (nb_gdn_seq *)(to + m->gdn_late);
    for (int i = 0; i < b->n_seq; i++) {
        const nb_gdn_seq *g = &d->plan[i].gdn;
        if (d->plan[i].late)
            *late++ = {g->slot, g->n_past + g->n_new, b->seq[i].n_draft, g->tok_first + g->n_new, 0, -1};
    }
}

// The chunks of sequences that are taken so, each sequence's in a row.
static void write_chunks(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m)
{
    nb_gdn_chunk *chunk = (nb_gdn_chunk *)(to + m->gdn_chunk);
    nb_gdn_walk *walk = (nb_gdn_walk *)(to + m->gdn_walk);
    int n = 0;
    for (int i = 0; i < b->n_seq; i++) {
        const nb_gdn_seq *g = &d->plan[i].gdn;
        if (!nb_gdn_is_chunked(g)) continue;
        *walk++ = {i, n};
        for (int first = 0; first < g->n_new; first += NB_GDN_CHUNK) chunk[n++] = {i, first};
    }
}

static void write_arrays(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m)
{
    tile_counts n = {};
    for (int i = 0; i < b->n_seq; i++) write_seq(d, &b->seq[i], &d->plan[i].gdn, i, to, m, &n);
    memcpy(to + m->tok, b->tok, (size_t)b->n_tok * 4);
    memcpy(to + m->page, b->page, (size_t)b->n_page * 4);
    if (b->n_row) memcpy(to + m->row, b->row, (size_t)b->n_row * sizeof *b->row);
    write_padding(d, b, to, m, &n);
    for (int i = 0; i < m->n_row; i++) ((int32_t *)(to + m->row_tok))[i] = ((const nb_row *)(to + m->row))[i].tok;
    if (b->n_history) memcpy(to + m->history, b->history, (size_t)b->n_history * sizeof(nb_history));
    if (b->n_bias) memcpy(to + m->bias, b->bias, (size_t)b->n_bias * sizeof(nb_bias));
    if (b->n_mask) memcpy(to + m->mask, b->mask, (size_t)b->n_mask * 4);
    write_late(d, b, to, m);
    write_chunks(d, b, to, m);
    nb_cuda_meta_mtp_write(d, b, to, m);
}

int nb_cuda_meta_write(nb_cuda *d, const nb_batch *b, int bucket, nb_cuda_flight *f, nb_cuda_meta *m, nb_error *err)
{
    *m = {};
    NB_TRY(plan_batch(d, b, err));
    count(d, b, bucket, m);
    nb_cuda_meta_mtp_count(d, b, m);
    lay_out(d, m, b);
    if (m->bytes > d->meta_capacity)
        return nb_error_set(err, NB_ERR_LIMIT,
                            "the batch's pages, history and masks take %lld bytes; %lld are reserved",
                            (long long)m->bytes, (long long)d->meta_capacity);
    *(nb_cuda_home *)(f->meta + m->home) = {f->result, f->proposal};
    write_arrays(d, b, f->meta, m);
    nb_cuda_ledger *next = d->staged;
    d->staged = d->ledger, d->ledger = next;
    return NB_OK;
}

enum {
    TAKE_THREADS = 32, // one warp, whose registers fit beside a block of the persistent kernel
    TAKE_BLOCKS_OF_SM = 8,
};

// from: the host's memory, read once over the bus.
__global__ void __launch_bounds__(TAKE_THREADS) take_kernel(const uint4 *from, uint4 *to, int64_t n)
{
    nb_grid_release();
#pragma unroll 1
    for (int64_t i = blockIdx.x * TAKE_THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * TAKE_THREADS)
        to[i] = from[i];
}

typedef struct take {
    const uint4 *from;
    uint4 *to;
    int64_t n;
    unsigned n_block;
} take;

static take take_of(const nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *m)
{
    int64_t n = m->bytes / (int64_t)sizeof(uint4), most = (int64_t)TAKE_BLOCKS_OF_SM * d->n_sm;
    int64_t n_block = (n + TAKE_THREADS - 1) / TAKE_THREADS;
    return {(const uint4 *)f->meta, (uint4 *)d->meta, n, (unsigned)(n_block < most ? n_block : most)};
}

int nb_cuda_meta_take(const nb_cuda_launch *at, const nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *m,
                      nb_error *err)
{
    take t = take_of(d, f, m);
    nb_cuda_launch first = *at;
    first.pdl = 0; // the step before may still read what is overwritten
    // An SM divided otherwise would take the persistent kernel's block only when this kernel's is done.
    NB_CUDA_TRY(cudaFuncSetAttribute(take_kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                     cudaSharedmemCarveoutMaxShared),
                err);
    return nb_cuda_start(&first, take_kernel, t.n_block, TAKE_THREADS, 0, err, t.from, t.to, t.n);
}

int nb_cuda_meta_retake(cudaGraphExec_t exec, cudaGraphNode_t node, const nb_cuda *d, const nb_cuda_flight *f,
                        const nb_cuda_meta *m, nb_error *err)
{
    take t = take_of(d, f, m);
    void *args[] = {&t.from, &t.to, &t.n};
    cudaKernelNodeParams p = {};
    p.func = (void *)take_kernel, p.gridDim = dim3(t.n_block), p.blockDim = dim3(TAKE_THREADS), p.kernelParams = args;
    NB_CUDA_TRY(cudaGraphExecKernelNodeSetParams(exec, node, &p), err);
    return NB_OK;
}
