// What must not change a sequence on the GPU: how its prompt is cut, what else is in the batch, where its pages and its
// slot lie, drafts that were proposed and rejected, copies of its slot, steps submitted ahead. Other kernels and other
// orders of sums serve these cases. Each is run twice: with taps, which show where experts part and so which rows
// differ by roundings alone (support/trace.h), and without, because taps take a batch of one token away from the kernel
// that serves it. The demo; skipped where there is no GPU.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_device.h"
#include "support/check.h"
#include "support/demo.h"
#include "support/drive.h"
#include "support/trace.h"

enum { PROMPT = 135, DECODE = 8, TRACE = PROMPT + DECODE, ROOM = TRACE + NB_JOURNAL_ROWS };
enum { WINDOWS = NB_DRIVE_SEQS, WINDOW = 40, STEP = 16 }; // WINDOWS * WINDOW tokens are a batch for wgmma

static const double LEAD = 2; // as in docs/numerics.md

static const int32_t *prompt(void)
{
    return nb_demo_i32("tool.ids", NULL);
}

static const int32_t *other_prompt(void)
{
    return nb_demo_i32("recall.ids", NULL);
}

static int64_t vocab(void)
{
    return nb_demo_get()->vocab;
}

static nb_device *open_gpu(nb_kv_format kv)
{
    nb_error err;
    nb_device *device;
    nb_cuda_options o = {.gpu_memory_utilization = 0.5, .mtp = true};
    if (nb_cuda_open(&o, &device, &err)) skip();
    nb_reserve r = {.kv = kv,
                    .n_slot = NB_DRIVE_SEQS,
                    .n_page = NB_DRIVE_SEQS * NB_DRIVE_PAGES,
                    .max_tok = NB_DRIVE_TOKENS,
                    .max_seq = NB_DRIVE_SEQS,
                    .max_row = NB_DRIVE_TOKENS};
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    return device;
}

// The batch that was collected, whose i-th sequence is the one that is traced, from row `to` on.
static void trace_step(nb_trace *t, nb_drive *d, int i_seq, int to, bool tapped)
{
    int first[NB_DRIVE_SEQS];
    for (int i = 0; i < NB_DRIVE_SEQS; i++) first[i] = i == i_seq ? to : -1;
    nb_trace_step(t, d, first, tapped);
}

static void trace_chunks(nb_trace *t, nb_drive *d, nb_drive_seq *seq, int n, int chunk, bool tapped)
{
    for (int end = seq->n_past + n; seq->n_past < end;) {
        int from = seq->n_past, n_new = end - from < chunk ? end - from : chunk;
        nb_drive_begin(d);
        nb_drive_add(d, seq, prompt() + from, n_new, NB_DRIVE_ALL);
        trace_step(t, d, 0, from, tapped);
    }
}

// Logits of every prompt token and of DECODE more: the same tokens in each trace, so that a near tie changes nothing.
static nb_trace *trace_run(nb_device *device, nb_drive_seq seq, int chunk, bool tapped)
{
    nb_trace *t = nb_trace_open(nb_demo_get()->model, ROOM);
    nb_drive *d = nb_drive_open(device);
    trace_chunks(t, d, &seq, PROMPT, chunk, tapped);
    trace_chunks(t, d, &seq, DECODE, 1, tapped);
    free(d);
    return t;
}

static nb_trace *trace_alone(nb_device *device)
{
    return trace_run(device, nb_drive_seq_make(0, 0, 1), PROMPT, true);
}

static void check_near(const char *what, const nb_trace *want, nb_trace *got, bool tapped, int from, int n_row,
                       const nb_trace_bounds *bounds)
{
    char text[64];
    snprintf(text, sizeof text, "%s%s", what, tapped ? "" : ", no taps");
    nb_trace_compare(text, want, got, &(nb_trace_rows){.n = from + n_row, .logits_at = from}, 1, bounds);
    nb_trace_close(got);
}

