// A batch as the kernels want it, in one buffer: written by the host into pinned memory, taken over by one transfer.
// The layout depends on the counts alone, so that a graph finds the arrays of its bucket at the same places in each
// step.
#include <string.h>

#include "cuda/cuda_internal.h"

static int64_t part(nb_cuda_meta *m, int64_t n_byte)
{
    int64_t at = m->bytes;
    m->bytes += (n_byte + 15) / 16 * 16;
    return at;
}

static void lay_out(nb_cuda_meta *m, const nb_batch *b)
{
    int64_t T = m->n_tok, S = m->n_seq, R = m->n_row;
    m->tok = part(m, T * 4), m->tok_slot = part(m, T * 4), m->tok_seq = part(m, T * 4);
    m->seq = part(m, S * (int64_t)sizeof(nb_seq)), m->gdn_seq = part(m, S * (int64_t)sizeof(nb_gdn_seq));
    m->attention_seq = part(m, S * (int64_t)sizeof(nb_attention_seq)),
    m->tile = part(m, m->n_tile * (int64_t)sizeof(nb_attention_tile));
    m->row = part(m, R * (int64_t)sizeof(nb_row)), m->row_tok = part(m, R * 4),
    m->page = part(m, (int64_t)m->n_page * 4);
    m->history = part(m, b->n_history * (int64_t)sizeof(nb_history)),
    m->bias = part(m, b->n_bias * (int64_t)sizeof(nb_bias));
    m->mask = part(m, b->n_mask * 4);
}

// Journal or fold: the journal takes the step's tokens if it has room; otherwise all but the drafts go into S.
static int plan_seq(nb_cuda *d, const nb_seq *s, nb_gdn_seq *out, nb_error *err)
{
    nb_cuda_ledger *l = &d->ledger[s->slot];
    if (s->n_past == 0) l->n_folded = l->n_journal = 0;
    int keep = s->n_past - l->n_folded;
    if (keep < 0 || keep > l->n_journal)
        return nb_error_set(
            err, NB_ERR_INPUT,
            "slot %d has absorbed %d tokens and %d more that can be dropped; the batch says n_past = %d", s->slot,
            l->n_folded, l->n_journal, s->n_past);
    out->slot = s->slot, out->n_past = s->n_past, out->n_new = s->n_new, out->tok_first = s->tok_first,
    out->n_keep = keep;
    bool room = keep + s->n_new <= NB_JOURNAL_ROWS;
    out->n_commit = room ? -1 : s->n_new - s->n_draft;
    if (room)
        l->n_journal = keep + s->n_new;
    else
        l->n_folded = s->n_past + s->n_new - s->n_draft, l->n_journal = s->n_draft;
    return NB_OK;
}

static int limits(const nb_cuda *d, const nb_batch *b, nb_error *err)
{
    const nb_reserve *r = &d->reserve;
    if (b->n_tok <= 0 || b->n_tok > r->max_tok || b->n_seq > r->max_seq || b->n_row > r->max_row)
        return nb_error_set(err, NB_ERR_LIMIT,
                            "a batch of %d tokens, %d sequences and %d rows is over what was reserved (%d, %d, %d)",
                            b->n_tok, b->n_seq, b->n_row, r->max_tok, r->max_seq, r->max_row);
    for (int i = 0; i < b->n_seq; i++)
        if (b->seq[i].slot < 0 || b->seq[i].slot >= r->n_slot)
            return nb_error_set(err, NB_ERR_INPUT, "sequence %d of the batch has slot %d of %d", i, b->seq[i].slot,
                                r->n_slot);
    for (int i = 0; i < b->n_page; i++)
        if (b->page[i] < 0 || b->page[i] >= r->n_page)
            return nb_error_set(err, NB_ERR_INPUT, "page %d of the batch is %d of %d", i, b->page[i], r->n_page);
    return NB_OK;
}

static bool is_shaped(const nb_row *r)
{
    const nb_sampling *s = &r->sampling;
    return r->n_bias || r->mask_first >= 0 || s->repetition_penalty != 1 || s->presence_penalty != 0 ||
           s->frequency_penalty != 0;
}

