// Configurations: every published one gives the right shapes or a clear refusal; both layouts of old and new releases.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "checkpoint/config.h"
#include "support/check.h"

static int parse_folder(const char *name, nb_config *out, nb_error *err)
{
    char path[512];
    snprintf(path, sizeof path, "configs/%s", name);
    const char *folder = nb_test_shared(path);
    if (!folder) skip();
    nb_arena *arena = nb_arena_open(0);
    nb_str config, quant = {0};
    nb_test_ok(nb_file_read(nb_path_join(arena, folder, "config.json"), 1 << 24, arena, &config, err), err);
    const char *quant_path = nb_path_join(arena, folder, "hf_quant_config.json");
    if (nb_file_exists(quant_path)) nb_test_ok(nb_file_read(quant_path, 1 << 24, arena, &quant, err), err);
    int code = nb_config_parse(config, (nb_str){0}, quant, out, err);
    nb_arena_close(arena);
    return code;
}

static void every_published_moe_has_its_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        nb_family family;
        int d_model, n_layer, n_full, n_head, n_kv, d_head, n_value_head, n_expert, top_k, d_ff, vocab;
        bool fp8_kv;
        nb_mix mix;
    } cases[] = {
        {"Qwen--Qwen3-30B-A3B", NB_FAMILY_QWEN3_MOE, 2048, 48, 48, 32, 4, 128, 0, 128, 8, 768, 151936, 0, NB_MIX_BF16},
        {"Qwen--Qwen3-30B-A3B-FP8", NB_FAMILY_QWEN3_MOE, 2048, 48, 48, 32, 4, 128, 0, 128, 8, 768, 151936, 0,
         NB_MIX_FP8_BLOCK},
        {"nvidia--Qwen3-235B-A22B-NVFP4", NB_FAMILY_QWEN3_MOE, 4096, 94, 94, 64, 4, 128, 0, 128, 8, 1536, 151936, 1,
         NB_MIX_LINEARS},
        {"Qwen--Qwen3.5-35B-A3B", NB_FAMILY_QWEN3_5_MOE, 2048, 40, 10, 16, 2, 256, 32, 256, 8, 512, 248320, 0,
         NB_MIX_BF16},
        {"Qwen--Qwen3.5-122B-A10B", NB_FAMILY_QWEN3_5_MOE, 3072, 48, 12, 32, 2, 256, 64, 256, 8, 1024, 248320, 0,
         NB_MIX_BF16},
        {"Qwen--Qwen3.5-397B-A17B", NB_FAMILY_QWEN3_5_MOE, 4096, 60, 15, 32, 2, 256, 64, 512, 10, 1024, 248320, 0,
         NB_MIX_BF16},
        {"nvidia--Qwen3.5-122B-A10B-NVFP4", NB_FAMILY_QWEN3_5_MOE, 3072, 48, 12, 32, 2, 256, 64, 256, 8, 1024, 248320,
         1, NB_MIX_EXPERTS},
        {"nvidia--Qwen3.5-397B-A17B-NVFP4", NB_FAMILY_QWEN3_5_MOE, 4096, 60, 15, 32, 2, 256, 64, 512, 10, 1024, 248320,
         1, NB_MIX_EXPERTS},
        {"nvidia--Qwen3.6-35B-A3B-NVFP4", NB_FAMILY_QWEN3_5_MOE, 2048, 40, 10, 16, 2, 256, 32, 256, 8, 512, 248320, 1,
         NB_MIX_PUBLISHED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_config c;
        nb_error err = {0};
        nb_test_ok(parse_folder(cases[i].name, &c, &err), &err);
        bool qwen3_5 = cases[i].family == NB_FAMILY_QWEN3_5_MOE;
        int n_full = 0;
        for (int l = 0; l < c.num_hidden_layers; l++) n_full += c.layer_type[l] == NB_LAYER_FULL_ATTENTION;
        assert_true(c.family == cases[i].family && c.hidden_size == cases[i].d_model);
        assert_true(c.num_hidden_layers == cases[i].n_layer && n_full == cases[i].n_full);
        assert_true(c.num_attention_heads == cases[i].n_head && c.num_key_value_heads == cases[i].n_kv);
        assert_true(c.head_dim == cases[i].d_head && c.linear_num_value_heads == cases[i].n_value_head);
        assert_true(c.num_experts == cases[i].n_expert && c.num_experts_per_tok == cases[i].top_k);
        assert_true(c.moe_intermediate_size == cases[i].d_ff && c.vocab_size == cases[i].vocab);
        assert_true(c.kv_cache_fp8 == cases[i].fp8_kv && c.mix == cases[i].mix);
        assert_true(c.norm_topk_prob && c.attn_output_gate == qwen3_5 && c.zero_centered_norm == qwen3_5);
        assert_true(c.mtp_num_hidden_layers == qwen3_5 && !c.tie_word_embeddings);
        assert_true(c.rope.n_rot == (qwen3_5 ? 64 : 128) && c.rope.rope_theta == (qwen3_5 ? 1e7 : 1e6));
        assert_true(c.rope.mrope_section[0] == (qwen3_5 ? 11 : 0) && c.rope.attention_factor == 1);
        assert_true(c.n_eos == 1 && c.eos_token_id[0] == (qwen3_5 ? 248044 : 151645));
    }
}

