#include "support/check.h"
#include "support/drive.h"

#include <stdlib.h>
#include <string.h>

nb_drive *nb_drive_open(nb_device *device)
{
    nb_drive *d = nb_alloc(sizeof *d);
    d->device = device;
    d->sampling = (nb_sampling){.top_p = 1, .repetition_penalty = 1};
    return d;
}

nb_drive_seq nb_drive_seq_make(int slot, int first_page, int step)
{
    nb_drive_seq seq = {.slot = slot};
    for (int i = 0; i < NB_DRIVE_PAGES; i++) seq.page[i] = first_page + i * step;
    return seq;
}

void nb_drive_begin(nb_drive *d)
{
    d->batch = (nb_batch){.tok = d->tok, .seq = d->seq, .page = d->page, .row = d->row, .copy = d->copy};
}

void nb_drive_copy(nb_drive *d, int from, int to)
{
    d->copy[d->batch.n_copy++] = (nb_slot_copy){from, to};
}

static void add_row(nb_drive *d, int tok, int i_seq)
{
    d->row[d->batch.n_row++] = (nb_row){.tok = tok,
                                        .seq = i_seq,
                                        .flags = NB_ROW_SAMPLE | NB_ROW_LOGITS,
                                        .target = -1,
                                        .mask_first = -1,
                                        .sampling = d->sampling};
}

void nb_drive_add(nb_drive *d, nb_drive_seq *seq, const int32_t *tok, int n_new, nb_drive_rows rows)
{
    nb_batch *b = &d->batch;
    int n_page = (seq->n_past + n_new + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS;
    assert_true(b->n_tok + n_new <= NB_DRIVE_TOKENS && b->n_seq < NB_DRIVE_SEQS && n_page <= NB_DRIVE_PAGES);
    d->seq[b->n_seq] = (nb_seq){.slot = seq->slot,
                                .n_past = seq->n_past,
                                .n_new = n_new,
                                .n_draft = seq->n_draft,
                                .tok_first = b->n_tok,
                                .page_first = b->n_page,
                                .n_page = n_page,
                                .n_propose = seq->n_propose};
    memcpy(d->tok + b->n_tok, tok, sizeof *tok * (size_t)n_new);
    memcpy(d->page + b->n_page, seq->page, sizeof *seq->page * (size_t)n_page);
    for (int i = rows == NB_DRIVE_ALL ? 0 : n_new - 1; i < n_new && rows != NB_DRIVE_NONE; i++)
        add_row(d, b->n_tok + i, b->n_seq);
    b->n_tok += n_new;
    b->n_page += n_page;
    b->n_seq++;
    seq->n_past += n_new;
    seq->n_draft = 0;
}

void nb_drive_submit(nb_drive *d)
{
    nb_error err;
    nb_test_ok(d->device->ops->submit(d->device, &d->batch, &err), &err);
}

void nb_drive_wait(nb_drive *d)
{
    nb_error err;
    nb_test_ok(d->device->ops->wait(d->device, &d->result, &err), &err);
}

void nb_drive_run(nb_drive *d)
{
    nb_drive_submit(d);
    nb_drive_wait(d);
}

int32_t nb_drive_prefill(nb_drive *d, nb_drive_seq *seq, const int32_t *tok, int n, int chunk, int vocab, float *logits)
{
    for (int from = 0; from < n; from += chunk) {
        int n_new = n - from < chunk ? n - from : chunk;
        nb_drive_begin(d);
        nb_drive_add(d, seq, tok + from, n_new, logits ? NB_DRIVE_ALL : NB_DRIVE_LAST);
        nb_drive_run(d);
        for (int i = 0; logits && i < n_new; i++)
            memcpy(logits + (int64_t)(from + i) * vocab, d->result.row[i].logits, sizeof(float) * (size_t)vocab);
    }
    return d->result.row[d->result.n_row - 1].tok;
}

void nb_drive_decode(nb_drive *d, nb_drive_seq *seq, int32_t tok, int n, int32_t *drawn)
{
    for (int i = 0; i < n; i++) {
        drawn[i] = tok;
        nb_drive_begin(d);
        nb_drive_add(d, seq, &tok, 1, NB_DRIVE_LAST);
        nb_drive_run(d);
        tok = d->result.row[0].tok;
    }
}
