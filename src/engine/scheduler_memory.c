// Pages, slots and saved states of sequences. Two rules keep overlap correct: the device works in order, so what one
// step still uses may be given away for the next; and only what steps before the one being planned have written is
// indexed.
#include "engine/scheduler_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"

static bool saves_states(const nb_scheduler *s)
{
    return s->options.prefix_caching && s->options.needs_state;
}

// The page end in front of the last tokens of what is prefilled: the place that the same prompt, or the next turn of
// the chat, most likely shares.
static int32_t tail_of(const nb_sequence *seq)
{
    return seq->fill > NB_PROMPT_TAIL ? (seq->fill - NB_PROMPT_TAIL) / NB_PAGE_TOKENS * NB_PAGE_TOKENS : 0;
}

int32_t nb_memory_cut(const nb_scheduler *s, const nb_sequence *seq)
{
    int32_t end = seq->fill;
    if (!saves_states(s)) return end;
    int32_t grid = s->options.snapshot_grid, tail = tail_of(seq), next = (seq->n_past / grid + 1) * grid;
    if (next < end) end = next;
    if (tail > seq->n_past && tail < end) end = tail;
    return end;
}

static bool wants_save(const nb_scheduler *s, const nb_sequence *seq)
{
    int32_t n = seq->n_past;
    if (!saves_states(s) || n == 0 || n == seq->n_saved || seq->n_indexed * NB_PAGE_TOKENS != n) return false;
    return n >= seq->fill || n == tail_of(seq) || n % s->options.snapshot_grid == 0;
}

static int32_t end_page(const nb_sequence *seq, int32_t n_tok)
{
    return seq->page[n_tok / NB_PAGE_TOKENS - 1];
}

void nb_memory_save(nb_scheduler *s, nb_sequence *seq)
{
    if (!wants_save(s, seq)) return;
    int32_t page = end_page(seq, seq->n_past), before = seq->n_reply;
    seq->n_saved = seq->n_past;
    if (seq->n_past >= seq->fill) seq->n_reply = seq->n_past;
    if (s->prefix.state[page] >= 0) {
        nb_slots_touch(&s->slots, s->prefix.state[page]);
        return;
    }
    bool moves = seq->n_reply == seq->n_past && before > 0 && s->prefix.state[end_page(seq, before)] >= 0;
    int32_t slot = moves ? nb_prefix_detach(&s->prefix, end_page(seq, before)) : nb_prefix_take_slot(&s->prefix);
    nb_prefix_attach(&s->prefix, page, slot);
    s->plan.copy[s->plan.n_copy++] = (nb_slot_copy){seq->slot, slot};
}

void nb_memory_index(nb_scheduler *s, nb_sequence *seq)
{
    int32_t n_full = (seq->n_past < seq->n_tok ? seq->n_past : seq->n_tok) / NB_PAGE_TOKENS;
    if (!s->options.prefix_caching) return;
    for (; seq->n_indexed < n_full; seq->n_indexed++) {
        int32_t i = seq->n_indexed, parent = i > 0 ? seq->page[i - 1] : -1;
        int32_t known = nb_prefix_add(&s->prefix, parent, seq->tok + i * NB_PAGE_TOKENS, seq->page[i]);
        if (known == seq->page[i]) continue;
        // A twin computed the same page first: share it, so that a held node's parents are always held too.
        nb_pages_hold(&s->pages, known);
        nb_pages_drop(&s->pages, seq->page[i]);
        seq->page[i] = known;
    }
}

// A state at a page end is worth keeping, and costs no copy when its sequence goes.
static bool give_slot(nb_scheduler *s, const nb_sequence *seq)
{
    if (!saves_states(s) || seq->n_past == 0 || seq->n_indexed * NB_PAGE_TOKENS != seq->n_past) return false;
    int32_t page = end_page(seq, seq->n_past);
    if (s->prefix.state[page] >= 0) return false;
    nb_prefix_attach(&s->prefix, page, seq->slot);
    return true;
}

static void drop_pages(nb_scheduler *s, nb_sequence *seq)
{
    while (seq->n_page > 0) nb_pages_drop(&s->pages, seq->page[--seq->n_page]);
}