static int argmax(const float *x)
{
    int best = 0;
    for (int i = 1; i < vocab(); i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static double lead_of(const float *x)
{
    int best = argmax(x);
    double second = -INFINITY;
    for (int i = 0; i < vocab(); i++)
        if (i != best && x[i] > second) second = x[i];
    return x[best] - second;
}

static void check_chunks(nb_kv_format kv, const nb_trace_bounds *bounds)
{
    static const int chunk[] = {1, 7, 33, 64, 100};
    nb_device *device = open_gpu(kv);
    nb_trace *want = trace_alone(device);
    for (int i = 0; i < 2 * (int)(sizeof chunk / sizeof *chunk); i++) {
        char what[32];
        snprintf(what, sizeof what, "chunks of %d", chunk[i / 2]);
        check_near(what, want, trace_run(device, nb_drive_seq_make(1, 20, 1), chunk[i / 2], i % 2), i % 2, 0, TRACE,
                   bounds);
    }
    nb_trace_close(want);
    device->ops->close(device);
}

static void chunks_equal_the_whole_prompt(void **state)
{
    (void)state;
    check_chunks(NB_KV_BF16, &nb_trace_bounds_bf16);
}

static void chunks_equal_the_whole_prompt_fp8(void **state)
{
    (void)state;
    check_chunks(NB_KV_FP8, &nb_trace_bounds_fp8);
}

static void places_of_pages_and_slots_change_nothing(void **state)
{
    (void)state;
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_trace *want = trace_alone(device);
    for (int tapped = 0; tapped < 2; tapped++)
        check_near("other places", want,
                   trace_run(device, nb_drive_seq_make(NB_DRIVE_SEQS - 1, 300, -7), PROMPT, tapped), tapped, 0, TRACE,
                   &nb_trace_bounds_bf16);
    nb_trace_close(want);
    device->ops->close(device);
}

// The prompt beside three others, one of them starting, one decoding, one in a long chunk.
static nb_trace *trace_beside_others(nb_device *device, bool tapped)
{
    nb_trace *t = nb_trace_open(nb_demo_get()->model, ROOM);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1), other[3];
    for (int i = 0; i < 3; i++) other[i] = nb_drive_seq_make(1 + i, 40 * (1 + i), 1);
    nb_drive_prefill(d, &other[1], other_prompt(), 90, 90, (int)vocab(), NULL);
    nb_drive_begin(d);
    nb_drive_add(d, &other[0], other_prompt(), 5, NB_DRIVE_LAST);
    nb_drive_add(d, &seq, prompt(), PROMPT, NB_DRIVE_ALL);
    nb_drive_add(d, &other[1], other_prompt() + 90, 1, NB_DRIVE_LAST);
    nb_drive_add(d, &other[2], other_prompt(), 200, NB_DRIVE_LAST);
    trace_step(t, d, 1, 0, tapped);
    for (int i = 0; i < DECODE; i++) {
        nb_drive_begin(d);
        for (int k = 0; k <= i % 3; k++) nb_drive_add(d, &other[k], other_prompt() + 200 + i, 1 + k * 9, NB_DRIVE_LAST);
        nb_drive_add(d, &seq, prompt() + PROMPT + i, 1, NB_DRIVE_LAST);
        trace_step(t, d, 1 + i % 3, PROMPT + i, tapped);
    }
    free(d);
    return t;
}

static void other_sequences_change_nothing(void **state)
{
    (void)state;
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_trace *want = trace_alone(device);
    for (int tapped = 0; tapped < 2; tapped++)
        check_near("in a batch", want, trace_beside_others(device, tapped), tapped, 0, TRACE, &nb_trace_bounds_bf16);
    nb_trace_close(want);
    device->ops->close(device);
}

// WINDOWS starts of texts, so that many rows come before their sequence's first flip; n_beside of them in a batch.
static nb_trace *trace_windows(nb_device *device, int n_beside, int chunk, bool tapped)
{
    nb_trace *t = nb_trace_open(nb_demo_get()->model, WINDOWS * WINDOW);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq[WINDOWS];
    for (int i = 0; i < WINDOWS; i++) seq[i] = nb_drive_seq_make(i, i * NB_DRIVE_PAGES, 1);
    for (int from = 0; from < WINDOWS; from += n_beside)
        for (int at = 0; at < WINDOW; at += chunk) {
            int first[WINDOWS];
            nb_drive_begin(d);
            for (int i = 0; i < n_beside; i++) {
                first[i] = (from + i) * WINDOW + at;
                nb_drive_add(d, &seq[from + i], other_prompt() + (from + i) * STEP + at, chunk, NB_DRIVE_ALL);
            }
            nb_trace_step(t, d, first, tapped);
        }
    free(d);
    return t;
}

static void check_windows(const char *what, nb_device *device, const nb_trace *want, int n_beside, int chunk)
{
    nb_trace_rows seq[WINDOWS];
    for (int i = 0; i < WINDOWS; i++) seq[i] = (nb_trace_rows){i * WINDOW, WINDOW, i * WINDOW};
    for (int tapped = 0; tapped < 2; tapped++) {
        char text[64];
        snprintf(text, sizeof text, "%s%s", what, tapped ? "" : ", no taps");
        nb_trace *got = trace_windows(device, n_beside, chunk, tapped);
        nb_trace_compare(text, want, got, seq, WINDOWS, &nb_trace_bounds_bf16);
        nb_trace_close(got);
    }
}

static void starts_of_sequences_differ_by_roundings_alone(void **state)
{
    (void)state;
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_trace *want = trace_windows(device, 1, WINDOW, true);
    check_windows("starts, token by token", device, want, 1, 1);
    check_windows("starts, two beside each other, token by token", device, want, 2, 1);
    check_windows("starts, all in one batch", device, want, WINDOWS, WINDOW);
    check_windows("starts, all beside each other, token by token", device, want, WINDOWS, 1);
    nb_trace_close(want);
    device->ops->close(device);
}

// Decodes with n_draft drafts a step, of which the first n_right are the true tokens.
static nb_trace *trace_drafts(nb_device *device, int n_draft, int n_right, bool tapped)
{
    nb_trace *t = nb_trace_open(nb_demo_get()->model, ROOM);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(1, 30, 1);
    trace_chunks(t, d, &seq, PROMPT, PROMPT, tapped);
    for (int at = 0; at < DECODE;) {
        int32_t tok[NB_JOURNAL_ROWS];
        for (int i = 0; i <= n_draft; i++)
            tok[i] = i <= n_right ? prompt()[PROMPT + at + i] : (int32_t)(77 * i + at + 1);
        seq.n_draft = n_draft;
        nb_drive_begin(d);
        nb_drive_add(d, &seq, tok, n_draft + 1, NB_DRIVE_ALL);
        trace_step(t, d, 0, PROMPT + at, tapped);
        seq.n_past -= n_draft - n_right;
        at += n_right + 1;
    }
    free(d);
    return t;
}

static void check_drafts(nb_device *device, const nb_trace *want, int n_draft, int n_right)
{
    char what[64];
    snprintf(what, sizeof what, "%d drafts, %d of them right", n_draft, n_right);
    for (int tapped = 0; tapped < 2; tapped++)
        check_near(what, want, trace_drafts(device, n_draft, n_right, tapped), tapped, 0, TRACE, &nb_trace_bounds_bf16);
}

static void rejected_drafts_were_never_there(void **state)
{
    (void)state;
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_trace *want = trace_alone(device);
    check_drafts(device, want, 1, 0);
    check_drafts(device, want, 3, 0);
    check_drafts(device, want, 3, 2);
    check_drafts(device, want, 2, 2);
    check_drafts(device, want, NB_DRAFT_MAX, 5);
    check_drafts(device, want, NB_JOURNAL_ROWS - 1, 1);
    nb_trace_close(want);
    device->ops->close(device);
}

// A copy made while the journal holds five drafts, of which two are kept, up to the end of a page: both go on as if
// alone.
static nb_trace *trace_copy(nb_device *device, bool tapped)
{
    nb_trace *t = nb_trace_open(nb_demo_get()->model, ROOM);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(1, 30, 1), copy;
    trace_chunks(t, d, &seq, 125, 125, tapped);
    seq.n_draft = 5;
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt() + 125, 6, NB_DRIVE_ALL);
    trace_step(t, d, 0, 125, tapped);
    seq.n_past = 128;
    copy = seq;
    copy.slot = 2;
    copy.page[2] = 90; // the first two pages are full and shared
    nb_drive_begin(d);
    nb_drive_copy(d, 1, 2);
    nb_drive_add(d, &seq, other_prompt(), 20, NB_DRIVE_NONE);
    nb_drive_run(d);
    trace_chunks(t, d, &copy, PROMPT - 128, 3, tapped);
    free(d);
    return t;
}

