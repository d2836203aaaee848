// nb_batch_check: every rule of batch.h as one function each. A device that has checked a batch can index with its
// numbers.
#include "model/batch.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"

#define REFUSE(...) return nb_error_set(err, NB_ERR_INPUT, "batch: " __VA_ARGS__)

typedef struct nb_limits {
    int vocab_size, n_slot, n_page;
} nb_limits;

static bool range_ok(int64_t first, int64_t n, int64_t total)
{
    return first >= 0 && n >= 0 && first <= total && n <= total - first;
}

static int check_counts(const nb_batch *b, nb_error *err)
{
    if (b->n_tok < 1 || b->n_seq < 1)
        REFUSE("%d tokens in %d sequences; a batch has at least one of each", b->n_tok, b->n_seq);
    if (b->n_page < 0 || b->n_row < 0 || b->n_history < 0 || b->n_bias < 0 || b->n_copy < 0 || b->n_mask < 0)
        REFUSE("a count is negative");
    bool absent = !b->tok || !b->seq || (b->n_page && !b->page) || (b->n_row && !b->row) ||
                  (b->n_history && !b->history) || (b->n_bias && !b->bias) || (b->n_mask && !b->mask) ||
                  (b->n_copy && !b->copy);
    if (absent) REFUSE("an array with elements is NULL");
    return NB_OK;
}

static int check_tokens(const nb_batch *b, const nb_seq *s, int i_seq, int vocab_size, nb_error *err)
{
    for (int i = 0; i < s->n_new; i++) {
        int32_t tok = b->tok[s->tok_first + i];
        if (tok == NB_TOKEN_LAST && i == 0 && s->n_past > 0) continue;
        if (tok < 0 || tok >= vocab_size)
            REFUSE("token %d of sequence %d is %d; the vocabulary has %d (NB_TOKEN_LAST may only be the first)", i,
                   i_seq, tok, vocab_size);
    }
    return NB_OK;
}

