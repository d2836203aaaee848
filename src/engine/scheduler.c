// The life of a sequence from add to remove, and the scheduler's invariants.
#include "engine/scheduler.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"
#include "engine/scheduler_internal.h"

void nb_scheduler_open(nb_scheduler *s, const nb_scheduler_options *options)
{
    assert(options->max_tok >= options->max_seq * (1 + options->n_draft) + NB_PAGE_TOKENS);
    assert(options->n_slot > options->max_seq || !(options->prefix_caching && options->needs_state));
    *s = (nb_scheduler){.options = *options, .blocked_pages = -1};
    nb_pages_open(&s->pages, options->n_page);
    nb_slots_open(&s->slots, options->n_slot);
    nb_prefix_open(&s->prefix, &s->pages, &s->slots, options->needs_state);
    nb_queue_open(&s->running, options->max_seq);
    nb_queue_open(&s->waiting, options->max_alive);
    s->plan.item = nb_alloc(sizeof(s->plan.item[0]) * (size_t)options->max_seq);
    s->plan.copy = nb_alloc(sizeof(s->plan.copy[0]) * (size_t)options->max_seq * 2);
}

void nb_scheduler_close(nb_scheduler *s)
{
    nb_pages_close(&s->pages);
    nb_slots_close(&s->slots);
    nb_prefix_close(&s->prefix);
    nb_queue_close(&s->running);
    nb_queue_close(&s->waiting);
    free(s->plan.item);
    free(s->plan.copy);
}

void nb_scheduler_add(nb_scheduler *s, nb_sequence *seq)
{
    seq->slot = -1;
    seq->n_cached = -1;
    nb_queue_add(&s->waiting, seq);
    if (s->waiting.at[0] == seq) s->blocked_pages = -1;
}

// The caller may free the sequence afterwards, so the plan must not name it any more.
static void forget_item(nb_scheduler *s, const nb_sequence *seq)
{
    int n = 0;
    for (int i = 0; i < s->plan.n_item; i++)
        if (s->plan.item[i].seq != seq) s->plan.item[n++] = s->plan.item[i];
    s->plan.n_item = n;
}

void nb_scheduler_remove(nb_scheduler *s, nb_sequence *seq)
{
    forget_item(s, seq);
    s->blocked_pages = -1;
    if (!seq->running) {
        nb_queue_remove(&s->waiting, seq);
        return;
    }
    nb_memory_release(s, seq);
    nb_queue_remove(&s->running, seq);
    seq->running = false;
}

void nb_scheduler_commit(nb_scheduler *s)
{
    for (int i = 0; i < s->plan.n_item; i++) {
        nb_plan_item *item = &s->plan.item[i];
        item->seq->n_past += item->n_new;
        if (item->draw) item->seq->n_pending++;
        item->seq->n_draft = 0;
        nb_memory_index(s, item->seq);
    }
}

void nb_scheduler_tokens(nb_scheduler *s, nb_sequence *seq, const int32_t *tok, int n, int n_draft)
{
    assert(seq->n_pending > 0 && n >= 1 && n <= 1 + n_draft && seq->n_tok + n <= seq->n_prompt + seq->limit);
    seq->n_pending--;
    for (int i = 0; i < n; i++) seq->tok[seq->n_tok++] = tok[i];
    if (!seq->running) return; // it was preempted meanwhile
    seq->n_past -= 1 + n_draft - n;
    nb_memory_index(s, seq);
}

bool nb_scheduler_balanced(const nb_scheduler *s)
{
    const nb_pages *pages = &s->pages;
    const nb_slots *slots = &s->slots;
    return pages->n_free + pages->idle.n + pages->n_held == pages->n_page &&
           slots->n_free + slots->saved.n + slots->n_running == slots->n_slot && slots->n_running == s->running.n;
}

// Every reference that the pool counts is a page of a running sequence, and every parent of a held page is held.
static bool check_holders(const nb_scheduler *s)
{
    int64_t n_ref = 0, n_held = 0;
    for (int i = 0; i < s->running.n; i++) {
        const nb_sequence *seq = s->running.at[i];
        if (!seq->running || s->slots.owner[seq->slot] != NB_SLOT_RUNNING) return false;
        if (seq->n_page * NB_PAGE_TOKENS < seq->n_past) return false;
        n_held += seq->n_page;
        for (int32_t k = 0; k < seq->n_page; k++)
            if (s->pages.n_ref[seq->page[k]] < 1 || (k < seq->n_indexed) != s->pages.indexed[seq->page[k]])
                return false;
    }
    for (int32_t page = 0; page < s->pages.n_page; page++) n_ref += s->pages.n_ref[page];
    for (int i = 0; i < s->waiting.n; i++)
        if (s->waiting.at[i]->running || s->waiting.at[i]->n_page > 0) return false;
    return n_ref == n_held;
}

bool nb_scheduler_check(const nb_scheduler *s)
{
    return nb_scheduler_balanced(s) && nb_prefix_check(&s->prefix) && check_holders(s);
}