static void a_copied_slot_goes_on_like_the_original(void **state)
{
    (void)state;
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_trace *want = trace_alone(device);
    for (int tapped = 0; tapped < 2; tapped++)
        check_near("a copied slot", want, trace_copy(device, tapped), tapped, 128, PROMPT - 128, &nb_trace_bounds_bf16);
    nb_trace_close(want);
    device->ops->close(device);
}

static void a_slot_starts_afresh_at_n_past_0(void **state)
{
    (void)state;
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_trace *want = trace_alone(device);
    check_near("the same slot again", want, trace_alone(device), true, 0, TRACE, &nb_trace_bounds_bf16);
    nb_trace_close(want);
    device->ops->close(device);
}

// Greedy tokens with proposals as drafts, as an engine would, against greedy tokens one by one. Where they part, the
// first two logits must be near each other.
static void speculation_gives_the_same_tokens(void **state)
{
    (void)state;
    enum { N = 48 };
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_drive *d = nb_drive_open(device);
    int32_t want[N], step[1 + NB_DRAFT_MAX], first;
    double lead[N];
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    first = want[0] = nb_drive_prefill(d, &seq, prompt(), PROMPT, PROMPT, (int)vocab(), NULL);
    for (int i = 0; i < N; i++) {
        nb_drive_begin(d);
        nb_drive_add(d, &seq, &want[i], 1, NB_DRIVE_LAST);
        nb_drive_run(d);
        lead[i] = lead_of(d->result.row[0].logits);
        if (i + 1 < N) want[i + 1] = d->result.row[0].tok;
    }
    seq = nb_drive_seq_make(1, 40, 1);
    seq.n_propose = 4;
    step[0] = nb_drive_prefill(d, &seq, prompt(), PROMPT, 50, (int)vocab(), NULL);
    assert_int_equal(step[0], first);
    int at = 0, n_accepted = 0, n_step = 0;
    bool parted = false;
    for (; at < N && !parted; n_step++) {
        int n_draft = 0, kept = 0;
        const int32_t *proposal = d->result.proposal[0];
        for (; n_draft < 4 && proposal[n_draft] >= 0; n_draft++) step[1 + n_draft] = proposal[n_draft];
        seq.n_draft = n_draft;
        nb_drive_begin(d);
        nb_drive_add(d, &seq, step, n_draft + 1, NB_DRIVE_ALL);
        nb_drive_run(d);
        while (kept < n_draft && d->result.row[kept].tok == step[kept + 1]) kept++;
        for (int i = 0; i <= kept && at < N && !parted; i++, at++)
            if (step[i] != want[at]) {
                print_message("parted at token %d, where the lead was %.3f\n", at, lead[at - 1]);
                assert_true(lead[at - 1] < LEAD);
                parted = true;
            }
        step[0] = d->result.row[kept].tok;
        seq.n_past -= n_draft - kept, n_accepted += kept;
    }
    print_message("%d tokens in %d steps; %d were accepted drafts\n", at, n_step, n_accepted);
    assert_true(n_accepted > 0);
    free(d);
    device->ops->close(device);
}

