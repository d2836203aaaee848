// The scheduler under random arrivals, lengths, priorities, shared prefixes, cancels and tiny pools, without a device:
// a few lines below play its part and keep, for each slot and each full page, a hash of what it absorbed. Each step is
// followed by a full check of pools, index and references, and each sequence that ends by a check of the bound that
// scheduler.h states. Steps overlap as in the engine: a result comes back after the next step was committed.
#include "engine/scheduler.h"
#include "numeric/random.h"
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { N_STEP = 100 * 1000 };
#else
enum { N_STEP = 1000 * 1000 };
#endif

enum { ROUND_STEPS = 1500, N_RECORD = 4096, N_STORY = 3, STORY_TOKENS = 700, VOCAB = 50, MAX_ITEM = 16 };

typedef struct record {
    nb_sequence seq;
    int64_t arrived, finished; // step; -1: not yet
    bool cancelled;
} record;

typedef struct flight {
    int n;
    record *of[MAX_ITEM];
    bool draw[MAX_ITEM], last[MAX_ITEM];
    int32_t prompt_row[MAX_ITEM], n_draft[MAX_ITEM];
} flight;

typedef struct content {
    int64_t n;
    uint64_t hash;
} content;

typedef struct slot_content {
    int64_t n;
    int n_draft;                     // of n, those that may be dropped
    uint64_t hash[NB_DRAFT_MAX + 1]; // without the last i drafts
} slot_content;

typedef struct world {
    nb_scheduler s;
    record record[N_RECORD];
    int n_record, n_alive;
    slot_content *slot;
    content *page;
    flight flight[2];
    int n_flight;
    int64_t step, now_us;
    uint64_t draws;
    int64_t context;
    int32_t story[N_STORY][STORY_TOKENS];
    // over all rounds
    int64_t n_step, n_finished, n_cancelled, n_preempted, n_hit_tok, n_copy, n_right, n_wrong;
    double closest; // largest share of the bound that a sequence used up
} world;

static uint32_t pick(world *w, uint32_t n)
{
    return nb_random_philox(7, w->draws++, 0).v[0] % n;
}

static uint64_t mix(uint64_t h, int32_t tok)
{
    h = (h ^ ((uint64_t)tok + 0x9E3779B97F4A7C15u)) * 0xBF58476D1CE4E5B9u;
    return h ^ (h >> 31);
}

static void open_round(world *w)
{
    nb_scheduler_options o = {.max_seq = 1 + (int)pick(w, 8),
                              .max_alive = N_RECORD,
                              .n_page = 3 + (int)pick(w, 30),
                              .snapshot_grid = NB_PAGE_TOKENS * (1 + (int)pick(w, 4)),
                              .prefix_caching = pick(w, 4) > 0,
                              .needs_state = pick(w, 2) > 0};
    o.n_draft = pick(w, 2) ? (int)pick(w, NB_DRAFT_MAX + 1) : 0;
    o.max_tok = o.max_seq * (1 + o.n_draft) + NB_PAGE_TOKENS + (int)pick(w, 300);
    o.n_slot = o.max_seq + (o.prefix_caching && o.needs_state ? 1 + (int)pick(w, 10) : 0);
    nb_scheduler_open(&w->s, &o);
    w->slot = nb_alloc(sizeof(slot_content) * (size_t)o.n_slot);
    w->page = nb_alloc(sizeof(content) * (size_t)o.n_page);
    w->n_record = w->n_alive = w->n_flight = 0;
    w->step = w->now_us = 0;
    w->context = (int64_t)o.n_page * NB_PAGE_TOKENS;
}

static void close_round(world *w)
{
    assert_int_equal(w->s.pages.n_held, 0);
    assert_int_equal(w->s.slots.n_running, 0);
    w->n_preempted += (int64_t)w->s.n_preempted;
    w->n_hit_tok += (int64_t)w->s.prefix_hits_tok;
    nb_scheduler_close(&w->s);
    for (int i = 0; i < w->n_record; i++) {
        free(w->record[i].seq.tok);
        free(w->record[i].seq.page);
    }
    free(w->slot);
    free(w->page);
}

static void arrive(world *w)
{
    record *r = &w->record[w->n_record];
    int32_t most = (int32_t)(w->context - 1 < STORY_TOKENS ? w->context - 1 : STORY_TOKENS);
    *r = (record){.arrived = w->step, .finished = -1};
    nb_sequence *seq = &r->seq;
    seq->id = (uint64_t)++w->n_record;
    seq->n_prompt = seq->n_tok = 1 + (int32_t)pick(w, pick(w, 2)              ? (uint32_t)most
                                                      : 100u < (uint32_t)most ? 100u
                                                                              : (uint32_t)most);
    seq->limit = (int32_t)pick(w, 8) == 0 ? 0 : 1 + (int32_t)pick(w, pick(w, 4) ? 150 : 600);
    if (seq->limit > w->context - seq->n_prompt) seq->limit = (int32_t)(w->context - seq->n_prompt);
    seq->priority = (int32_t)pick(w, 3) - 1;
    seq->rank_us = nb_sequence_rank_us(w->now_us, seq->priority);
    seq->n_propose = pick(w, 4) ? w->s.options.n_draft : 0;
    seq->known_input = seq->n_propose > 0 || pick(w, 8) == 0;
    seq->n_prompt_row = pick(w, 10) == 0 ? seq->n_prompt - 1 : 0;
    seq->tok = nb_alloc(sizeof(int32_t) * (size_t)seq->n_prompt);
    memcpy(seq->tok, w->story[pick(w, N_STORY)], sizeof(int32_t) * (size_t)seq->n_prompt);
    if (pick(w, 2)) seq->tok[pick(w, (uint32_t)seq->n_prompt)] = (int32_t)pick(w, VOCAB);
    nb_scheduler_add(&w->s, seq);
    w->n_alive++;
}

