// The MTP module's part of a step's metadata (cuda_mtp.cu says what the module does): the rows that it absorbs, the
// hidden states that slots keep, and the sequences that propose, by falling number of proposals.
#include "cuda/cuda_internal.h"

static bool takes_part(const nb_cuda *d, int i_seq)
{
    return d->weights.has_mtp && d->plan[i_seq].mtp;
}

// Rows of the module for a step's tokens: the first token of a sequence has none.
static int n_absorbed(const nb_seq *s)
{
    return s->n_new - (s->n_past == 0);
}

void nb_cuda_meta_mtp_count(const nb_cuda *d, const nb_batch *b, nb_cuda_meta *m)
{
    for (int i = 0; i < b->n_seq; i++) {
        const nb_seq *s = &b->seq[i];
        int n = n_absorbed(s);
        if (!takes_part(d, i)) continue;
        m->n_mtp_keep++, m->n_mtp_row += n, m->n_mtp_seq += n > 0;
        m->n_mtp_tile += nb_ceil_div((int64_t)n * d->group, NB_ATTENTION_COLUMNS);
        m->n_draft++, m->n_draft_page += s->n_page + 1;
        for (int r = 0; r < s->n_propose; r++) m->n_round[r]++;
    }
}

static int add_tiles(nb_attention_tile *tile, int seq, int n_column)
{
    int n = 0;
    for (int c = 0; c < n_column; c += NB_ATTENTION_COLUMNS) tile[n++] = {seq, c};
    return n;
}

// The k-th row of a sequence takes the embedding of its token skip + k and the hidden state before that token: a row of
// this batch, or for the step's first token one that the slot kept.
static void write_absorbed(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m)
{
    nb_mtp_row *row = (nb_mtp_row *)(to + m->mtp_row);
    nb_attention_seq *seq = (nb_attention_seq *)(to + m->mtp_attention_seq);
    nb_attention_tile *tile = (nb_attention_tile *)(to + m->mtp_tile);
    int32_t *row_seq = (int32_t *)(to + m->mtp_tok_seq);
    int n_row = 0, n_seq = 0;
    for (int i = 0; i < b->n_seq; i++) {
        const nb_seq *s = &b->seq[i];
        int n = n_absorbed(s), skip = s->n_new - n;
        if (!takes_part(d, i) || n == 0) continue;
        seq[n_seq] = {s->n_past + skip, n, n_row, s->page_first};
        tile += add_tiles(tile, n_seq, n * d->group);
        for (int k = 0; k < n; k++, n_row++) {
            int tok = s->tok_first + skip + k;
            bool kept = tok == s->tok_first;
            row[n_row] = {tok, kept ? -1 - (s->slot * NB_JOURNAL_ROWS + d->plan[i].mtp_keep) : tok - 1};
            row_seq[n_row] = n_seq;
        }
        n_seq++;
    }
}

// The hidden states of the last definitive token and of the drafts behind it.
static void write_keeps(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m)
{
    nb_mtp_keep *keep = (nb_mtp_keep *)(to + m->mtp_keep);
    for (int i = 0; i < b->n_seq; i++) {
        const nb_seq *s = &b->seq[i];
        if (takes_part(d, i)) *keep++ = {s->slot, s->tok_first + s->n_new - s->n_draft - 1, s->n_draft + 1};
    }
}

// A draft's own page is one of the tail pages that only the module's layer has.
static void write_draft(const nb_cuda *d, const nb_batch *b, int i_seq, int i, int page_first, uint8_t *to,
                        const nb_cuda_meta *m)
{
    const nb_seq *s = &b->seq[i_seq];
    int last = s->tok_first + s->n_new - 1, row = last - s->n_draft,
        heads = nb_ceil_div(d->group, NB_ATTENTION_COLUMNS);
    int row_first = 0, n_row = 0;
    for (int r = b->n_row - 1; r >= 0; r--)
        if (b->row[r].seq == i_seq) row_first = r, n_row++;
    ((nb_mtp_draft *)(to + m->draft))[i] = {i_seq,     row, last, row_first, n_row, s->n_past + row - s->tok_first + 1,
                                            page_first};
    add_tiles((nb_attention_tile *)(to + m->draft_tile) + i * heads, i, d->group);
    ((int32_t *)(to + m->draft_tok_seq))[i] = i;
    int32_t *page = (int32_t *)(to + m->draft_page) + page_first;
    for (int k = 0; k < s->n_page; k++) page[k] = b->page[s->page_first + k];
    page[s->n_page] = d->reserve.n_page + 1 + i_seq;
}

void nb_cuda_meta_mtp_write(const nb_cuda *d, const nb_batch *b, uint8_t *to, const nb_cuda_meta *m)
{
    if (m->n_draft == 0) return;
    write_absorbed(d, b, to, m);
    write_keeps(d, b, to, m);
    int n = 0, n_page = 0;
    for (int n_propose = NB_DRAFT_MAX; n_propose > 0; n_propose--)
        for (int i = 0; i < b->n_seq; i++) {
            if (!takes_part(d, i) || b->seq[i].n_propose != n_propose) continue;
            write_draft(d, b, i, n++, n_page, to, m);
            n_page += b->seq[i].n_page + 1;
        }
}