static void dense_models_are_refused_by_name(void **state)
{
    (void)state;
    nb_config c;
    nb_error err = {0};
    nb_test_fails(parse_folder("Qwen--Qwen3.5-27B", &c, &err), &err, "\"qwen3_5\", a dense model, is not supported");
    nb_test_fails(parse_folder("nvidia--Qwen3.6-27B-NVFP4", &c, &err), &err, "a dense model");
}

static const char flat[] =
    "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"vocab_size\": 100,"
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 32, \"num_experts\": 8,"
    "\"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16, \"max_position_embeddings\": 4096%s}";

// The flat configuration with more fields (", \"key\": value").
static int parse_flat(const char *more, const char *generation, nb_config *out, nb_error *err)
{
    char text[4096];
    snprintf(text, sizeof text, flat, more);
    return nb_config_parse(nb_str_from(text), nb_str_from(generation), (nb_str){0}, out, err);
}

static void end_tokens_of_both_files_are_merged(void **state)
{
    (void)state;
    nb_config c;
    nb_error err = {0};
    nb_test_ok(parse_flat(", \"eos_token_id\": 5", "{\"eos_token_id\": [7, 5], \"temperature\": 0.6, \"top_k\": 20}",
                          &c, &err),
               &err);
    assert_true(c.n_eos == 2 && c.eos_token_id[0] == 5 && c.eos_token_id[1] == 7);
    assert_true(c.temperature == 0.6 && c.top_k == 20 && c.top_p < 0);
    nb_test_ok(parse_flat(", \"eos_token_id\": null", "", &c, &err), &err);
    assert_true(c.n_eos == 0 && c.top_k < 0 && !c.norm_topk_prob);
    nb_test_fails(parse_flat("", "{\"eos_token_id\": 100}", &c, &err), &err, "generation_config.json: eos_token_id");
}

static void yarn_is_read_from_old_and_new_places(void **state)
{
    (void)state;
    static const char *const places[] = {
        ", \"rope_theta\": 1e7, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, "
        "\"original_max_position_embeddings\": 4096}",
        ", \"rope_parameters\": {\"rope_theta\": 1e7, \"rope_type\": \"yarn\", \"factor\": 4, "
        "\"original_max_position_embeddings\": 4096}",
    };
    for (int i = 0; i < 2; i++) {
        nb_config c;
        nb_error err = {0};
        nb_test_ok(parse_flat(places[i], "", &c, &err), &err);
        assert_true(c.rope.yarn && c.rope.rope_theta == 1e7 && c.rope.yarn_factor == 4);
        assert_true(c.rope.yarn_beta_fast == 32 && c.rope.yarn_beta_slow == 1);
        assert_true(fabs(c.rope.attention_factor - 1.1386294) < 1e-7);
        assert_int_equal(c.max_position_embeddings, 16384);
    }
}

