// What must not change a sequence's numbers, bit for bit: how its prompt is cut into chunks, what else is in the batch,
// the number of threads, where its pages and its slot lie, drafts that were proposed and rejected, copies of its slot.
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/demo.h"
#include "support/drive.h"

enum { PROMPT = 135, DECODE = 6, TRACE = PROMPT + DECODE }; // over two page borders and two chunks of DeltaNet

static const int32_t *prompt(void)
{
    return nb_demo_i32("tool.ids", NULL);
}
static const int32_t *other_prompt(void)
{
    return nb_demo_i32("recall.ids", NULL);
}
static size_t row_bytes(void)
{
    return sizeof(float) * (size_t)nb_demo_get()->vocab;
}

static nb_device *open_cpu(nb_cpu_kernels kernels, int n_thread, bool chunked, nb_kv_format kv)
{
    return nb_demo_cpu(&(nb_cpu_options){.kernels = kernels, .n_thread = n_thread, .gdn_chunked = chunked}, kv);
}

static nb_device *open_default(void)
{
    return open_cpu(NB_CPU_AUTO, 2, false, NB_KV_BF16);
}

static void keep_rows(const nb_drive *d, int i_seq, float *to)
{
    int64_t vocab = nb_demo_get()->vocab;
    for (int i = 0, n = 0; i < d->batch.n_row; i++)
        if (d->row[i].seq == i_seq) memcpy(to + n++ * vocab, d->result.row[i].logits, row_bytes());
}

// DECODE greedy steps behind a prefilled sequence, their logits into trace[PROMPT..].
static void trace_decode(nb_drive *d, nb_drive_seq *seq, int32_t tok, float *trace)
{
    for (int i = 0; i < DECODE; i++) {
        nb_drive_begin(d);
        nb_drive_add(d, seq, &tok, 1, NB_DRIVE_LAST);
        nb_drive_run(d);
        keep_rows(d, 0, trace + (int64_t)(PROMPT + i) * nb_demo_get()->vocab);
        tok = d->result.row[0].tok;
    }
}

// Logits of every prompt token and of DECODE greedy steps: [TRACE][vocab].
static float *trace_run(nb_device *device, nb_drive_seq seq, int chunk)
{
    float *trace = nb_alloc(TRACE * row_bytes());
    nb_drive *d = nb_drive_open(device);
    int32_t tok = nb_drive_prefill(d, &seq, prompt(), PROMPT, chunk, nb_demo_get()->vocab, trace);
    trace_decode(d, &seq, tok, trace);
    free(d);
    return trace;
}

static float *trace_alone(nb_device *device)
{
    return trace_run(device, nb_drive_seq_make(0, 0, 1), PROMPT);
}

static void check_same(const char *what, const float *want, const float *got, int from, int n_row)
{
    int64_t vocab = nb_demo_get()->vocab;
    for (int i = from; i < from + n_row; i++)
        if (memcmp(want + i * vocab, got + i * vocab, row_bytes()) != 0) fail_msg("%s: row %d differs", what, i);
}

static void check_chunks(nb_device *device, const int *chunk, int n_chunk)
{
    float *want = trace_alone(device);
    for (int i = 0; i < n_chunk; i++) {
        char what[32];
        snprintf(what, sizeof what, "chunks of %d", chunk[i]);
        float *got = trace_run(device, nb_drive_seq_make(1, 20, 1), chunk[i]);
        check_same(what, want, got, 0, TRACE);
        free(got);
    }
    free(want);
    device->ops->close(device);
}

static void test_chunks_equal_the_whole_prompt(void **state)
{
    (void)state;
    const int chunk[] = {1, 7, 64}, one_chunk[] = {33};
    check_chunks(open_cpu(NB_CPU_SCALAR, 2, false, NB_KV_F32), one_chunk, 1);
    check_chunks(open_cpu(NB_CPU_AUTO, 2, false, NB_KV_BF16), chunk, 3);
    check_chunks(open_cpu(NB_CPU_AUTO, 2, false, NB_KV_FP8), chunk, 3);
}

static void test_chunked_deltanet_equals_itself_on_its_grid(void **state)
{
    (void)state;
    const int chunk[] = {64, 128};
    check_chunks(open_cpu(NB_CPU_AUTO, 2, true, NB_KV_BF16), chunk, 2);
}

