// Dummy models: same seed, same bytes; magnitudes that keep activations in range; every matrix has its own values.
#include <math.h>
#include <string.h>

#include "model/bind.h"
#include "model/synth.h"
#include "model/synth_values.h"
#include "support/check.h"

static nb_model *make(nb_mix mix, uint64_t seed, int n_layer)
{
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open_config(nb_test_path("models/demo"), &ckpt, &err), &err);
    nb_test_ok(nb_synth_model(nb_checkpoint_config(ckpt), mix, seed, n_layer, &model, &err), &err);
    nb_checkpoint_close(ckpt);
    return model;
}

static nb_model *make_filled(nb_mix mix, uint64_t seed)
{
    nb_model *model = make(mix, seed, 0);
    nb_error err = {0};
    nb_test_ok(nb_synth_materialize(model, &err), &err);
    return model;
}

static int check_std(void *user, const nb_bound *bound, nb_error *err)
{
    (void)user;
    (void)err;
    const nb_linear *linear = bound->linear;
    if (!linear || (int64_t)linear->n_out * linear->n_in < 4096) return NB_OK;
    float row[4096];
    double sum = 0, square = 0, n = (double)linear->n_out * linear->n_in;
    for (int i = 0; i < linear->n_out; i++) {
        nb_linear_decode_row(linear, i, row);
        for (int j = 0; j < linear->n_in; j++) sum += row[j], square += (double)row[j] * row[j];
    }
    double wanted = 1 / sqrt(linear->n_in), got = sqrt(square / n);
    assert_true(fabs(got - wanted) < 0.06 * wanted);
    assert_true(fabs(sum / n) < 0.06 * wanted);
    return NB_OK;
}

static void every_format_has_the_same_deviation(void **state)
{
    (void)state;
    for (nb_mix mix = 0; mix < NB_MIX_COUNT; mix++) {
        nb_model *model = make_filled(mix, 7);
        nb_error err = {0};
        nb_test_ok(nb_model_walk(model, check_std, NULL, &err), &err);
        nb_model_close(model);
    }
}

static void same_seed_gives_the_same_bytes_and_another_seed_others(void **state)
{
    (void)state;
    nb_model *a = make_filled(NB_MIX_PUBLISHED, 7), *b = make_filled(NB_MIX_PUBLISHED, 7);
    nb_model *c = make_filled(NB_MIX_PUBLISHED, 8);
    assert_int_equal(a->owned_bytes, b->owned_bytes);
    assert_memory_equal(a->owned, b->owned, a->owned_bytes);
    assert_true(memcmp(a->owned, c->owned, a->owned_bytes) != 0);
    const nb_expert *expert = a->layer[0].moe.expert;
    assert_true(memcmp(expert[0].gate_proj.data, expert[1].gate_proj.data, 64) != 0);
    nb_model_close(a);
    nb_model_close(b);
    nb_model_close(c);
}

// What a device does that fills its own memory: any 16 bytes, from nothing but the linear.
static void any_16_bytes_follow_from_the_seed(void **state)
{
    (void)state;
    nb_model *model = make_filled(NB_MIX_PUBLISHED, 3);
    const nb_linear *list[] = {&model->lm_head, &model->layer[3].attention.q_proj, &model->embed_tokens};
    for (int i = 0; i < 3; i++) {
        nb_synth_bytes bytes = nb_synth_16_bytes(list[i]->format, list[i]->dummy_seed, 5, list[i]->n_in);
        assert_memory_equal((const uint8_t *)list[i]->data + 80, bytes.v, 16);
    }
    nb_synth_bytes scales = nb_synth_scale_16_bytes(model->lm_head.dummy_seed, 2);
    assert_memory_equal(model->lm_head.scale + 32, scales.v, 16);
    nb_model_close(model);
}

static void layers_can_be_left_out(void **state)
{
    (void)state;
    nb_model *model = make(NB_MIX_PUBLISHED, 1, 4);
    assert_int_equal(model->config.num_hidden_layers, 4);
    assert_int_equal(model->n_deltanet, 3);
    assert_int_equal(model->n_attention, 2);
    assert_null(model->lm_head.data);
    assert_int_equal(model->lm_head.format, NB_FORMAT_NVFP4);
    nb_model_close(model);
}

static void vectors_are_plausible(void **state)
{
    (void)state;
    nb_model *model = make(NB_MIX_BF16, 1, 0);
    const nb_deltanet_weights *d = &model->layer[0].deltanet;
    for (int i = 0; i < model->config.linear_num_value_heads; i++) {
        double step = log1p(exp(d->dt_bias[i]));
        assert_true(d->A_log[i] >= 0 && d->A_log[i] <= 2.78);
        assert_true(step > 0.0009 && step < 0.11);
    }
    for (int i = 0; i < model->config.hidden_size; i++) assert_true(fabsf(model->norm[i] - 1) <= 0.1001f);
    nb_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_has_the_same_deviation),
        cmocka_unit_test(same_seed_gives_the_same_bytes_and_another_seed_others),
        cmocka_unit_test(any_16_bytes_follow_from_the_seed),
        cmocka_unit_test(layers_can_be_left_out),
        cmocka_unit_test(vectors_are_plausible),
    };
    return nb_test_run("model/synth", tests);
}