static void steps_submitted_ahead_equal_steps_one_by_one(void **state)
{
    (void)state;
    enum { N = 40 };
    nb_device *device = open_gpu(NB_KV_BF16);
    nb_drive *d = nb_drive_open(device);
    int32_t want[N], last = NB_TOKEN_LAST, first;
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    first = nb_drive_prefill(d, &seq, prompt(), PROMPT, PROMPT, (int)vocab(), NULL);
    nb_drive_decode(d, &seq, first, N, want);
    seq = nb_drive_seq_make(6, 70, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), PROMPT, NB_DRIVE_LAST);
    nb_drive_submit(d);
    for (int i = 0; i < N; i++) {
        nb_drive_begin(d);
        nb_drive_add(d, &seq, &last, 1, NB_DRIVE_LAST);
        nb_drive_submit(d);
        nb_drive_wait(d);
        assert_int_equal(d->result.row[0].tok, want[i]); // the same kernels in the same order: exact
    }
    nb_drive_wait(d);
    free(d);
    device->ops->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_equal_the_whole_prompt),
        cmocka_unit_test(chunks_equal_the_whole_prompt_fp8),
        cmocka_unit_test(places_of_pages_and_slots_change_nothing),
        cmocka_unit_test(other_sequences_change_nothing),
        cmocka_unit_test(starts_of_sequences_differ_by_roundings_alone),
        cmocka_unit_test(rejected_drafts_were_never_there),
        cmocka_unit_test(a_copied_slot_goes_on_like_the_original),
        cmocka_unit_test(a_slot_starts_afresh_at_n_past_0),
        cmocka_unit_test(speculation_gives_the_same_tokens),
        cmocka_unit_test(steps_submitted_ahead_equal_steps_one_by_one),
    };
    return nb_test_run("cuda_metamorphic", tests);
}