void nb_memory_release(nb_scheduler *s, nb_sequence *seq)
{
    nb_memory_index(s, seq);
    if (!give_slot(s, seq)) nb_slots_drop(&s->slots, seq->slot);
    drop_pages(s, seq);
    seq->slot = -1;
    seq->n_past = seq->fill = seq->n_indexed = seq->n_saved = seq->n_reply = seq->n_draft = 0;
}

void nb_memory_preempt(nb_scheduler *s, nb_sequence *seq)
{
    assert(!seq->scheduled);
    nb_memory_release(s, seq);
    nb_queue_remove(&s->running, seq);
    nb_queue_add(&s->waiting, seq);
    seq->running = false;
    seq->n_preempted++;
    s->n_preempted++;
    s->blocked_pages = -1;
}

bool nb_memory_grow(nb_scheduler *s, nb_sequence *seq)
{
    if (seq->n_past < seq->n_page * NB_PAGE_TOKENS) return true;
    int32_t page;
    while ((page = nb_prefix_take_page(&s->prefix)) < 0) {
        nb_sequence *victim = nb_queue_last(&s->running);
        nb_memory_preempt(s, victim);
        if (victim == seq) return false;
    }
    seq->page[seq->n_page++] = page;
    return true;
}

// Room for everything the sequence can become; only those that run have it.
static void make_arrays(nb_sequence *seq)
{
    if (seq->page) return;
    int64_t n_tok = (int64_t)seq->n_prompt + seq->limit + 1;
    seq->tok = nb_realloc(seq->tok, sizeof(int32_t) * (size_t)n_tok);
    seq->page = nb_alloc(sizeof(int32_t) * (size_t)nb_sequence_page_count(n_tok));
}

// Holds the pages of the longest hit. At least one token is left to compute: its logits are wanted.
static void hold_hit(nb_scheduler *s, nb_sequence *seq)
{
    if (!s->options.prefix_caching || seq->n_prompt_row > seq->n_prompt_row_done) return;
    seq->n_page = nb_prefix_find(&s->prefix, seq->tok, (seq->n_tok - 1) / NB_PAGE_TOKENS, seq->page);
    for (int32_t i = 0; i < seq->n_page; i++) nb_pages_hold(&s->pages, seq->page[i]);
}

static void take_slot(nb_scheduler *s, nb_sequence *seq)
{
    int32_t state = seq->n_page > 0 ? s->prefix.state[end_page(seq, seq->n_past)] : -1;
    if (state >= 0) nb_slots_touch(&s->slots, state); // so that it is not the one that is given up
    seq->slot = nb_prefix_take_slot(&s->prefix);
    assert(seq->slot >= 0 && seq->slot != state);
    if (state >= 0) s->plan.copy[s->plan.n_copy++] = (nb_slot_copy){state, seq->slot};
}

static void count_hit(nb_scheduler *s, nb_sequence *seq)
{
    if (seq->n_cached >= 0) return;
    seq->n_cached = seq->n_past;
    if (!s->options.prefix_caching) return;
    s->prefix_queries_tok += (uint64_t)seq->n_prompt;
    s->prefix_hits_tok += (uint64_t)seq->n_past;
}

bool nb_memory_admit(nb_scheduler *s, nb_sequence *seq)
{
    int available = nb_pages_available(&s->pages);
    if (s->running.n > 0 && s->blocked_pages >= available) return false;
    make_arrays(seq);
    hold_hit(s, seq);
    int32_t n_page = nb_sequence_page_count((int64_t)seq->n_tok + 1);
    if (nb_pages_available(&s->pages) < n_page - seq->n_page + s->running.n) {
        drop_pages(s, seq);
        s->blocked_pages = available;
        return false;
    }
    s->blocked_pages = -1;
    seq->fill = seq->n_tok;
    seq->n_indexed = seq->n_page;
    seq->n_past = seq->n_saved = seq->n_page * NB_PAGE_TOKENS;
    count_hit(s, seq);
    take_slot(s, seq);
    for (n_page = nb_sequence_page_count(seq->n_tok); seq->n_page < n_page; seq->n_page++)
        seq->page[seq->n_page] = nb_prefix_take_page(&s->prefix);
    return true;
}
