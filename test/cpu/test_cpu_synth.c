// Whole small models of dummy weights in every mix of formats and both families: vector kernels against scalar ones,
// and chunks against the whole prompt.
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_device.h"
#include "model/bind.h"
#include "model/synth.h"
#include "support/drive.h"

enum { N_TOK = 80, VOCAB = 96 };

static const char gated_text[] =
    "{\"model_type\": \"qwen3_5_moe\", \"text_config\": {\"hidden_size\": 128, \"num_hidden_layers\": 4,"
    "\"layer_types\": [\"linear_attention\", \"linear_attention\", \"linear_attention\", \"full_attention\"],"
    "\"vocab_size\": 96, \"max_position_embeddings\": 4096, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    "\"head_dim\": 32, \"attn_output_gate\": true, \"linear_num_key_heads\": 2, \"linear_num_value_heads\": 4,"
    "\"linear_key_head_dim\": 32, \"linear_value_head_dim\": 32, \"linear_conv_kernel_dim\": 4, \"num_experts\": 8,"
    "\"num_experts_per_tok\": 3, \"moe_intermediate_size\": 48, \"shared_expert_intermediate_size\": 32,"
    "\"mtp_num_hidden_layers\": 1, \"eos_token_id\": 1, \"rope_parameters\": {\"rope_theta\": 10000,"
    "\"partial_rotary_factor\": 0.5, \"mrope_section\": [4, 2, 2], \"mrope_interleaved\": true}}}";

static const char plain_text[] =
    "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 128, \"num_hidden_layers\": 3, \"vocab_size\": 96,"
    "\"max_position_embeddings\": 4096, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 32,"
    "\"num_experts\": 8, \"num_experts_per_tok\": 3, \"moe_intermediate_size\": 48, \"norm_topk_prob\": true,"
    "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"eos_token_id\": 1, \"rms_norm_eps\": 1e-6,"
    "\"rope_theta\": 1000000, \"tie_word_embeddings\": false}";

static nb_model *make_model(const char *text, nb_mix mix)
{
    nb_error err;
    nb_model *model;
    nb_config *config = nb_alloc(sizeof *config);
    nb_test_ok(nb_config_parse(nb_str_from(text), NB_STR(""), NB_STR(""), config, &err), &err);
    nb_test_ok(nb_synth_model(config, mix, 7, 0, &model, &err), &err);
    nb_test_ok(nb_synth_materialize(model, &err), &err);
    free(config);
    return model;
}

static void run(const nb_model *model, nb_cpu_kernels kernels, int chunk, float *logits)
{
    nb_error err;
    nb_device *device;
    int32_t tok[N_TOK];
    nb_reserve r = {.kv = NB_KV_BF16, .n_slot = 1, .n_page = 2, .max_tok = N_TOK, .max_seq = 1, .max_row = N_TOK};
    for (int i = 0; i < N_TOK; i++) tok[i] = (i * 37 + i / 5) % VOCAB;
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){.kernels = kernels, .n_thread = 2}, &device, &err), &err);
    nb_test_ok(device->ops->load(device, model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    nb_drive_prefill(d, &seq, tok, N_TOK, chunk, VOCAB, logits);
    free(d);
    device->ops->close(device);
}

static void check_model(const char *text, nb_mix mix)
{
    static float scalar[N_TOK * VOCAB], best[N_TOK * VOCAB], chunks[N_TOK * VOCAB];
    nb_model *model = make_model(text, mix);
    run(model, NB_CPU_SCALAR, N_TOK, scalar);
    run(model, NB_CPU_AUTO, N_TOK, best);
    run(model, NB_CPU_AUTO, 7, chunks);
    nb_model_close(model);
    double largest = 0;
    for (int i = 0; i < N_TOK * VOCAB; i++) largest = fmax(largest, fabs(scalar[i]));
    assert_true(largest > 0.01 && isfinite(largest));
    nb_test_close("vector kernels", best, scalar, N_TOK * VOCAB, 0.02 * largest);
    assert_memory_equal(chunks, best, sizeof best);
}

static void test_the_hybrid_family(void **state)
{
    (void)state;
    for (int mix = 0; mix < NB_MIX_COUNT; mix++) check_model(gated_text, (nb_mix)mix);
}

static void test_the_plain_family(void **state)
{
    (void)state;
    for (int mix = 0; mix < NB_MIX_COUNT; mix++) check_model(plain_text, (nb_mix)mix);
}

static void test_dummies_without_values_are_refused(void **state)
{
    (void)state;
    nb_error err;
    nb_device *device;
    nb_model *model;
    nb_config *config = nb_alloc(sizeof *config);
    nb_test_ok(nb_config_parse(nb_str_from(plain_text), NB_STR(""), NB_STR(""), config, &err), &err);
    nb_test_ok(nb_synth_model(config, NB_MIX_BF16, 7, 0, &model, &err), &err);
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &device, &err), &err);
    nb_test_fails(device->ops->load(device, model, &err), &err, "nb_synth_materialize");
    device->ops->close(device);
    nb_model_close(model);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_hybrid_family),
        cmocka_unit_test(test_the_plain_family),
        cmocka_unit_test(test_dummies_without_values_are_refused),
    };
    return nb_test_run("cpu_synth", tests);
}