static void test_threads_change_nothing(void **state)
{
    (void)state;
    nb_device *one = open_cpu(NB_CPU_AUTO, 1, false, NB_KV_BF16), *five = open_cpu(NB_CPU_AUTO, 5, false, NB_KV_BF16);
    float *want = trace_alone(one), *got = trace_alone(five);
    check_same("five threads", want, got, 0, TRACE);
    free(want);
    free(got);
    one->ops->close(one);
    five->ops->close(five);
}

static void test_places_of_pages_and_slots_change_nothing(void **state)
{
    (void)state;
    nb_device *device = open_default();
    float *want = trace_alone(device);
    float *got = trace_run(device, nb_drive_seq_make(9, 120, -3), PROMPT);
    check_same("pages in falling order", want, got, 0, TRACE);
    free(want);
    free(got);
    device->ops->close(device);
}

// The prompt in uneven chunks among three other sequences at different stages, first, last and in the middle of a
// batch.
static void test_other_sequences_change_nothing(void **state)
{
    (void)state;
    nb_device *device = open_default();
    float *want = trace_alone(device), *got = nb_alloc(TRACE * row_bytes());
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq mine = nb_drive_seq_make(4, 100, 1), other[3];
    for (int i = 0; i < 3; i++) other[i] = nb_drive_seq_make(5 + i, 10 + 20 * i, 1);
    const int chunk[] = {30, 1, 70, 34};
    for (int step = 0, at = 0; step < 4; at += chunk[step++]) {
        nb_drive_begin(d);
        for (int i = 0; i < 3; i++) {
            if (i == step % 4) nb_drive_add(d, &mine, prompt() + at, chunk[step], NB_DRIVE_ALL);
            nb_drive_add(d, &other[i], other_prompt() + other[i].n_past, 1 + 17 * i, NB_DRIVE_LAST);
        }
        if (step % 4 == 3) nb_drive_add(d, &mine, prompt() + at, chunk[step], NB_DRIVE_ALL);
        nb_drive_run(d);
        keep_rows(d, step % 4, got + (int64_t)at * nb_demo_get()->vocab);
    }
    check_same("in a batch with others", want, got, 0, PROMPT);
    free(want);
    free(got);
    free(d);
    device->ops->close(device);
}

// Prefilled up to the first decode step; *tok is the drawn token.
static nb_drive_seq prefilled(nb_drive *d, int slot, int first_page, int n_propose, int32_t *tok)
{
    nb_drive_seq seq = nb_drive_seq_make(slot, first_page, 1);
    seq.n_propose = n_propose;
    *tok = nb_drive_prefill(d, &seq, prompt(), PROMPT, PROMPT, nb_demo_get()->vocab, NULL);
    return seq;
}

// Every step carries n_draft drafts, of which the first n_right are the true continuation; exactly those are kept.
static void check_drafts(nb_device *device, const float *want, const int32_t *truth, int n_draft, int n_right)
{
    nb_drive *d = nb_drive_open(device);
    float *got = nb_alloc((TRACE + NB_JOURNAL_ROWS) * row_bytes());
    int32_t tok[NB_JOURNAL_ROWS];
    nb_drive_seq seq = prefilled(d, 2, 40, 0, &tok[0]);
    for (int at = 0; at + n_right < DECODE;) {
        for (int i = 0; i <= n_draft; i++) tok[i] = i <= n_right ? truth[at + i] : (truth[at] + 77 * i) % 2000;
        seq.n_draft = n_draft;
        nb_drive_begin(d);
        nb_drive_add(d, &seq, tok, n_draft + 1, NB_DRIVE_ALL);
        nb_drive_run(d);
        keep_rows(d, 0, got + (int64_t)(PROMPT + at) * nb_demo_get()->vocab);
        check_same("with drafts", want, got, PROMPT + at, n_right + 1);
        seq.n_past -= n_draft - n_right;
        at += n_right + 1;
    }
    free(got);
    free(d);
}

