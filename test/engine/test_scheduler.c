// What a plan contains, case by case.
#include "engine/scheduler.h"
#include "support/check.h"

#include <stdlib.h>

enum { N_SEQ = 8 };

typedef struct setup {
    nb_scheduler s;
    nb_sequence seq[N_SEQ];
} setup;

static setup *setup_open(nb_scheduler_options options)
{
    setup *t = nb_alloc(sizeof(*t));
    options.max_alive = N_SEQ;
    options.snapshot_grid = 256;
    options.n_slot = options.max_seq + (options.needs_state ? 4 : 0);
    nb_scheduler_open(&t->s, &options);
    return t;
}

static void setup_close(setup *t)
{
    assert_true(nb_scheduler_check(&t->s));
    nb_scheduler_close(&t->s);
    for (int i = 0; i < N_SEQ; i++) {
        free(t->seq[i].tok);
        free(t->seq[i].page);
    }
    free(t);
}

static void add(setup *t, int i, int32_t n_prompt, int32_t limit, int32_t priority)
{
    nb_sequence *seq = &t->seq[i];
    *seq = (nb_sequence){
        .id = (uint64_t)i + 1, .n_prompt = n_prompt, .n_tok = n_prompt, .limit = limit, .priority = priority};
    seq->rank_us = nb_sequence_rank_us(i, priority);
    seq->tok = nb_alloc(sizeof(int32_t) * (size_t)n_prompt);
    for (int32_t k = 0; k < n_prompt; k++) seq->tok[k] = 1000 * i + k;
    nb_scheduler_add(&t->s, seq);
}

// One step whose result comes at once.
static const nb_plan *run(setup *t)
{
    const nb_plan *plan = nb_scheduler_plan(&t->s);
    nb_scheduler_commit(&t->s);
    for (int i = 0; i < plan->n_item; i++)
        if (plan->item[i].draw) nb_scheduler_tokens(&t->s, plan->item[i].seq, (const int32_t[]){7}, 1, 0);
    return plan;
}

static void decodes_come_first_and_chunks_end_on_the_page_grid(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){.max_seq = 4, .max_tok = 200, .n_page = 100});
    add(t, 0, 10, 50, 0);
    run(t);
    add(t, 1, 1000, 50, 0);
    add(t, 2, 5, 50, 0);
    const nb_plan *plan = run(t);
    assert_int_equal(plan->n_item, 3);
    assert_ptr_equal(plan->item[0].seq, &t->seq[0]);
    assert_int_equal(plan->item[0].n_new, 1);
    assert_int_equal(plan->item[1].n_new, 192); // 199 tokens are left: three pages, and the rest for the next
    assert_int_equal(plan->item[2].n_new, 5);
    assert_true(plan->item[2].draw && !plan->item[1].draw);
    setup_close(t);
}

static void chunks_are_cut_where_the_state_is_saved(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){
        .max_seq = 2, .max_tok = 2000, .n_page = 100, .prefix_caching = true, .needs_state = true});
    add(t, 0, 400, 200, 0);
    assert_int_equal(run(t)->item[0].n_new, 256); // the grid
    const nb_plan *plan = run(t);
    assert_int_equal(plan->item[0].n_new, 128); // 384: the last page end that leaves NB_PROMPT_TAIL tokens
    assert_int_equal(plan->n_copy, 1);
    assert_int_equal(plan->copy[0].from, t->seq[0].slot);
    plan = run(t);
    assert_int_equal(plan->item[0].n_new, 16);
    assert_int_equal(plan->n_copy, 1);
    assert_int_equal(t->s.slots.saved.n, 2);
    int n_copy = 0;
    while (t->seq[0].n_past < 400 + 64 * 2) n_copy += run(t)->n_copy;
    assert_int_equal(n_copy, 2); // at 448 and 512; the second moved the first one's slot on
    assert_int_equal(t->s.slots.saved.n, 3);
    setup_close(t);
}

static void a_tail_that_may_be_written_otherwise_is_not_in_the_saved_state(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){
        .max_seq = 2, .max_tok = 2000, .n_page = 100, .prefix_caching = true, .needs_state = true});
    add(t, 0, 128 + NB_PROMPT_TAIL - 1, 1, 0);
    assert_int_equal(run(t)->item[0].n_new, 64);
    setup_close(t);
}

static void the_last_in_rank_is_preempted_and_keeps_its_tokens(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){.max_seq = 3, .max_tok = 500, .n_page = 5});
    add(t, 0, 60, 200, 0);
    add(t, 1, 60, 200, 1); // worse, although older than the next
    add(t, 2, 60, 200, 0);
    run(t);
    assert_int_equal(t->s.running.n, 3);
    while (t->s.n_preempted == 0) run(t);
    assert_int_equal(t->seq[1].n_preempted, 1);
    assert_false(t->seq[1].running);
    assert_true(t->seq[1].n_tok > 60 && t->seq[1].n_page == 0 && t->seq[1].slot == -1);
    assert_int_equal(t->seq[0].n_preempted + t->seq[2].n_preempted, 0);
    setup_close(t);
}

