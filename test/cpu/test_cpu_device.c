// The CPU device as a device: what it refuses, its queue, its memory, what its linears see, and results of rows.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "numeric/fp8.h"
#include "support/demo.h"
#include "support/drive.h"

static const int32_t *prompt(void)
{
    return nb_demo_i32("tool.ids", NULL);
}

static nb_device *open_demo(void)
{
    return nb_demo_cpu(&(nb_cpu_options){.n_thread = 2}, NB_KV_BF16);
}

static void test_life_must_be_in_order(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device;
    nb_result result;
    nb_reserve r = {.n_slot = 1, .n_page = 1, .max_tok = 1, .max_seq = 1, .max_row = 1};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &device, &err), &err);
    nb_drive *d = nb_drive_open(device);
    nb_drive_begin(d);
    nb_test_fails(device->ops->submit(device, &d->batch, &err), &err, "before reserve");
    nb_test_fails(device->ops->wait(device, &result, &err), &err, "without a submitted step");
    nb_test_fails(device->ops->reserve(device, &r, &err), &err, "before load");
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_fails(device->ops->load(device, nb_demo_get()->model, &err), &err, "already");
    r.n_slot = 0;
    nb_test_fails(device->ops->reserve(device, &r, &err), &err, "must be positive");
    r.n_slot = 1;
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    nb_test_fails(device->ops->reserve(device, &r, &err), &err, "already");
    free(d);
    device->ops->close(device);
}

static void test_too_much_memory_is_an_error(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device;
    nb_reserve r = {.n_slot = 1, .n_page = INT32_MAX, .max_tok = 1, .max_seq = 1, .max_row = 1};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &device, &err), &err);
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_fails(device->ops->reserve(device, &r, &err), &err, "no memory");
    assert_int_equal(err.code, NB_ERR_MEMORY);
    device->ops->close(device);
}

static void test_memory_is_told_and_pages_fill_it(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device;
    nb_memory m;
    nb_reserve r = {.kv = NB_KV_FP8, .n_slot = 3, .n_page = 0, .max_tok = 4, .max_seq = 2, .max_row = 2};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &device, &err), &err);
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    device->ops->memory(device, &m);
    const nb_config *c = &nb_demo_get()->model->config;
    assert_int_equal(m.page_bytes, 3 * 2 * c->num_key_value_heads * c->head_dim * NB_PAGE_TOKENS);
    assert_true(m.n_page > 1 && m.kv_bytes >= m.n_page * m.page_bytes && m.kv_bytes < m.total_bytes);
    assert_true(m.n_slot == 3 && m.state_bytes == 3 * m.slot_bytes);
    int64_t file_bytes = 0;
    for (int64_t i = 0; i < nb_checkpoint_count(nb_demo_get()->ckpt); i++)
        file_bytes += (int64_t)nb_checkpoint_at(nb_demo_get()->ckpt, i)->n_byte;
    assert_true(m.weight_bytes >= file_bytes && m.weight_bytes < file_bytes * 101 / 100); // vectors are widened
    assert_true(m.scratch_bytes > 0);
    device->ops->close(device);
}

static void saved_states_of_a_small_model_are_one_a_sequence_and_32(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device;
    nb_memory m;
    nb_reserve r = {.n_slot = 8, .fit_saved = true, .n_page = 16, .max_tok = 8, .max_seq = 8, .max_row = 8};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &device, &err), &err);
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    device->ops->memory(device, &m);
    assert_int_equal(m.n_slot, 8 + 8 + 32);
    assert_int_equal(m.state_bytes, m.n_slot * m.slot_bytes);
    device->ops->close(device);
}

static void refuse(nb_drive *d, const char *part)
{
    nb_error err;
    nb_test_fails(d->device->ops->submit(d->device, &d->batch, &err), &err, part);
    assert_int_equal(err.code, NB_ERR_INPUT);
}

static void test_a_wrong_past_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    nb_device *device = open_demo();
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1), wrong;
    nb_drive_prefill(d, &seq, prompt(), 10, 10, nb_demo_get()->vocab, NULL);
    const int past[] = {9, 11};
    for (int i = 0; i < 2; i++) {
        wrong = seq;
        wrong.n_past = past[i];
        nb_drive_begin(d);
        nb_drive_add(d, &wrong, prompt(), 1, NB_DRIVE_NONE);
        refuse(d, "holds 10 tokens and 0 drafts");
    }
    int32_t last = NB_TOKEN_LAST;
    wrong = nb_drive_seq_make(1, 9, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &wrong, prompt(), 4, NB_DRIVE_NONE);
    nb_drive_run(d);
    nb_drive_begin(d);
    nb_drive_add(d, &wrong, &last, 1, NB_DRIVE_NONE);
    refuse(d, "sampled nothing");
    nb_drive_begin(d); // the good sequence goes on
    nb_drive_add(d, &seq, &last, 1, NB_DRIVE_LAST);
    nb_drive_run(d);
    free(d);
    device->ops->close(device);
}

