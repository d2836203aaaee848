// The comparison that holds the CUDA device to itself (support/trace.h), where no GPU is needed: two orders of sums of
// the delta rule, with bf16 inputs, keep its bounds with real flips; every mistake that a device could make breaks
// them.
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "support/demo.h"
#include "support/drive.h"
#include "support/trace.h"

enum { ROWS = 143, MISTAKE_AT = 100, OTHER_PAGE = 100, OTHER_SLOT = 2 };

typedef enum mistake { NONE, WRONG_PAGE, PAGES_EXCHANGED, WRONG_TOKEN, WRONG_SLOT } mistake;

static const int32_t *prompt(void)
{
    return nb_demo_i32("tool.ids", NULL);
}

// In the step at MISTAKE_AT: a page that another sequence wrote, pages in the wrong order, another token, another
// sequence's state from there on.
static void make_mistake(nb_drive *d, nb_drive_seq *seq, mistake m)
{
    if (m == WRONG_PAGE) d->page[0] = OTHER_PAGE;
    if (m == PAGES_EXCHANGED) d->page[0] = seq->page[1], d->page[1] = seq->page[0];
    if (m == WRONG_TOKEN) d->tok[0]++;
    if (m == WRONG_SLOT) d->seq[0].slot = seq->slot = OTHER_SLOT;
}

// A neighbour whose pages and states hold another text.
static void run_neighbour(nb_drive *d)
{
    nb_drive_seq other = nb_drive_seq_make(OTHER_SLOT, OTHER_PAGE, 1);
    nb_drive_prefill(d, &other, nb_demo_i32("recall.ids", NULL), MISTAKE_AT, 50, nb_demo_get()->vocab, NULL);
}

static nb_trace *trace_run(nb_device *device, int chunk, mistake m, bool tapped)
{
    int first[1];
    nb_trace *t = nb_trace_open(nb_demo_get()->model, ROWS);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(1, 0, 1);
    run_neighbour(d);
    for (int at = 0; at < ROWS; at += chunk) {
        first[0] = at;
        nb_drive_begin(d);
        nb_drive_add(d, &seq, prompt() + at, ROWS - at < chunk ? ROWS - at : chunk, NB_DRIVE_ALL);
        if (at == MISTAKE_AT) make_mistake(d, &seq, m);
        nb_trace_step(t, d, first, tapped);
    }
    free(d);
    return t;
}

static int count_wrong(nb_device *device, const char *what, mistake m, int chunk, bool tapped)
{
    nb_trace *want = trace_run(device, ROWS, NONE, true), *got = trace_run(device, chunk, m, tapped);
    int n = nb_trace_count_wrong(what, want, got, &(nb_trace_rows){.n = ROWS}, 1, &nb_trace_bounds_bf16);
    nb_trace_close(want), nb_trace_close(got);
    return n;
}

static nb_device *open_cpu(bool gdn_chunked)
{
    return nb_demo_cpu(&(nb_cpu_options){.bf16_activations = true, .gdn_chunked = gdn_chunked}, NB_KV_BF16);
}

static void roundings_keep_the_bounds(void **state)
{
    (void)state;
    nb_device *device = open_cpu(true);
    for (int tapped = 0; tapped < 2; tapped++) {
        assert_int_equal(count_wrong(device, "token by token", NONE, 1, tapped), 0);
        assert_int_equal(count_wrong(device, "chunks of 100", NONE, 100, tapped), 0);
    }
    device->ops->close(device);
}

// With and without other roundings, and so flips, before the mistake. Without taps one token's wrong page could be a
// flip's work, by its size and its place behind a near tie: only taps show it.
static void mistakes_break_the_bounds(void **state)
{
    (void)state;
    static const char *const what[] = {"", "a wrong page", "pages exchanged", "a wrong token", "a wrong slot"};
    for (int chunked = 0; chunked < 2; chunked++) {
        nb_device *device = open_cpu(chunked);
        for (int m = WRONG_PAGE; m <= WRONG_SLOT; m++)
            for (int tapped = m == WRONG_PAGE; tapped < 2; tapped++)
                assert_true(count_wrong(device, what[m], (mistake)m, 1, tapped) > 0);
        device->ops->close(device);
    }
}

// A choice that its own logits do not make.
static void an_expert_without_a_tie_breaks_the_bounds(void **state)
{
    (void)state;
    nb_device *device = open_cpu(false);
    nb_trace *want = trace_run(device, ROWS, NONE, true), *got = trace_run(device, ROWS, NONE, true);
    int least = 0;
    for (int e = 1; e < got->n_expert; e++)
        if (got->router[e] < got->router[least]) least = e;
    got->expert[0] = least;
    assert_true(
        nb_trace_count_wrong("a wrong expert", want, got, &(nb_trace_rows){.n = ROWS}, 1, &nb_trace_bounds_bf16) > 0);
    nb_trace_close(want), nb_trace_close(got);
    device->ops->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roundings_keep_the_bounds),
        cmocka_unit_test(mistakes_break_the_bounds),
        cmocka_unit_test(an_expert_without_a_tie_breaks_the_bounds),
    };
    return nb_test_run("cpu_trace", tests);
}