static void test_rejected_drafts_were_never_there(void **state)
{
    (void)state;
    nb_device *device = open_default();
    float *want = trace_alone(device);
    int32_t truth[DECODE], first;
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = prefilled(d, 1, 30, 0, &first);
    nb_drive_decode(d, &seq, first, DECODE, truth);
    check_drafts(device, want, truth, 1, 0);
    check_drafts(device, want, truth, 3, 0);
    check_drafts(device, want, truth, 3, 2);
    check_drafts(device, want, truth, 2, 2);
    check_drafts(device, want, truth, NB_JOURNAL_ROWS - 1, 1);
    free(want);
    free(d);
    device->ops->close(device);
}

// A copy made while the journal holds five drafts, of which two are kept, up to the end of a page: both go on as if
// alone.
static void test_a_copied_slot_goes_on_like_the_original(void **state)
{
    (void)state;
    nb_device *device = open_default();
    float *want = trace_alone(device), *got = nb_alloc(TRACE * row_bytes());
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(1, 30, 1), copy;
    nb_drive_prefill(d, &seq, prompt(), 125, 125, nb_demo_get()->vocab, NULL);
    seq.n_draft = 5; // tokens 126 to 130
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt() + 125, 6, NB_DRIVE_NONE);
    nb_drive_run(d);
    seq.n_past = 128;
    copy = seq;
    copy.slot = 2;
    copy.page[2] = 90; // the first two pages are full and shared
    nb_drive_begin(d);
    nb_drive_copy(d, 1, 2);
    nb_drive_add(d, &seq, other_prompt(), 20, NB_DRIVE_NONE);
    nb_drive_run(d);
    int32_t tok = nb_drive_prefill(d, &copy, prompt() + 128, PROMPT - 128, 3, nb_demo_get()->vocab, got);
    check_same("a copied slot", want + 128 * (int64_t)nb_demo_get()->vocab, got, 0, PROMPT - 128);
    trace_decode(d, &copy, tok, got);
    check_same("a copied slot", want, got, PROMPT, DECODE);
    free(want);
    free(got);
    free(d);
    device->ops->close(device);
}

static void test_a_slot_starts_afresh_at_n_past_0(void **state)
{
    (void)state;
    nb_device *device = open_default();
    float *want = trace_alone(device), *got = trace_alone(device);
    check_same("the same slot again", want, got, 0, TRACE);
    free(want);
    free(got);
    device->ops->close(device);
}

// Speculation as an engine does it: draws confirm drafts. Returns how many were.
static int speculate(nb_drive *d, nb_drive_seq seq, int32_t tok, int n_propose, int n, int32_t *drawn)
{
    int32_t step[1 + NB_DRAFT_MAX] = {tok};
    const int32_t *proposal = d->result.proposal[0];
    int n_accepted = 0;
    for (int at = 0; at < n;) {
        int n_draft = 0;
        while (n_draft < n_propose && proposal[n_draft] >= 0) step[n_draft + 1] = proposal[n_draft], n_draft++;
        seq.n_draft = n_draft;
        nb_drive_begin(d);
        nb_drive_add(d, &seq, step, n_draft + 1, NB_DRIVE_ALL);
        nb_drive_run(d);
        int n_kept = 0;
        while (n_kept < n_draft && d->result.row[n_kept].tok == step[n_kept + 1]) n_kept++;
        for (int i = 0; i <= n_kept && at < n; i++) drawn[at++] = step[i];
        step[0] = d->result.row[n_kept].tok;
        seq.n_past -= n_draft - n_kept;
        n_accepted += n_kept;
        proposal = d->result.proposal[0];
    }
    return n_accepted;
}

static void test_speculation_gives_the_same_tokens(void **state)
{
    (void)state;
    nb_device *device = open_default();
    nb_drive *d = nb_drive_open(device);
    int32_t want[32], got[32], tok;
    nb_drive_seq seq = prefilled(d, 0, 0, 0, &tok);
    nb_drive_decode(d, &seq, tok, 32, want);
    const int n_propose[] = {1, 3, NB_DRAFT_MAX};
    for (int i = 0; i < 3; i++) {
        seq = prefilled(d, 1, 20, n_propose[i], &tok);
        int n_accepted = speculate(d, seq, tok, n_propose[i], 32, got);
        printf("[ ] %d drafts a step: %d of 32 tokens were accepted drafts\n", n_propose[i], n_accepted);
        assert_true(n_accepted > 0);
        assert_memory_equal(want, got, sizeof want);
    }
    free(d);
    device->ops->close(device);
}