static void test_only_the_last_drafts_can_be_dropped(void **state)
{
    (void)state;
    nb_device *device = open_demo();
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    seq.n_draft = 3;
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), 10, NB_DRIVE_NONE);
    nb_drive_run(d);
    seq.n_past = 6;
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), 1, NB_DRIVE_NONE);
    refuse(d, "holds 7 tokens and 3 drafts");
    free(d);
    device->ops->close(device);
}

static void test_two_steps_may_be_under_way(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device = open_demo();
    nb_drive *d = nb_drive_open(device);
    for (int i = 0; i < NB_IN_FLIGHT; i++) {
        nb_drive_seq seq = nb_drive_seq_make(i, i, 1);
        nb_drive_begin(d);
        nb_drive_add(d, &seq, prompt() + i, 20, NB_DRIVE_LAST);
        nb_drive_submit(d);
    }
    nb_test_fails(device->ops->submit(device, &d->batch, &err), &err, "under way");
    assert_int_equal(err.code, NB_ERR_LIMIT);
    // A result outlives the steps that run after it, until the next wait.
    nb_drive_wait(d);
    size_t bytes = sizeof(float) * (size_t)nb_demo_get()->vocab;
    const float *logits = d->result.row[0].logits;
    float *copy = nb_alloc(bytes);
    memcpy(copy, logits, bytes);
    nb_drive_seq seq = nb_drive_seq_make(5, 9, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt() + 7, 30, NB_DRIVE_LAST);
    nb_drive_submit(d);
    usleep(100000); // long enough for the steps behind it
    assert_memory_equal(copy, logits, bytes);
    nb_drive_wait(d);
    nb_drive_wait(d);
    free(copy);
    free(d);
    device->ops->close(device);
}

static void test_a_batch_larger_than_reserved_is_refused(void **state)
{
    (void)state;
    nb_device *device = open_demo();
    nb_drive *d = nb_drive_open(device);
    nb_drive_begin(d);
    d->batch.n_tok = NB_DRIVE_TOKENS + 1;
    refuse(d, "reserved are");
    free(d);
    device->ops->close(device);
}

static void test_steps_under_way_survive_close(void **state)
{
    (void)state;
    nb_device *device = open_demo();
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), 64, NB_DRIVE_LAST);
    nb_drive_submit(d);
    device->ops->close(device);
    free(d);
}

static void test_rows_give_what_they_are_asked_for(void **state)
{
    (void)state;
    nb_device *device = open_demo();
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), 8, NB_DRIVE_ALL);
    for (int i = 0; i < 7; i++) d->row[i].target = prompt()[i + 1], d->row[i].n_top = 2, d->row[i].flags = 0;
    nb_drive_run(d);
    assert_int_equal(d->result.n_row, 8);
    for (int i = 0; i < 7; i++) {
        const nb_row_result *r = &d->result.row[i];
        assert_true(r->tok == -1 && r->logits == NULL && r->n_top == 2 && r->target_logprob < 0 && r->target_rank >= 1);
        if (r->target_rank == 1) assert_int_equal(r->top_tok[0], prompt()[i + 1]);
        assert_true(r->top_logprob[0] >= r->top_logprob[1] && r->top_logprob[0] >= r->target_logprob);
    }
    assert_true(d->result.row[7].tok >= 0 && d->result.row[7].logits != NULL && d->result.row[7].rank == 1);
    assert_true(d->result.proposal[0][0] == -1 && d->result.device_us > 0);
    free(d);
    device->ops->close(device);
}

typedef struct seen { // LINEAR_INPUT taps of one linear
    const nb_linear *linear;
    bool bf16;   // every value was one of bf16
    float scale; // every value / scale was one of E4M3; 0: not looked at
    int n;
    float *value; // first tap's, [n_value]
    int64_t n_value;
} seen;

static void look(void *user, const nb_tap *tap)
{
    seen *s = user;
    if (tap->site != NB_TAP_LINEAR_INPUT || tap->linear != s->linear) return;
    s->n_value = tap->n_row * tap->n_col;
    s->value = nb_realloc(s->value, sizeof(float) * (size_t)s->n_value);
    for (int64_t i = 0; i < s->n_value; i++) {
        float x = s->value[i] = tap->data[i];
        s->bf16 = s->bf16 && nb_bf16_to_f32(nb_bf16_from_f32(x)) == x;
        if (s->scale > 0) assert_true(nb_e4m3_to_f32(nb_e4m3_from_f32(x / s->scale)) * s->scale == x);
    }
    s->n++;
}