static void a_better_priority_takes_a_place_an_equal_one_waits(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){.max_seq = 1, .max_tok = 500, .n_page = 50});
    add(t, 0, 60, 200, 0);
    run(t);
    add(t, 1, 60, 200, 0);
    run(t);
    assert_true(t->seq[0].running && !t->seq[1].running);
    add(t, 2, 60, 200, -1);
    run(t);
    assert_true(t->seq[2].running && !t->seq[0].running);
    nb_scheduler_remove(&t->s, &t->seq[2]);
    run(t);
    assert_true(t->seq[0].running); // before its equal: it is older
    setup_close(t);
}

static void small_ones_do_not_pass_a_large_one(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){.max_seq = 4, .max_tok = 1000, .n_page = 10});
    add(t, 0, 300, 100, 0);
    run(t);
    add(t, 1, 400, 100, 0); // does not fit beside the first
    add(t, 2, 10, 100, 0);
    for (int i = 0; i < 20; i++) run(t);
    assert_true(!t->seq[1].running && !t->seq[2].running);
    nb_scheduler_remove(&t->s, &t->seq[0]);
    run(t);
    assert_true(t->seq[1].running && t->seq[2].running);
    setup_close(t);
}

static void without_deltanet_layers_any_full_page_is_a_hit(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){.max_seq = 4, .max_tok = 1000, .n_page = 50, .prefix_caching = true});
    add(t, 0, 200, 10, 0);
    assert_int_equal(run(t)->item[0].n_new, 200); // no cuts
    add(t, 1, 200, 10, 0);
    for (int k = 0; k < 150; k++) t->seq[1].tok[k] = t->seq[0].tok[k];
    const nb_plan *plan = run(t);
    assert_int_equal(t->seq[1].n_cached, 128);
    assert_int_equal(plan->n_copy, 0);
    assert_int_equal(plan->item[1].n_past, 128);
    assert_int_equal(t->seq[1].page[1], t->seq[0].page[1]);
    setup_close(t);
}

// A decode takes its drafts along, but never into another page, and never more than are wanted.
static void drafts_end_with_the_page_and_the_limit(void **state)
{
    (void)state;
    setup *t = setup_open((nb_scheduler_options){.max_seq = 1, .n_draft = 4, .max_tok = 200, .n_page = 4});
    add(t, 0, 62, 6, 0);
    nb_sequence *seq = &t->seq[0];
    seq->known_input = true;
    seq->n_propose = 4;
    run(t); // token 62 is drawn
    seq->n_draft = 4;
    const nb_plan *plan = nb_scheduler_plan(&t->s);
    assert_int_equal(plan->item[0].n_new, 2); // positions 62 and 63
    assert_int_equal(plan->item[0].n_draft, 1);
    nb_scheduler_commit(&t->s);
    assert_int_equal(seq->n_draft, 0);
    nb_scheduler_tokens(&t->s, seq, (const int32_t[]){1}, 1, 1);
    assert_int_equal(seq->n_past, 63); // the draft was wrong
    seq->n_draft = 0;
    run(t);
    seq->n_draft = 4;
    plan = nb_scheduler_plan(&t->s);
    assert_int_equal(plan->item[0].n_past, 64);
    assert_int_equal(plan->item[0].n_draft, 2); // three of six tokens are there, one comes anyway
    nb_scheduler_commit(&t->s);
    nb_scheduler_tokens(&t->s, seq, (const int32_t[]){1, 2, 3}, 3, 2);
    assert_int_equal(seq->n_tok, 68);
    assert_int_equal(seq->n_past, 67);
    setup_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_come_first_and_chunks_end_on_the_page_grid),
        cmocka_unit_test(chunks_are_cut_where_the_state_is_saved),
        cmocka_unit_test(a_tail_that_may_be_written_otherwise_is_not_in_the_saved_state),
        cmocka_unit_test(the_last_in_rank_is_preempted_and_keeps_its_tokens),
        cmocka_unit_test(a_better_priority_takes_a_place_an_equal_one_waits),
        cmocka_unit_test(small_ones_do_not_pass_a_large_one),
        cmocka_unit_test(without_deltanet_layers_any_full_page_is_a_hit),
        cmocka_unit_test(drafts_end_with_the_page_and_the_limit),
    };
    return nb_test_run("scheduler", tests);
}