static int64_t work_of(const nb_sequence *seq)
{
    int64_t steps = nb_sequence_page_count(seq->n_tok) + seq->limit + NB_STEP_SLACK;
    return steps * (1 + seq->n_preempted) * (seq->known_input ? 2 : 1);
}

static void check_bound(world *w, const record *r)
{
    int64_t bound = 0;
    for (int i = 0; i < w->n_record; i++) {
        const record *q = &w->record[i];
        bool alive = q->arrived <= r->arrived && (q->finished < 0 || q->finished >= r->arrived);
        if (q == r || alive || nb_sequence_before(&q->seq, &r->seq)) bound += work_of(&q->seq);
    }
    int64_t steps = r->finished - r->arrived;
    if (steps > bound) print_message("sequence %d took %d steps, bound %d\n", (int)r->seq.id, (int)steps, (int)bound);
    assert_true(steps <= bound);
    if ((double)steps / (double)bound > w->closest) w->closest = (double)steps / (double)bound;
}

static void finish(world *w, record *r)
{
    nb_scheduler_remove(&w->s, &r->seq);
    r->finished = w->step;
    w->n_alive--;
    w->n_finished++;
    if (!r->cancelled) check_bound(w, r);
}

static void cancel(world *w)
{
    record *r = &w->record[pick(w, (uint32_t)w->n_record)];
    if (r->finished >= 0) return;
    r->cancelled = true;
    w->n_cancelled++;
    finish(w, r);
}

// Tokens that are drawn ahead are not known here either: as in a device, the hash goes on with what will be drawn. That
// is a function of the sequence alone, so that it can be said in advance.
static int32_t drawn(const nb_sequence *seq, int32_t position)
{
    return (int32_t)(mix(seq->id * 1000003u, position) % VOCAB);
}

static void absorb(world *w, const nb_plan_item *item)
{
    const nb_sequence *seq = item->seq;
    slot_content *slot = &w->slot[seq->slot];
    int32_t end = item->n_past + item->n_new, n_sure = end - item->n_draft;
    uint64_t hash = 0;
    for (int32_t i = 0; i < end; i++) {
        int32_t tok = i < seq->n_tok ? seq->tok[i] : i >= n_sure ? seq->draft[i - n_sure] : drawn(seq, i);
        if (i == item->n_past && w->s.options.needs_state && i > 0) {
            assert_true(slot->n >= i && slot->n - i <= slot->n_draft);
            assert_true(slot->hash[slot->n - i] == hash);
        }
        hash = mix(hash, tok);
        if (i + 1 >= n_sure) slot->hash[end - i - 1] = hash;
        content *page = &w->page[seq->page[i / NB_PAGE_TOKENS]];
        if (i >= item->n_past)
            *page = (content){i + 1, hash};
        else if ((i + 1) % NB_PAGE_TOKENS == 0 || i + 1 == item->n_past) {
            assert_int_equal(page->n, i + 1);
            assert_true(page->hash == hash);
        }
    }
    slot->n = end;
    slot->n_draft = item->n_draft;
}

static void check_item(const world *w, const nb_plan_item *item)
{
    const nb_sequence *seq = item->seq;
    int32_t end = item->n_past + item->n_new;
    assert_true(item->n_new >= 1 && end <= seq->n_page * NB_PAGE_TOKENS);
    assert_true(end >= seq->fill || end % NB_PAGE_TOKENS == 0);
    assert_true(seq->n_tok + seq->n_pending + item->n_draft >= end);
    assert_true(item->n_draft <= w->s.options.n_draft &&
                (end - 1) / NB_PAGE_TOKENS == (end - 1 - item->n_draft) / NB_PAGE_TOKENS);
    if (seq->known_input) assert_int_equal(seq->n_pending, 0);
    // The last, partly filled page is nobody else's.
    if (end % NB_PAGE_TOKENS != 0) assert_int_equal(w->s.pages.n_ref[seq->page[end / NB_PAGE_TOKENS]], 1);
}