static seen run_tapped(const nb_model *model, nb_cpu_options options, const nb_linear *linear, float scale)
{
    nb_error err;
    nb_device *device;
    seen s = {.linear = linear, .bf16 = true, .scale = scale};
    nb_reserve r = {.kv = NB_KV_F32, .n_slot = 1, .n_page = 1, .max_tok = 16, .max_seq = 1, .max_row = 1};
    nb_test_ok(nb_cpu_open(&options, &device, &err), &err);
    nb_test_ok(device->ops->load(device, model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    device->ops->tap(device, look, &s);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, prompt(), 16, NB_DRIVE_LAST);
    nb_drive_run(d);
    free(d);
    device->ops->close(device);
    return s;
}

static void test_bf16_activations_round_the_input_of_linears(void **state)
{
    (void)state;
    const nb_model *model = nb_demo_get()->model;
    const nb_linear *linear = &model->layer[2].deltanet.in_proj_a;
    seen exact = run_tapped(model, (nb_cpu_options){0}, linear, 0);
    seen rounded = run_tapped(model, (nb_cpu_options){.bf16_activations = true}, linear, 0);
    assert_true(exact.n == 1 && !exact.bf16 && rounded.n == 1 && rounded.bf16);
    assert_int_equal(exact.n_value, 16 * nb_demo_get()->d_model);
    nb_test_close("rounded input", rounded.value, exact.value, exact.n_value, 0.2);
    free(exact.value);
    free(rounded.value);
}

// Of an input with a scale, and of the same input without one beside it, which is BF16 where activations are.
static void check_input_scale(const nb_model *model, const nb_linear *scaled, const nb_linear *plain, bool bf16)
{
    nb_cpu_options options = {.bf16_activations = bf16};
    seen fp8 = run_tapped(model, options, scaled, scaled->input_scale), beside = run_tapped(model, options, plain, 0);
    assert_true(fp8.n == 1 && beside.n == 1 && beside.bf16 == bf16);
    for (int64_t i = 0; i < fp8.n_value; i++)
        assert_true(fp8.value[i] ==
                    nb_e4m3_to_f32(nb_e4m3_from_f32(beside.value[i] / scaled->input_scale)) * scaled->input_scale);
    free(fp8.value);
    free(beside.value);
}

// A projection of the demo as FP8 with an input scale, its neighbours as they are: its input, and only its, is E4M3.
static void test_an_input_scale_rounds_the_input_of_its_linear(void **state)
{
    (void)state;
    nb_model model = *nb_demo_get()->model;
    size_t n_layer = (size_t)model.config.num_hidden_layers;
    nb_layer *layer = nb_alloc(sizeof *layer * n_layer);
    memcpy(layer, model.layer, sizeof *layer * n_layer);
    model.layer = layer;
    nb_linear *q = &layer[3].attention.q_proj;
    uint8_t *data = nb_alloc((size_t)q->n_out * (size_t)q->n_in);
    float *row = nb_alloc(sizeof(float) * (size_t)q->n_in), weight_scale = 0.001f;
    for (int o = 0; o < q->n_out; o++) {
        nb_linear_decode_row(q, o, row);
        for (int i = 0; i < q->n_in; i++)
            data[(size_t)o * (size_t)q->n_in + (size_t)i] = nb_e4m3_from_f32(row[i] / weight_scale);
    }
    q->format = NB_FORMAT_FP8;
    q->data = data;
    q->block_scale = &weight_scale;
    q->block_out = q->n_out;
    q->block_in = q->n_in;
    q->input_scale = 0.03f;
    for (int bf16 = 0; bf16 < 2; bf16++) check_input_scale(&model, q, &layer[3].attention.k_proj, bf16);
    free(row);
    free(data);
    free(layer);
}

static void test_unknown_kernels_are_refused(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device;
    assert_int_not_equal(nb_cpu_open(&(nb_cpu_options){.kernels = (nb_cpu_kernels)99}, &device, &err), NB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_must_be_in_order),
        cmocka_unit_test(test_too_much_memory_is_an_error),
        cmocka_unit_test(test_memory_is_told_and_pages_fill_it),
        cmocka_unit_test(saved_states_of_a_small_model_are_one_a_sequence_and_32),
        cmocka_unit_test(test_a_wrong_past_is_refused_and_changes_nothing),
        cmocka_unit_test(test_only_the_last_drafts_can_be_dropped),
        cmocka_unit_test(test_two_steps_may_be_under_way),
        cmocka_unit_test(test_a_batch_larger_than_reserved_is_refused),
        cmocka_unit_test(test_steps_under_way_survive_close),
        cmocka_unit_test(test_rows_give_what_they_are_asked_for),
        cmocka_unit_test(test_bf16_activations_round_the_input_of_linears),
        cmocka_unit_test(test_an_input_scale_rounds_the_input_of_its_linear),
        cmocka_unit_test(test_unknown_kernels_are_refused),
    };
    return nb_test_run("cpu_device", tests);
}
