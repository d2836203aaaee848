// The parts below the scheduler: pages, slots, the prefix index, the queue, token counts.
#include "engine/prefix.h"
#include "engine/sequence.h"
#include "engine/tally.h"
#include "support/check.h"

#include <stdlib.h>

enum { N_PAGE = 6, N_SLOT = 3 };

typedef struct parts {
    nb_pages pages;
    nb_slots slots;
    nb_prefix prefix;
    int32_t tok[N_PAGE * NB_PAGE_TOKENS];
} parts;

static parts *parts_open(bool needs_state)
{
    parts *p = nb_alloc(sizeof(*p));
    nb_pages_open(&p->pages, N_PAGE);
    nb_slots_open(&p->slots, N_SLOT);
    nb_prefix_open(&p->prefix, &p->pages, &p->slots, needs_state);
    for (int i = 0; i < N_PAGE * NB_PAGE_TOKENS; i++) p->tok[i] = i;
    return p;
}

static void parts_close(parts *p)
{
    assert_true(nb_prefix_check(&p->prefix));
    nb_prefix_close(&p->prefix);
    nb_slots_close(&p->slots);
    nb_pages_close(&p->pages);
    free(p);
}

// Takes and indexes pages for the first n pages of tokens, as a sequence would.
static void add_chain(parts *p, int n, int32_t *page)
{
    for (int i = 0; i < n; i++) {
        page[i] = nb_prefix_take_page(&p->prefix);
        int32_t known = nb_prefix_add(&p->prefix, i > 0 ? page[i - 1] : -1, p->tok + i * NB_PAGE_TOKENS, page[i]);
        assert_int_equal(known, page[i]);
    }
}

static void drop_chain(parts *p, int n, const int32_t *page)
{
    while (n > 0) nb_pages_drop(&p->pages, page[--n]);
}

static void a_page_is_free_idle_or_held(void **state)
{
    (void)state;
    parts *p = parts_open(false);
    int32_t page[N_PAGE];
    add_chain(p, 2, page);
    int32_t plain = nb_pages_take(&p->pages);
    assert_int_equal(p->pages.n_held, 3);
    nb_pages_drop(&p->pages, plain);
    assert_int_equal(p->pages.n_free, N_PAGE - 2);
    nb_pages_hold(&p->pages, page[0]);
    drop_chain(p, 2, page);
    assert_int_equal(p->pages.idle.n, 1); // the other is held once more
    nb_pages_drop(&p->pages, page[0]);
    assert_int_equal(p->pages.idle.n, 2);
    assert_int_equal(nb_pages_available(&p->pages), N_PAGE);
    parts_close(p);
}

static void leaves_are_given_up_first_and_the_start_stays_a_hit(void **state)
{
    (void)state;
    parts *p = parts_open(false);
    int32_t page[N_PAGE], hit[N_PAGE];
    add_chain(p, N_PAGE, page);
    drop_chain(p, N_PAGE, page);
    for (int n = N_PAGE; n > 0; n--) {
        assert_int_equal(nb_prefix_find(&p->prefix, p->tok, N_PAGE, hit), n);
        assert_memory_equal(hit, page, sizeof(int32_t) * (size_t)n);
        assert_int_equal(nb_prefix_take_page(&p->prefix), page[n - 1]);
        assert_true(nb_prefix_check(&p->prefix));
    }
    assert_int_equal(nb_prefix_take_page(&p->prefix), -1);
    parts_close(p);
}

static void equal_hashes_of_other_tokens_are_no_hit(void **state)
{
    (void)state;
    parts *p = parts_open(false);
    int32_t page[2], hit[2];
    add_chain(p, 2, page);
    p->prefix.tok[page[1]][17]++; // as if other tokens had the same hash
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 2, hit), 1);
    p->prefix.tok[page[0]][17]++;
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 2, hit), 0);
    p->prefix.tok[page[0]][17]--;
    p->prefix.tok[page[1]][17]--;
    p->prefix.parent[page[1]] = -1; // and another prefix before it
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 2, hit), 1);
    p->prefix.parent[page[1]] = page[0];
    parts_close(p);
}