static int check_pages(const nb_batch *b, const nb_seq *s, int i_seq, int n_page, nb_error *err)
{
    int64_t n_token = (int64_t)s->n_past + s->n_new;
    int64_t want = (n_token + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS;
    if (s->n_page != want)
        REFUSE("sequence %d has %d pages; its %lld tokens need %lld", i_seq, s->n_page, (long long)n_token,
               (long long)want);
    if (!range_ok(s->page_first, s->n_page, b->n_page)) REFUSE("the pages of sequence %d lie outside page[]", i_seq);
    for (int i = 0; i < s->n_page; i++) {
        int32_t page = b->page[s->page_first + i];
        if (page < 0 || page >= n_page) REFUSE("page %d of sequence %d is %d; there are %d", i, i_seq, page, n_page);
    }
    return NB_OK;
}

static int check_seq(const nb_batch *b, int i_seq, const nb_limits *limits, nb_error *err)
{
    const nb_seq *s = &b->seq[i_seq];
    int64_t next = i_seq ? (int64_t)b->seq[i_seq - 1].tok_first + b->seq[i_seq - 1].n_new : 0;
    if (s->slot < 0 || s->slot >= limits->n_slot)
        REFUSE("sequence %d uses slot %d; there are %d", i_seq, s->slot, limits->n_slot);
    if (s->n_past < 0 || s->n_new < 1) REFUSE("sequence %d has %d past and %d new tokens", i_seq, s->n_past, s->n_new);
    if (s->tok_first != next || !range_ok(s->tok_first, s->n_new, b->n_tok))
        REFUSE("sequence %d starts at token %d with %d tokens; %lld was expected and tok[] has %d", i_seq, s->tok_first,
               s->n_new, (long long)next, b->n_tok);
    if (s->n_draft < 0 || s->n_draft >= s->n_new || s->n_draft >= NB_JOURNAL_ROWS)
        REFUSE("sequence %d has %d drafts of %d new tokens; the journal holds %d", i_seq, s->n_draft, s->n_new,
               NB_JOURNAL_ROWS - 1);
    if (s->n_propose < 0 || s->n_propose > NB_DRAFT_MAX)
        REFUSE("sequence %d asks for %d drafts; at most %d are given", i_seq, s->n_propose, NB_DRAFT_MAX);
    NB_TRY(check_tokens(b, s, i_seq, limits->vocab_size, err));
    return check_pages(b, s, i_seq, limits->n_page, err);
}

enum { SEEN = 1, WRITTEN = 2 };

// A page that this step writes to may be in no other place of page[].
static int check_sharing(const nb_batch *b, uint8_t *use, nb_error *err)
{
    for (int i = 0; i < b->n_seq; i++) {
        const nb_seq *s = &b->seq[i];
        for (int k = 0; k < s->n_page; k++) {
            uint8_t now = k >= s->n_past / NB_PAGE_TOKENS ? SEEN | WRITTEN : SEEN;
            uint8_t *page = &use[b->page[s->page_first + k]];
            if (*page && ((*page | now) & WRITTEN))
                REFUSE("page %d is written by one sequence and used twice", b->page[s->page_first + k]);
            *page |= now;
        }
    }
    return NB_OK;
}

static int check_slots(const nb_batch *b, uint8_t *use, nb_error *err)
{
    for (int i = 0; i < b->n_seq; i++)
        if (use[b->seq[i].slot]++) REFUSE("slot %d is used by two sequences", b->seq[i].slot);
    return NB_OK;
}

static int check_seqs(const nb_batch *b, const nb_limits *limits, nb_error *err)
{
    for (int i = 0; i < b->n_seq; i++) NB_TRY(check_seq(b, i, limits, err));
    const nb_seq *last = &b->seq[b->n_seq - 1];
    if (last->tok_first + last->n_new != b->n_tok)
        REFUSE("%d tokens, but the sequences end at %d", b->n_tok, last->tok_first + last->n_new);
    uint8_t *use = nb_alloc((size_t)limits->n_page + (size_t)limits->n_slot + 1);
    int code = check_sharing(b, use, err);
    if (code == NB_OK) code = check_slots(b, use + limits->n_page, err);
    free(use);
    return code;
}

static int check_sampling(const nb_sampling *s, int i_row, nb_error *err)
{
    bool ok = isfinite(s->temperature) && s->temperature >= 0 && s->top_k >= 0 && s->top_p > 0 && s->top_p <= 1 &&
              s->min_p >= 0 && s->min_p <= 1 && isfinite(s->repetition_penalty) && s->repetition_penalty > 0 &&
              isfinite(s->presence_penalty) && isfinite(s->frequency_penalty);
    if (!ok) REFUSE("row %d has sampling parameters out of range", i_row);
    return NB_OK;
}

static int check_row_lists(const nb_batch *b, const nb_row *r, int i_row, int vocab_size, nb_error *err)
{
    if (!range_ok(r->history_first, r->n_history, b->n_history))
        REFUSE("row %d: its history lies outside history[]", i_row);
    if (!range_ok(r->bias_first, r->n_bias, b->n_bias)) REFUSE("row %d: its bias lies outside bias[]", i_row);
    if (r->mask_first != -1 && !range_ok(r->mask_first, (vocab_size + 31) / 32, b->n_mask))
        REFUSE("row %d: its mask lies outside mask[]", i_row);
    for (int i = 0; i < r->n_history; i++) {
        const nb_history *h = &b->history[r->history_first + i];
        if (h->tok < 0 || h->tok >= vocab_size || h->n_output < 0)
            REFUSE("row %d: history entry %d is out of range", i_row, i);
    }
    for (int i = 0; i < r->n_bias; i++) {
        const nb_bias *bias = &b->bias[r->bias_first + i];
        if (bias->tok < 0 || bias->tok >= vocab_size || isnan(bias->bias))
            REFUSE("row %d: bias entry %d is out of range", i_row, i);
    }
    return NB_OK;
}

static int check_row(const nb_batch *b, int i_row, int vocab_size, nb_error *err)
{
    const nb_row *r = &b->row[i_row];
    if (r->seq < 0 || r->seq >= b->n_seq) REFUSE("row %d names sequence %d of %d", i_row, r->seq, b->n_seq);
    const nb_seq *s = &b->seq[r->seq];
    if (r->tok < s->tok_first || r->tok >= s->tok_first + s->n_new)
        REFUSE("row %d: token %d is not in sequence %d", i_row, r->tok, r->seq);
    if (i_row && r->tok < b->row[i_row - 1].tok) REFUSE("row %d: rows must ascend by tok", i_row);
    if (r->flags & ~(NB_ROW_SAMPLE | NB_ROW_LOGITS)) REFUSE("row %d has unknown flags 0x%x", i_row, (unsigned)r->flags);
    if (r->target < -1 || r->target >= vocab_size)
        REFUSE("row %d: target %d is not in the vocabulary", i_row, r->target);
    if (r->n_top < 0 || r->n_top > NB_TOP_LOGPROBS_MAX)
        REFUSE("row %d asks for %d most likely tokens", i_row, r->n_top);
    NB_TRY(check_row_lists(b, r, i_row, vocab_size, err));
    return r->flags & NB_ROW_SAMPLE ? check_sampling(&r->sampling, i_row, err) : NB_OK;
}

static int check_copies(const nb_batch *b, int n_slot, nb_error *err)
{
    for (int i = 0; i < b->n_copy; i++) {
        const nb_slot_copy *c = &b->copy[i];
        if (c->from < 0 || c->from >= n_slot || c->to < 0 || c->to >= n_slot)
            REFUSE("copy %d is from slot %d to %d; there are %d", i, c->from, c->to, n_slot);
    }
    return NB_OK;
}

int nb_batch_check(const nb_batch *batch, int vocab_size, int n_slot, int n_page, nb_error *err)
{
    nb_limits limits = {vocab_size, n_slot, n_page};
    NB_TRY(check_counts(batch, err));
    NB_TRY(check_copies(batch, n_slot, err));
    NB_TRY(check_seqs(batch, &limits, err));
    for (int i = 0; i < batch->n_row; i++) NB_TRY(check_row(batch, i, vocab_size, err));
    return NB_OK;
}
