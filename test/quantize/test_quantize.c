// The quantizer on the miniature: names, formats and scales as programs that read ModelOpt checkpoints expect them, and
// values that decode to the encoder's.
#include "support/check.h"
#include "support/write_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/bind.h"
#include "quantize/quantize.h"

typedef struct opened {
    nb_checkpoint *ckpt;
    nb_model *model;
} opened;

static nb_error err;
static char out_folder[512];

static opened open_folder(const char *folder)
{
    opened o = {0};
    nb_test_ok(nb_checkpoint_open(folder, &o.ckpt, &err), &err);
    nb_test_ok(nb_model_bind(o.ckpt, &o.model, &err), &err);
    return o;
}

static void close_folder(opened *o)
{
    nb_model_close(o->model);
    nb_checkpoint_close(o->ckpt);
}

static const char *mini(void)
{
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    const char *folder = nb_test_mini_write(&file);
    nb_test_file_drop(&file);
    return folder;
}

static int quantize(const opened *in, const char *name, int n_thread, nb_quantize_report *report)
{
    nb_recipe recipe;
    nb_test_ok(nb_recipe_find("nvfp4", "max", &recipe, &err), &err);
    snprintf(out_folder, sizeof out_folder, "%s/%s", nb_test_tmp(), name);
    nb_quantize_options options = {.recipe = &recipe, .shard_bytes = 1 << 30, .threads = nb_threads_open(n_thread)};
    int code = nb_quantize(in->model, out_folder, &options, report, &err);
    nb_threads_close(options.threads);
    return code;
}

static void formats_follow_the_recipe(void **state)
{
    (void)state;
    nb_quantize_report report;
    opened in = open_folder(mini());
    nb_test_ok(quantize(&in, "formats", 2, &report), &err);
    opened out = open_folder(out_folder);
    const nb_layer *layer = out.model->layer;
    assert_int_equal(layer[0].moe.expert[0].gate_proj.format, NB_FORMAT_NVFP4);
    assert_int_equal(layer[0].moe.shared_expert.down_proj.format, NB_FORMAT_NVFP4);
    assert_int_equal(out.model->lm_head.format, NB_FORMAT_NVFP4);
    assert_int_equal(layer[0].deltanet.in_proj_qkv.format, NB_FORMAT_FP8);
    assert_int_equal(layer[1].attention.o_proj.format, NB_FORMAT_FP8);
    assert_int_equal(layer[0].deltanet.in_proj_a.format, NB_FORMAT_BF16);
    assert_int_equal(layer[0].moe.gate.format, NB_FORMAT_BF16);
    assert_int_equal(out.model->embed_tokens.format, NB_FORMAT_BF16);
    assert_int_equal(out.model->mtp.layer.moe.expert[0].gate_proj.format, NB_FORMAT_BF16);
    assert_true(report.out_bytes < report.in_bytes);
    assert_true(report.nvfp4_error > 0 && report.nvfp4_error < 0.02);
    close_folder(&out);
    close_folder(&in);
}

// Every expert's rows equal what the encoder makes of the source rows with the scale that gate and up share.
static void gate_and_up_share_a_scale_and_decode_to_the_encoding(void **state)
{
    (void)state;
    nb_quantize_report report;
    opened in = open_folder(mini());
    nb_test_ok(quantize(&in, "values", 1, &report), &err);
    opened out = open_folder(out_folder);
    const nb_config *c = &in.model->config;
    for (int e = 0; e < c->num_experts; e++) {
        const nb_expert *a = &in.model->layer[1].moe.expert[e], *b = &out.model->layer[1].moe.expert[e];
        assert_true(b->gate_proj.scale_2 == b->up_proj.scale_2);
        float w[64], expected[64], got[64], amax = 0;
        for (int i = 0; i < c->moe_intermediate_size; i++)
            for (int up = 0; up < 2; up++) {
                nb_linear_decode_row(up ? &a->up_proj : &a->gate_proj, i, w);
                for (int j = 0; j < c->hidden_size; j++) amax = w[j] > amax ? w[j] : -w[j] > amax ? -w[j] : amax;
            }
        assert_true(b->gate_proj.scale_2 == nb_nvfp4_scale_2(amax));
        uint8_t packed[32], scale[4];
        nb_linear_decode_row(&a->up_proj, 3, w);
        nb_nvfp4_encode_row(w, c->hidden_size, b->up_proj.scale_2, NB_NVFP4_MAX, packed, scale);
        nb_nvfp4_decode_row(packed, scale, c->hidden_size, b->up_proj.scale_2, expected);
        nb_linear_decode_row(&b->up_proj, 3, got);
        assert_memory_equal(got, expected, sizeof(float) * (size_t)c->hidden_size);
    }
    close_folder(&out);
    close_folder(&in);
}

static void metadata_speaks_modelopt(void **state)
{
    (void)state;
    nb_quantize_report report;
    opened in = open_folder(mini());
    nb_test_ok(quantize(&in, "metadata", 1, &report), &err);
    char path[600];
    snprintf(path, sizeof path, "%s/hf_quant_config.json", out_folder);
    json_t *hf = nb_test_json(path);
    const json_t *layers = json_object_get(json_object_get(hf, "quantization"), "quantized_layers");
    const json_t *experts = json_object_get(layers, "model.language_model.layers.0.mlp.experts");
    assert_string_equal(json_string_value(json_object_get(experts, "quant_algo")), "W4A16_NVFP4");
    assert_int_equal(json_integer_value(json_object_get(experts, "group_size")), 16);
    const json_t *o_proj = json_object_get(layers, "model.language_model.layers.1.self_attn.o_proj");
    assert_string_equal(json_string_value(json_object_get(o_proj, "quant_algo")), "FP8");
    json_decref(hf);
    snprintf(path, sizeof path, "%s/config.json", out_folder);
    json_t *config = nb_test_json(path);
    const json_t *quant = json_object_get(config, "quantization_config");
    assert_string_equal(json_string_value(json_object_get(quant, "quant_method")), "modelopt");
    assert_non_null(json_object_get(config, "text_config"));
    json_decref(config);
    close_folder(&in);
}

static void a_quantized_source_is_refused(void **state)
{
    (void)state;
    nb_quantize_report report;
    opened in = open_folder(mini());
    nb_test_ok(quantize(&in, "first", 1, &report), &err);
    opened out = open_folder(out_folder);
    nb_test_fails(quantize(&out, "second", 1, &report), &err, "quantized already");
    assert_false(nb_file_exists(out_folder));
    close_folder(&out);
    close_folder(&in);
}

static void unknown_recipes_and_methods_are_named(void **state)
{
    (void)state;
    nb_recipe recipe;
    nb_test_fails(nb_recipe_find("int3", "max", &recipe, &err), &err, "int3");
    nb_test_fails(nb_recipe_find("nvfp4", "best", &recipe, &err), &err, "best");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_follow_the_recipe),
        cmocka_unit_test(gate_and_up_share_a_scale_and_decode_to_the_encoding),
        cmocka_unit_test(metadata_speaks_modelopt),
        cmocka_unit_test(a_quantized_source_is_refused),
        cmocka_unit_test(unknown_recipes_and_methods_are_named),
    };
    return nb_test_run("quantize", tests);
}