static void known_content_gives_the_page_that_has_it(void **state)
{
    (void)state;
    parts *p = parts_open(false);
    int32_t page[1], twin;
    add_chain(p, 1, page);
    twin = nb_prefix_take_page(&p->prefix);
    assert_int_equal(nb_prefix_add(&p->prefix, -1, p->tok, twin), page[0]);
    nb_pages_drop(&p->pages, twin);
    nb_pages_drop(&p->pages, page[0]);
    parts_close(p);
}

static void with_states_a_hit_ends_at_a_saved_one(void **state)
{
    (void)state;
    parts *p = parts_open(true);
    int32_t page[4], hit[4];
    add_chain(p, 4, page);
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 4, hit), 0);
    nb_prefix_attach(&p->prefix, page[1], nb_prefix_take_slot(&p->prefix));
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 4, hit), 2);
    nb_prefix_attach(&p->prefix, page[3], nb_prefix_take_slot(&p->prefix));
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 4, hit), 4);
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 3, hit), 2);
    drop_chain(p, 4, page);
    parts_close(p);
}

static void the_oldest_state_is_given_up_and_its_page_stays(void **state)
{
    (void)state;
    parts *p = parts_open(true);
    int32_t page[3], hit[3], slot[3];
    add_chain(p, 3, page);
    for (int i = 0; i < 3; i++) {
        slot[i] = nb_prefix_take_slot(&p->prefix);
        nb_prefix_attach(&p->prefix, page[i], slot[i]);
    }
    nb_slots_touch(&p->slots, slot[0]);
    assert_int_equal(nb_prefix_take_slot(&p->prefix), slot[1]); // slot 0 was used later
    assert_int_equal(p->prefix.state[page[1]], -1);
    assert_int_equal(nb_prefix_find(&p->prefix, p->tok, 2, hit), 1);
    drop_chain(p, 3, page);
    for (int i = 0; i < N_PAGE; i++) nb_prefix_take_page(&p->prefix); // a page that goes takes its state along
    assert_int_equal(p->slots.saved.n, 0);
    parts_close(p);
}

static void the_queue_keeps_rank_then_arrival(void **state)
{
    (void)state;
    nb_queue queue;
    nb_queue_open(&queue, 4);
    nb_sequence seq[4] = {{.id = 1}, {.id = 2}, {.id = 3}, {.id = 4}};
    seq[0].rank_us = nb_sequence_rank_us(0, 1); // a worse priority, but first
    seq[1].rank_us = nb_sequence_rank_us(NB_AGING_US - 1, 0);
    seq[2].rank_us = nb_sequence_rank_us(NB_AGING_US, 0);
    seq[3].rank_us = nb_sequence_rank_us(2, -1);
    for (int i = 0; i < 4; i++) nb_queue_add(&queue, &seq[i]);
    assert_ptr_equal(queue.at[0], &seq[3]);
    assert_ptr_equal(queue.at[1], &seq[1]);
    assert_ptr_equal(queue.at[2], &seq[0]);
    assert_ptr_equal(nb_queue_last(&queue), &seq[2]);
    nb_queue_remove(&queue, &seq[0]);
    assert_ptr_equal(queue.at[2 - 1], &seq[1]);
    assert_int_equal(queue.n, 3);
    nb_queue_close(&queue);
}

static void the_tally_counts_outputs_and_knows_the_prompt(void **state)
{
    (void)state;
    nb_tally tally;
    nb_tally_open(&tally, 1); // it must grow
    for (int round = 0; round < 3; round++)
        for (int32_t tok = 0; tok < 1000; tok++) nb_tally_add(&tally, tok * 977, round > 0 && tok % 2 == 0);
    assert_int_equal(tally.n, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(tally.entry[i].tok, i * 977);
        assert_int_equal(tally.entry[i].n_output, i % 2 == 0 ? 2 : 0);
    }
    nb_tally_close(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_free_idle_or_held),
        cmocka_unit_test(leaves_are_given_up_first_and_the_start_stays_a_hit),
        cmocka_unit_test(equal_hashes_of_other_tokens_are_no_hit),
        cmocka_unit_test(known_content_gives_the_page_that_has_it),
        cmocka_unit_test(with_states_a_hit_ends_at_a_saved_one),
        cmocka_unit_test(the_oldest_state_is_given_up_and_its_page_stays),
        cmocka_unit_test(the_queue_keeps_rank_then_arrival),
        cmocka_unit_test(the_tally_counts_outputs_and_knows_the_prompt),
    };
    return nb_test_run("prefix", tests);
}
