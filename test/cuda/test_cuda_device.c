// The CUDA device as a neighbour: wrong batches are refused and change nothing, results live until the next wait, and no
// number of steps takes memory. The demo; skipped where there is no GPU.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/cuda_device.h"
#include "numeric/random.h"
#include "support/check.h"
#include "support/demo.h"
#include "support/drive.h"

static nb_device *open_gpu(void)
{
    nb_error err;
    nb_device *device;
    if (nb_cuda_open(&(nb_cuda_options){.gpu_memory_utilization = 0.5, .mtp = true}, &device, &err)) skip();
    nb_reserve r = {.kv = NB_KV_FP8,
                    .n_slot = NB_DRIVE_SEQS,
                    .n_page = NB_DRIVE_SEQS * NB_DRIVE_PAGES,
                    .max_tok = NB_DRIVE_TOKENS,
                    .max_seq = NB_DRIVE_SEQS,
                    .max_row = NB_DRIVE_TOKENS};
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    return device;
}

static void refused(nb_drive *d, const char *part)
{
    nb_error err;
    nb_test_fails(d->device->ops->submit(d->device, &d->batch, &err), &err, part);
}

static void wrong_batches_are_refused_and_change_nothing(void **state)
{
    (void)state;
    nb_device *device = open_gpu();
    nb_drive *d = nb_drive_open(device);
    const int32_t *tok = nb_demo_i32("tool.ids", NULL), last = NB_TOKEN_LAST;
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1), wrong = nb_drive_seq_make(1, 40, 1);
    nb_drive_prefill(d, &seq, tok, 70, 70, nb_demo_get()->vocab, NULL);

    nb_drive_begin(d); // a good sequence before the bad one must not advance either
    nb_drive_add(d, &seq, tok + 70, 30, NB_DRIVE_LAST);
    wrong.n_past = 5;
    nb_drive_add(d, &wrong, tok, 1, NB_DRIVE_LAST);
    refused(d, "slot 1");
    seq.n_past = 70;
    nb_drive_begin(d);
    nb_drive_add(d, &seq, tok + 70, 1, NB_DRIVE_LAST);
    d->seq[0].slot = NB_DRIVE_SEQS;
    refused(d, "slot");
    d->seq[0].slot = 0, d->page[1] = NB_DRIVE_SEQS * NB_DRIVE_PAGES;
    refused(d, "page");
    d->page[1] = 1, d->tok[0] = nb_demo_get()->vocab;
    refused(d, "vocabulary");
    seq.n_past = 70, wrong = nb_drive_seq_make(2, 80, 1);
    nb_drive_prefill(d, &wrong, tok, 3, 3, nb_demo_get()->vocab, NULL);
    nb_drive_begin(d);
    wrong.n_past = 2; // tokens that were no drafts cannot be dropped
    nb_drive_add(d, &wrong, tok, 1, NB_DRIVE_LAST);
    refused(d, "n_past");
    wrong = nb_drive_seq_make(3, 100, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &wrong, tok, 3, NB_DRIVE_NONE);
    nb_drive_run(d);
    nb_drive_begin(d);
    nb_drive_add(d, &wrong, &last, 1, NB_DRIVE_LAST);
    refused(d, "sampled nothing");

    nb_drive_begin(d);
    nb_drive_add(d, &seq, tok + 70, 1, NB_DRIVE_LAST);
    nb_drive_run(d);
    assert_int_equal(d->result.n_row, 1);
    free(d);
    device->ops->close(device);
}

static void a_result_lives_until_the_next_wait(void **state)
{
    (void)state;
    nb_device *device = open_gpu();
    nb_drive *d = nb_drive_open(device);
    nb_error err;
    int32_t last = NB_TOKEN_LAST;
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    nb_drive_prefill(d, &seq, nb_demo_i32("tool.ids", NULL), 70, 70, nb_demo_get()->vocab, NULL);
    for (int i = 0; i < NB_IN_FLIGHT; i++) {
        nb_drive_begin(d);
        nb_drive_add(d, &seq, &last, 1, NB_DRIVE_LAST);
        nb_drive_submit(d);
    }
    nb_test_fails(device->ops->submit(device, &d->batch, &err), &err, "under way");
    nb_drive_wait(d);
    nb_row_result kept = d->result.row[0];
    float logit = kept.logits[7];
    nb_drive_begin(d);
    nb_drive_add(d, &seq, &last, 1, NB_DRIVE_LAST);
    nb_drive_submit(d);
    usleep(20000); // the new steps are done by now
    assert_int_equal(d->result.row[0].tok, kept.tok);
    assert_true(d->result.row[0].logits[7] == logit);
    nb_drive_wait(d);
    nb_drive_wait(d);
    free(d);
    device->ops->close(device);
}

static uint32_t any(uint32_t n)
{
    static uint64_t counter;
    return nb_random_philox(3, counter++, 0).v[0] % n;
}

// Random steps of all kinds over all slots: starts, chunks, decodes, drafts, copies.
static void random_step(nb_drive *d, nb_drive_seq *seq)
{
    int32_t tok[96];
    int n_seq = 1 + (int)any(NB_DRIVE_SEQS / 2), first = (int)any(NB_DRIVE_SEQS);
    nb_drive_begin(d);
    bool decode = any(3) > 0;
    for (int i = 0; i < n_seq; i++) {
        nb_drive_seq *s = &seq[(first + i) % NB_DRIVE_SEQS];
        int n = s->n_past == 0 || !decode ? 1 + (int)any(90) : 1;
        if (s->n_past + n + 16 > NB_DRIVE_PAGES * NB_PAGE_TOKENS) s->n_past = 0;
        s->n_draft = n == 1 && any(4) == 0 && s->n_past ? (int)any(8) : 0;
        s->n_propose = (int)any(3);
        n += s->n_draft;
        for (int k = 0; k < n; k++) tok[k] = (int32_t)any((uint32_t)nb_demo_get()->vocab);
        int dropped = s->n_draft ? (int)any((uint32_t)s->n_draft + 1) : 0;
        nb_drive_add(d, s, tok, n, any(2) ? NB_DRIVE_ALL : NB_DRIVE_LAST);
        s->n_past -= dropped;
    }
    nb_drive_run(d);
}

static long resident_pages(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &total, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return resident;
}

static void steps_take_no_memory(void **state)
{
    (void)state;
    enum { WARM = 400, STEPS = 3000, SLACK_PAGES = 1024 };
    nb_device *device = open_gpu();
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq[NB_DRIVE_SEQS];
    nb_memory before, after;
    long resident = 0;
    for (int i = 0; i < NB_DRIVE_SEQS; i++) seq[i] = nb_drive_seq_make(i, i * NB_DRIVE_PAGES, 1);
    for (int i = 0; i < WARM + STEPS; i++) {
        if (i == WARM) device->ops->memory(device, &before), resident = resident_pages();
        random_step(d, seq);
    }
    device->ops->memory(device, &after);
    print_message("%d steps: %lld bytes of the GPU and %ld pages of the host more\n", STEPS,
                  (long long)(before.free_bytes - after.free_bytes), resident_pages() - resident);
    assert_int_equal(after.free_bytes, before.free_bytes);
    assert_true(resident_pages() - resident < SLACK_PAGES);
    free(d);
    device->ops->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_batches_are_refused_and_change_nothing),
        cmocka_unit_test(a_result_lives_until_the_next_wait),
        cmocka_unit_test(steps_take_no_memory),
    };
    return nb_test_run("cuda_device", tests);
}
