// Filling a step: decodes first, then prefill chunks in order of rank until the budget is spent.
#include "engine/scheduler_internal.h"

#include <assert.h>

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

// What is left of the step that is being filled.
typedef struct room {
    int32_t n_tok;
    int32_t n_row; // prompt rows: each costs a row of logits, so a step has only a page of them
    bool admit;
} room;

static bool decodes(const nb_sequence *seq)
{
    if (seq->n_past < seq->fill || (seq->known_input && seq->n_pending > 0)) return false;
    return seq->n_tok - seq->n_prompt + seq->n_pending < seq->limit;
}

static bool prefills(const nb_sequence *seq)
{
    return seq->n_past < seq->fill;
}

static bool has_prompt_rows(const nb_sequence *seq)
{
    return seq->n_prompt_row_done < seq->n_prompt_row;
}

static int32_t chunk_of(const nb_scheduler *s, const nb_sequence *seq, const room *left)
{
    int32_t most = has_prompt_rows(seq) ? smaller(left->n_tok, left->n_row) : left->n_tok;
    int32_t end = nb_memory_cut(s, seq);
    if (end - seq->n_past > most) end = (seq->n_past + most) / NB_PAGE_TOKENS * NB_PAGE_TOKENS;
    return end - seq->n_past;
}

// Rows wanted of the positions [n_past, n_past + n_new): those whose successor is a prompt token and not known yet.
static void add_prompt_rows(nb_plan_item *item, room *left)
{
    const nb_sequence *seq = item->seq;
    int32_t end = smaller(item->n_past + item->n_new, seq->n_prompt_row);
    item->prompt_row = item->n_past > seq->n_prompt_row_done ? item->n_past : seq->n_prompt_row_done;
    item->n_prompt_row = end > item->prompt_row ? end - item->prompt_row : 0;
    left->n_row -= item->n_prompt_row;
}

static void schedule(nb_scheduler *s, nb_sequence *seq, int32_t n_new, int32_t n_draft, room *left)
{
    nb_memory_save(s, seq);
    nb_plan_item *item = &s->plan.item[s->plan.n_item++];
    bool complete = seq->n_past + n_new >= seq->fill;
    *item = (nb_plan_item){.seq = seq, .n_past = seq->n_past, .n_new = n_new, .n_draft = n_draft};
    item->draw = complete && seq->limit > 0;
    item->last = complete && seq->limit == 0;
    add_prompt_rows(item, left);
    seq->scheduled = true;
    left->n_tok -= n_new;
    s->plan.n_tok += n_new;
}

static bool has_room(const nb_scheduler *s, const nb_sequence *seq)
{
    int need = nb_sequence_page_count((int64_t)seq->n_tok + 1) + s->running.n;
    return s->running.n < s->options.max_seq && nb_pages_available(&s->pages) >= need;
}

// The first waiting sequence takes the place of running ones of a worse priority that come after it.
static void make_room(nb_scheduler *s)
{
    if (s->waiting.n == 0 || s->waiting.at[0]->n_pending > 0) return;
    nb_sequence *first = s->waiting.at[0], *last;
    while ((last = nb_queue_last(&s->running)) && last->priority > first->priority && nb_sequence_before(first, last) &&
           !has_room(s, first))
        nb_memory_preempt(s, last);
}

// Drafts to try: not beyond the page, nor beyond the last token that is wanted.
static int32_t drafts_of(const nb_sequence *seq)
{
    int32_t page_left = NB_PAGE_TOKENS - 1 - seq->n_past % NB_PAGE_TOKENS;
    int32_t wanted = seq->limit - (seq->n_tok - seq->n_prompt) - 1;
    return smaller(seq->n_draft, smaller(page_left, wanted));
}

static void plan_decodes(nb_scheduler *s, room *left)
{
    for (int i = 0; i < s->running.n;) {
        nb_sequence *seq = s->running.at[i];
        if (decodes(seq)) {
            uint64_t n_preempted = s->n_preempted;
            bool grown = nb_memory_grow(s, seq);
            if (s->n_preempted != n_preempted) left->admit = false;
            if (!grown) break; // it was the last
            int32_t n_draft = drafts_of(seq);
            schedule(s, seq, 1 + n_draft, n_draft, left);
        }
        i++;
    }
}

static bool admit(nb_scheduler *s, nb_sequence *seq, const room *left)
{
    int32_t least = smaller(NB_PAGE_TOKENS, seq->n_tok);
    if (s->running.n == s->options.max_seq || seq->n_pending > 0 || left->n_tok < least) return false;
    if (has_prompt_rows(seq) && left->n_row < least) return false;
    if (!nb_memory_admit(s, seq)) return false;
    nb_queue_remove(&s->waiting, seq);
    nb_queue_add(&s->running, seq);
    seq->running = true;
    return true;
}

static nb_sequence *next_prefill(const nb_scheduler *s, int *i)
{
    while (*i < s->running.n && !prefills(s->running.at[*i])) ++*i;
    return *i < s->running.n ? s->running.at[*i] : NULL;
}

static void plan_prefills(nb_scheduler *s, room *left)
{
    int i = 0;
    while (left->n_tok > 0) {
        nb_sequence *seq = next_prefill(s, &i);
        nb_sequence *first = left->admit && s->waiting.n > 0 ? s->waiting.at[0] : NULL;
        if (first && (!seq || nb_sequence_before(first, seq))) {
            left->admit = admit(s, first, left);
            if (!left->admit) continue;
            seq = first;
        }
        if (!seq) return;
        int32_t n_new = chunk_of(s, seq, left);
        if (n_new > 0) schedule(s, seq, n_new, 0, left);
        i++; // an admitted sequence came to stand at or before i
    }
}

const nb_plan *nb_scheduler_plan(nb_scheduler *s)
{
    for (int i = 0; i < s->plan.n_item; i++) s->plan.item[i].seq->scheduled = false;
    s->plan.n_item = s->plan.n_copy = s->plan.n_tok = 0;
    room left = {.n_tok = s->options.max_tok, .n_row = NB_PAGE_TOKENS, .admit = true};
    make_room(s);
    plan_decodes(s, &left);
    plan_prefills(s, &left);
    return &s->plan;
}