static void count(const nb_cuda *d, const nb_batch *b, int bucket, nb_cuda_meta *m)
{
    int pad = bucket > 0 ? bucket - b->n_seq : 0;
    m->n_tok = b->n_tok + pad, m->n_seq = b->n_seq + pad, m->n_row = b->n_row + (bucket > 0 ? bucket - b->n_row : 0);
    m->n_page = b->n_page + pad;
    for (int i = 0; i < b->n_seq; i++) {
        m->n_tile += nb_ceil_div((int64_t)b->seq[i].n_new * d->group, NB_ATTENTION_COLUMNS);
        if (b->seq[i].n_new > NB_JOURNAL_ROWS) m->long_rows = 1;
    }
    m->n_tile += pad * nb_ceil_div(d->group, NB_ATTENTION_COLUMNS);
    for (int i = 0; i < b->n_row; i++) m->shaped |= is_shaped(&b->row[i]);
    int most = 4 * d->n_sm / (m->n_tile * d->model->config.num_key_value_heads);
    m->n_split = most < 1 ? 1 : most > NB_ATTENTION_SPLITS_MAX ? NB_ATTENTION_SPLITS_MAX : most;
}

// Sequence i of the padding: one token in the last slot and the last page, both nobody's.
static nb_seq padding_seq(const nb_cuda *d, const nb_batch *b, int i)
{
    nb_seq s = {};
    s.slot = d->reserve.n_slot, s.n_new = 1, s.tok_first = b->n_tok + i, s.page_first = b->n_page + i, s.n_page = 1;
    return s;
}

static int write_seq(nb_cuda *d, const nb_seq *s, int i, uint8_t *to, const nb_cuda_meta *m, int *n_tile, nb_error *err)
{
    ((nb_seq *)(to + m->seq))[i] = *s;
    NB_TRY(plan_seq(d, s, &((nb_gdn_seq *)(to + m->gdn_seq))[i], err));
    nb_attention_seq a = {s->n_past, s->n_new, s->tok_first, s->page_first};
    ((nb_attention_seq *)(to + m->attention_seq))[i] = a;
    for (int c = 0; c < s->n_new * d->group; c += NB_ATTENTION_COLUMNS) {
        nb_attention_tile t = {i, c};
        ((nb_attention_tile *)(to + m->tile))[(*n_tile)++] = t;
    }
    for (int j = 0; j < s->n_new; j++) {
        ((int32_t *)(to + m->tok_slot))[s->tok_first + j] = s->slot;
        ((int32_t *)(to + m->tok_seq))[s->tok_first + j] = i;
    }
    return NB_OK;
}

int nb_cuda_meta_write(nb_cuda *d, const nb_batch *b, int bucket, uint8_t *to, nb_cuda_meta *m, nb_error *err)
{
    NB_TRY(limits(d, b, err));
    *m = {};
    count(d, b, bucket, m);
    lay_out(m, b);
    if (m->bytes > d->meta_capacity)
        return nb_error_set(err, NB_ERR_LIMIT,
                            "the batch's pages, history and masks take %lld bytes; %lld are reserved",
                            (long long)m->bytes, (long long)d->meta_capacity);
    for (int i = 0; i < b->n_copy; i++) d->ledger[b->copy[i].to] = d->ledger[b->copy[i].from];
    int n_tile = 0, pad = m->n_seq - b->n_seq;
    for (int i = 0; i < b->n_seq; i++) NB_TRY(write_seq(d, &b->seq[i], i, to, m, &n_tile, err));
    memcpy(to + m->tok, b->tok, (size_t)b->n_tok * 4);
    memcpy(to + m->page, b->page, (size_t)b->n_page * 4);
    for (int i = 0; i < pad; i++) {
        nb_seq s = padding_seq(d, b, i);
        NB_TRY(write_seq(d, &s, b->n_seq + i, to, m, &n_tile, err));
        ((int32_t *)(to + m->tok))[s.tok_first] = 0;
        ((int32_t *)(to + m->page))[s.page_first] = d->reserve.n_page;
    }
    nb_row *row = (nb_row *)(to + m->row);
    if (b->n_row) memcpy(row, b->row, (size_t)b->n_row * sizeof *row);
    for (int i = b->n_row; i < m->n_row; i++) { // padding rows draw nothing
        nb_row none = {};
        none.tok = i, none.seq = i, none.target = -1, none.mask_first = -1, none.sampling.repetition_penalty = 1;
        row[i] = none;
    }
    for (int i = 0; i < m->n_row; i++) ((int32_t *)(to + m->row_tok))[i] = row[i].tok;
    if (b->n_history) memcpy(to + m->history, b->history, (size_t)b->n_history * sizeof(nb_history));
    if (b->n_bias) memcpy(to + m->bias, b->bias, (size_t)b->n_bias * sizeof(nb_bias));
    if (b->n_mask) memcpy(to + m->mask, b->mask, (size_t)b->n_mask * 4);
    return NB_OK;
}
