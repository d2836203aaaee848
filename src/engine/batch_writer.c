// Writing the flat arrays of a batch: see batch_writer.h.
#include "engine/batch_writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

void nb_batch_writer_open(nb_batch_writer *w, int vocab_size, int max_tok, int max_seq, int max_row)
{
    *w = (nb_batch_writer){.vocab_size = vocab_size};
    w->tok = nb_alloc(sizeof(int32_t) * (size_t)max_tok);
    w->seq = nb_alloc(sizeof(nb_seq) * (size_t)max_seq);
    w->row = nb_alloc(sizeof(nb_row) * (size_t)max_row);
}

void nb_batch_writer_close(nb_batch_writer *w)
{
    free(w->tok);
    free(w->seq);
    free(w->row);
    free(w->page);
    free(w->history);
    free(w->bias);
    free(w->mask);
}

// An array with room for `need` elements; doubling, so that growth ends soon.
static void *with_room(void *array, int64_t *cap, int64_t need, size_t size)
{
    if (need <= *cap) return array;
    *cap = 2 * need;
    return nb_realloc(array, size * (size_t)*cap);
}

static void write_tokens(nb_batch_writer *w, const nb_plan_item *item)
{
    const nb_sequence *seq = item->seq;
    for (int32_t i = item->n_past; i < item->n_past + item->n_new; i++)
        w->tok[w->batch.n_tok++] = i < seq->n_tok      ? seq->tok[i]
                                   : item->n_draft > 0 ? seq->draft[i - seq->n_tok]
                                                       : NB_TOKEN_LAST;
}

static void write_pages(nb_batch_writer *w, const nb_sequence *seq, int32_t n_page)
{
    w->page = with_room(w->page, &w->cap_page, w->batch.n_page + n_page, sizeof(int32_t));
    memcpy(w->page + w->batch.n_page, seq->page, sizeof(int32_t) * (size_t)n_page);
    w->batch.n_page += n_page;
}

static void write_prompt_rows(nb_batch_writer *w, const nb_plan_item *item, const nb_seq *seq, int32_t i_seq)
{
    const nb_job *job = nb_job_of(item->seq);
    for (int32_t i = item->prompt_row; i < item->prompt_row + item->n_prompt_row; i++)
        w->row[w->batch.n_row++] = (nb_row){.tok = seq->tok_first + i - item->n_past,
                                            .seq = i_seq,
                                            .target = job->seq.tok[i + 1],
                                            .n_top = job->n_prompt_top,
                                            .mask_first = -1,
                                            .sampling = {.top_p = 1, .repetition_penalty = 1}};
}

// One token more of output in a history that begins as the tally does.
static void add_to_history(const nb_job *job, nb_history *history, int32_t *n, int32_t tok)
{
    int32_t i = nb_tally_find(&job->tally, tok);
    if (i < 0)
        for (i = job->tally.n; i < *n && history[i].tok != tok;) i++;
    if (i == *n) history[(*n)++] = (nb_history){.tok = tok};
    history[i].n_output++;
}

// With the first n_draft drafts as output.
static void write_history(nb_batch_writer *w, const nb_job *job, int n_draft, nb_row *row)
{
    row->history_first = w->batch.n_history;
    if (!job->penalized) return;
    row->n_history = job->tally.n;
    w->history =
        with_room(w->history, &w->cap_history, w->batch.n_history + job->tally.n + n_draft, sizeof(nb_history));
    nb_history *history = w->history + w->batch.n_history;
    memcpy(history, job->tally.entry, sizeof(nb_history) * (size_t)job->tally.n);
    for (int i = 0; i < n_draft; i++) add_to_history(job, history, &row->n_history, job->seq.draft[i]);
    w->batch.n_history += row->n_history;
}

// The request's bias, and stop tokens ruled out while the output is shorter than min_new.
static void write_bias(nb_batch_writer *w, const nb_job *job, int n_draft, nb_row *row)
{
    bool too_short = nb_job_n_output(job) + job->seq.n_pending + n_draft < job->min_new;
    row->bias_first = w->batch.n_bias;
    row->n_bias = job->n_bias + (too_short ? job->n_stop : 0);
    w->bias = with_room(w->bias, &w->cap_bias, w->batch.n_bias + row->n_bias, sizeof(nb_bias));
    if (job->n_bias > 0) memcpy(w->bias + w->batch.n_bias, job->bias, sizeof(nb_bias) * (size_t)job->n_bias);
    w->batch.n_bias += job->n_bias;
    for (int i = 0; too_short && i < job->n_stop; i++)
        w->bias[w->batch.n_bias++] = (nb_bias){job->stop_tok[i], -INFINITY};
}

static void write_mask(nb_batch_writer *w, const nb_job *job, nb_row *row)
{
    int64_t n_word = (w->vocab_size + 31) / 32;
    row->mask_first = -1;
    if (!job->constrained) return;
    w->mask = with_room(w->mask, &w->cap_mask, w->batch.n_mask + n_word, sizeof(uint32_t));
    uint32_t *mask = w->mask + w->batch.n_mask;
    memset(mask, 0xFF, sizeof(uint32_t) * (size_t)n_word);
    if (!job->constraint.mask(job->constraint.user, mask)) return;
    row->mask_first = (int32_t)w->batch.n_mask;
    w->batch.n_mask += n_word;
}

// The row behind the first n_draft drafts.
static void write_draw(nb_batch_writer *w, const nb_job *job, const nb_seq *seq, int32_t i_seq, int n_draft)
{
    nb_row *row = &w->row[w->batch.n_row++];
    *row = (nb_row){.tok = seq->tok_first + seq->n_new - 1 - seq->n_draft + n_draft,
                    .seq = i_seq,
                    .flags = NB_ROW_SAMPLE | (job->want_logits ? NB_ROW_LOGITS : 0),
                    .target = -1,
                    .n_top = job->n_top > 0 ? job->n_top : 0,
                    .sampling = job->sampling};
    write_history(w, job, n_draft, row);
    write_bias(w, job, n_draft, row);
    write_mask(w, job, row);
}

static void write_item(nb_batch_writer *w, const nb_plan_item *item)
{
    int32_t i_seq = w->batch.n_seq++;
    nb_seq *seq = &w->seq[i_seq];
    *seq = (nb_seq){.slot = item->seq->slot,
                    .n_past = item->n_past,
                    .n_new = item->n_new,
                    .n_draft = item->n_draft,
                    .n_propose = item->seq->n_propose};
    seq->tok_first = w->batch.n_tok;
    seq->page_first = w->batch.n_page;
    seq->n_page = nb_sequence_page_count((int64_t)item->n_past + item->n_new);
    write_tokens(w, item);
    write_pages(w, item->seq, seq->n_page);
    write_prompt_rows(w, item, seq, i_seq);
    for (int i = 0; item->draw && i <= item->n_draft; i++) write_draw(w, nb_job_of(item->seq), seq, i_seq, i);
}

const nb_batch *nb_batch_write(nb_batch_writer *w, const nb_plan *plan)
{
    w->batch = (nb_batch){.n_copy = plan->n_copy, .copy = plan->copy};
    for (int i = 0; i < plan->n_item; i++) write_item(w, &plan->item[i]);
    w->batch.tok = w->tok;
    w->batch.seq = w->seq;
    w->batch.page = w->page;
    w->batch.row = w->row;
    w->batch.history = w->history;
    w->batch.bias = w->bias;
    w->batch.mask = w->mask;
    return &w->batch;
}