static void fields_that_change_the_result_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {", \"attention_bias\": true", "attention_bias is true"},
        {", \"use_sliding_window\": true, \"sliding_window\": 512", "use_sliding_window is true"},
        {", \"mlp_only_layers\": [0]", "mlp_only_layers is [0]"},
        {", \"decoder_sparse_step\": 2", "decoder_sparse_step is 2"},
        {", \"hidden_act\": \"gelu\"", "hidden_act is \"gelu\""},
        {", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}", "rope_type \"llama3\" is not supported"},
        {", \"rope_scaling\": {\"rope_type\": \"yarn\"}", "rope_scaling.factor is missing"},
        {", \"rope_scaling\": 4", "rope_scaling must be an object"},
        {", \"layer_types\": [\"full_attention\", \"sliding_attention\"]", "layer_types[1] is \"sliding_attention\""},
        {", \"layer_types\": [\"full_attention\"]", "layer_types must be a list of num_hidden_layers = 2"},
        {", \"layer_types\": [\"full_attention\", \"linear_attention\"]", "layer_types[1]"},
        {", \"num_experts\": 4", "duplicate"},
        {", \"partial_rotary_factor\": 0.01", "partial_rotary_factor"},
        {", \"rope_parameters\": {\"mrope_section\": [1, 2, 3]}", "mrope_section"},
        {", \"rms_norm_eps\": -1", "rms_norm_eps is -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_config c;
        nb_error err = {0};
        nb_test_fails(parse_flat(cases[i][0], "", &c, &err), &err, cases[i][1]);
    }
}

static void sizes_have_limits_and_must_fit_together(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"\"hidden_size\": 64", "\"hidden_size\": 0", "hidden_size is 0; it must be between"},
        {"\"hidden_size\": 64", "\"hidden_size\": 1000000000", "hidden_size is 1000000000"},
        {"\"hidden_size\": 64", "\"hidden_size\": \"64\"", "hidden_size must be an integer"},
        {"\"hidden_size\": 64", "\"hidden_size\": 99999999999999999999", "hidden_size"},
        {"\"num_hidden_layers\": 2, ", "", "num_hidden_layers is missing"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "not a multiple"},
        {"\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 9", "more than num_experts"},
        {"\"head_dim\": 32", "\"head_dim\": 31", "must be even"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 257", "num_hidden_layers is 257"},
        {"\"qwen3_moe\"", "\"llama\"", "model_type \"llama\" is not supported"},
        {"\"qwen3_moe\"", "3", "model_type must be a string"},
        {"\"qwen3_moe\"", "\"qwen3_5_moe\"", "shared_expert_intermediate_size is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char whole[2048], text[2048];
        snprintf(whole, sizeof whole, flat, "");
        const char *at = strstr(whole, cases[i][0]);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, cases[i][1], at + strlen(cases[i][0]));
        nb_config c;
        nb_error err = {0};
        nb_test_fails(nb_config_parse(nb_str_from(text), (nb_str){0}, (nb_str){0}, &c, &err), &err, cases[i][2]);
        assert_non_null(strstr(err.text, "config.json: "));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_published_moe_has_its_shapes),
        cmocka_unit_test(dense_models_are_refused_by_name),
        cmocka_unit_test(end_tokens_of_both_files_are_merged),
        cmocka_unit_test(yarn_is_read_from_old_and_new_places),
        cmocka_unit_test(fields_that_change_the_result_are_refused),
        cmocka_unit_test(sizes_have_limits_and_must_fit_together),
    };
    return nb_test_run("checkpoint/config", tests);
}