// Proposals depend on the sequence alone: whole prompt, chunks, among others with fewer drafts, from a shared prefix.
static void test_proposals_depend_on_the_sequence_alone(void **state)
{
    (void)state;
    nb_device *device = open_default();
    nb_drive *d = nb_drive_open(device);
    int32_t want[NB_DRAFT_MAX], tok;
    size_t bytes = sizeof want;
    prefilled(d, 0, 0, NB_DRAFT_MAX, &tok);
    memcpy(want, d->result.proposal[0], bytes);
    assert_true(want[NB_DRAFT_MAX - 1] >= 0);

    nb_drive_seq seq = nb_drive_seq_make(1, 20, 1);
    seq.n_propose = NB_DRAFT_MAX;
    nb_drive_prefill(d, &seq, prompt(), PROMPT, 9, nb_demo_get()->vocab, NULL);
    assert_memory_equal(d->result.proposal[0], want, bytes);

    nb_drive_seq saved = nb_drive_seq_make(2, 30, 1), other = nb_drive_seq_make(4, 40, 1);
    saved.n_propose = 1;
    other.n_propose = 2;
    nb_drive_prefill(d, &saved, prompt(), 128, 128, nb_demo_get()->vocab, NULL);
    seq = saved;
    seq.slot = 3;
    seq.page[2] = 60;
    seq.n_propose = NB_DRAFT_MAX;
    nb_drive_begin(d);
    nb_drive_copy(d, 2, 3);
    nb_drive_add(d, &saved, other_prompt(), 30, NB_DRIVE_LAST); // the prefix goes on elsewhere too
    nb_drive_add(d, &other, other_prompt(), 80, NB_DRIVE_LAST);
    nb_drive_add(d, &seq, prompt() + 128, PROMPT - 128, NB_DRIVE_LAST);
    nb_drive_run(d);
    assert_memory_equal(d->result.proposal[2], want, bytes);
    assert_true(d->result.proposal[0][0] >= 0 && d->result.proposal[0][1] == -1);
    assert_true(d->result.proposal[1][1] >= 0 && d->result.proposal[1][2] == -1);
    free(d);
    device->ops->close(device);
}

static void test_steps_submitted_ahead_equal_steps_one_by_one(void **state)
{
    (void)state;
    nb_device *device = open_default();
    float *want = trace_alone(device), *got = nb_alloc(TRACE * row_bytes());
    nb_drive *d = nb_drive_open(device);
    int32_t last = NB_TOKEN_LAST;
    nb_drive_seq seq = nb_drive_seq_make(6, 70, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), PROMPT, NB_DRIVE_LAST);
    nb_drive_submit(d);
    for (int i = 0; i <= DECODE; i++) {
        nb_drive_begin(d);
        nb_drive_add(d, &seq, &last, 1, NB_DRIVE_LAST);
        nb_drive_submit(d);
        nb_drive_wait(d);
        memcpy(got + (int64_t)(PROMPT - 1 + i) * nb_demo_get()->vocab, d->result.row[0].logits, row_bytes());
    }
    nb_drive_wait(d);
    check_same("submitted ahead", want, got, PROMPT - 1, DECODE + 1);
    free(want);
    free(got);
    free(d);
    device->ops->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_equal_the_whole_prompt),
        cmocka_unit_test(test_chunked_deltanet_equals_itself_on_its_grid),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_places_of_pages_and_slots_change_nothing),
        cmocka_unit_test(test_other_sequences_change_nothing),
        cmocka_unit_test(test_rejected_drafts_were_never_there),
        cmocka_unit_test(test_a_copied_slot_goes_on_like_the_original),
        cmocka_unit_test(test_a_slot_starts_afresh_at_n_past_0),
        cmocka_unit_test(test_speculation_gives_the_same_tokens),
        cmocka_unit_test(test_proposals_depend_on_the_sequence_alone),
        cmocka_unit_test(test_steps_submitted_ahead_equal_steps_one_by_one),
    };
    return nb_test_run("cpu_metamorphic", tests);
}