static void submit(world *w, const nb_plan *plan)
{
    flight *f = &w->flight[w->n_flight++];
    f->n = plan->n_item;
    assert_true(plan->n_item <= MAX_ITEM && plan->n_tok <= w->s.options.max_tok);
    for (int i = 0; i < plan->n_copy; i++) w->slot[plan->copy[i].to] = w->slot[plan->copy[i].from];
    w->n_copy += plan->n_copy;
    for (int i = 0; i < plan->n_item; i++) {
        const nb_plan_item *item = &plan->item[i];
        check_item(w, item);
        absorb(w, item);
        f->of[i] = (record *)item->seq;
        f->draw[i] = item->draw;
        f->last[i] = item->last;
        f->prompt_row[i] = item->n_prompt_row;
        f->n_draft[i] = item->n_draft;
    }
    nb_scheduler_commit(&w->s);
}

// The page ends where the sequence does, whatever rejected drafts left behind.
static void forget_rejected(world *w, const nb_sequence *seq)
{
    const slot_content *slot = &w->slot[seq->slot];
    if (seq->n_past > 0 && slot->n > seq->n_past)
        w->page[seq->page[(seq->n_past - 1) / NB_PAGE_TOKENS]] =
            (content){seq->n_past, slot->hash[slot->n - seq->n_past]};
}

// Hands the drawn tokens on that count; returns the last of them.
static int32_t take_drawn(world *w, nb_sequence *seq, int32_t n_draft)
{
    int32_t tok[NB_DRAFT_MAX + 1];
    int n = 0;
    do {
        tok[n] = drawn(seq, seq->n_tok + n);
        n++;
    } while (n <= n_draft && tok[n - 1] != 0 && seq->draft[n - 1] == tok[n - 1]);
    nb_scheduler_tokens(&w->s, seq, tok, n, n_draft);
    w->n_right += n - 1;
    w->n_wrong += n_draft - (n - 1);
    if (!seq->running) return tok[n - 1];
    forget_rejected(w, seq);
    seq->n_draft = (int32_t)pick(w, (uint32_t)seq->n_propose + 1);
    for (int i = 0; i < seq->n_draft; i++) seq->draft[i] = drawn(seq, seq->n_tok + i) + (pick(w, 4) == 0);
    return tok[n - 1];
}

static void digest(world *w)
{
    flight f = w->flight[0];
    w->flight[0] = w->flight[1];
    w->n_flight--;
    for (int i = 0; i < f.n; i++) {
        record *r = f.of[i];
        nb_sequence *seq = &r->seq;
        if (r->finished >= 0) continue;
        seq->n_prompt_row_done += f.prompt_row[i];
        int32_t tok = f.draw[i] ? take_drawn(w, seq, f.n_draft[i]) : 0;
        bool stop = f.draw[i] && tok == 0;
        bool full = f.draw[i] && seq->n_tok - seq->n_prompt == seq->limit;
        if (stop || full || f.last[i]) {
            assert_int_equal(seq->n_prompt_row_done, seq->n_prompt_row);
            finish(w, r);
        }
    }
}

static void step(world *w)
{
    w->step++;
    w->n_step++;
    w->now_us += pick(w, 200 * 1000);
    const nb_plan *plan = nb_scheduler_plan(&w->s);
    int n_ahead = plan->n_item > 0;
    assert_true(n_ahead || w->n_flight > 0 || w->n_alive == 0);
    if (n_ahead) submit(w, plan);
    if (w->n_flight > n_ahead) digest(w);
    if (!nb_scheduler_check(&w->s)) fail_msg("pools, index and references disagree after step %d", (int)w->n_step);
}

static void fuzz_round(world *w)
{
    open_round(w);
    uint32_t rush = 2 + pick(w, 30);
    while (w->step < ROUND_STEPS && w->n_record < N_RECORD) {
        if (w->n_alive < 40 && pick(w, rush) == 0) arrive(w);
        if (w->n_record > 0 && pick(w, 100) == 0) cancel(w);
        step(w);
    }
    while (w->n_alive > 0 || w->n_flight > 0) step(w);
    close_round(w);
}

static void accepted_requests_finish_within_the_bound_and_nothing_is_lost(void **state)
{
    (void)state;
    world *w = nb_alloc(sizeof(*w));
    for (int i = 0; i < N_STORY; i++)
        for (int k = 0; k < STORY_TOKENS; k++) w->story[i][k] = (int32_t)pick(w, VOCAB);
    memcpy(w->story[1], w->story[0], sizeof(int32_t) * 300); // a common start
    while (w->n_step < N_STEP) fuzz_round(w);
    print_message("steps %lld finished %lld cancelled %lld preempted %lld hit_tok %lld copies %lld drafts right %lld "
                  "wrong %lld closest %.2f\n",
                  (long long)w->n_step, (long long)w->n_finished, (long long)w->n_cancelled, (long long)w->n_preempted,
                  (long long)w->n_hit_tok, (long long)w->n_copy, (long long)w->n_right, (long long)w->n_wrong,
                  w->closest);
    assert_true(w->n_cancelled > 100 && w->n_preempted > 100 && w->n_hit_tok > 1000 && w->n_copy > 100);
    assert_true(w->n_right > 1000 && w->n_wrong > 1000);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_requests_finish_within_the_bound_and_nothing_is_lost),
    };
    return nb_test_run("scheduler fuzz", tests);
}
