// The CUDA device as a neighbour: wrong batches are refused and change nothing, results live until the next wait, and
// no number of steps takes memory. The demo; skipped where there is no GPU.
#include <stdlib.h>
#include <unistd.h>

#include "cuda/cuda_device.h"
#include "support/check.h"
#include "support/demo.h"
#include "support/random_steps.h"

static nb_device *open_with(nb_reserve r)
{
    nb_error err;
    nb_device *device;
    if (nb_cuda_open(&(nb_cuda_options){.gpu_memory_utilization = 0.5, .mtp = true}, &device, &err)) skip();
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    return device;
}

static nb_device *open_gpu(void)
{
    return open_with(nb_random_steps_reserve(NB_KV_FP8));
}

static void saved_states_of_a_small_model_are_one_a_sequence_and_32(void **state)
{
    (void)state;
    nb_reserve r = {.kv = NB_KV_FP8, .n_slot = 8, .fit_saved = true, .max_tok = 64, .max_seq = 8, .max_row = 8};
    nb_device *device = open_with(r);
    nb_memory m;
    device->ops->memory(device, &m);
    assert_int_equal(m.n_slot, 8 + 8 + 32);
    assert_int_equal(m.state_bytes, (m.n_slot + 1) * m.slot_bytes); // and the padding's
    assert_true(m.n_page > 0);
    device->ops->close(device);
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

static void steps_take_no_memory(void **state)
{
    (void)state;
    enum { WARM = 400, STEPS = 3000, SLACK_BYTES = 4 << 20 };
    nb_device *device = open_gpu();
    nb_random_steps r;
    nb_memory before, after;
    nb_random_steps_open(&r, device, nb_demo_get()->vocab);
    nb_random_steps_run(&r, WARM);
    device->ops->memory(device, &before);
    int64_t resident = nb_random_steps_resident();
    nb_random_steps_run(&r, STEPS);
    device->ops->memory(device, &after);
    int64_t more = nb_random_steps_resident() - resident;
    print_message("%d steps: %lld bytes of the GPU and %lld of the host more\n", STEPS,
                  (long long)(before.free_bytes - after.free_bytes), (long long)more);
    assert_int_equal(after.free_bytes, before.free_bytes);
    assert_true(more < SLACK_BYTES);
    nb_random_steps_close(&r);
    device->ops->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_batches_are_refused_and_change_nothing),
        cmocka_unit_test(a_result_lives_until_the_next_wait),
        cmocka_unit_test(steps_take_no_memory),
        cmocka_unit_test(saved_states_of_a_small_model_are_one_a_sequence_and_32),
    };
    return nb_test_run("cuda_device", tests);
}
