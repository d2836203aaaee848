// The miniature of qwen3_5_moe, and the formats that its matrices can be turned into. Only shapes, names and plausible
// values matter here: that a format decodes rightly is tested with bytes that the test states itself.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "numeric/bf16.h"
#include "support/check.h"
#include "support/write_safetensors.h"

const char nb_test_mini_config[] =
    "{\"model_type\": \"qwen3_5_moe\", \"tie_word_embeddings\": false, \"text_config\": {"
    "\"hidden_size\": 32, \"num_hidden_layers\": 2, \"layer_types\": [\"linear_attention\", \"full_attention\"],"
    "\"vocab_size\": 64, \"max_position_embeddings\": 1024, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
    "\"head_dim\": 16, \"attn_output_gate\": true, \"linear_num_key_heads\": 1, \"linear_num_value_heads\": 2,"
    "\"linear_key_head_dim\": 16, \"linear_value_head_dim\": 16, \"linear_conv_kernel_dim\": 4, \"num_experts\": 4,"
    "\"num_experts_per_tok\": 2, \"moe_intermediate_size\": 16, \"shared_expert_intermediate_size\": 16,"
    "\"mtp_num_hidden_layers\": 1, \"eos_token_id\": 1, \"rope_parameters\": {\"rope_theta\": 10000,"
    "\"partial_rotary_factor\": 0.5, \"mrope_section\": [2, 1, 1], \"mrope_interleaved\": true}}}\n";

static void set_bf16(nb_test_tensor *t, int64_t i, float value)
{
    uint16_t half = nb_bf16_from_f32(value);
    memcpy(t->data + 2 * i, &half, 2);
}

// Values in (-0.5, 0.5) that differ from tensor to tensor.
static void add(nb_test_file *file, const char *prefix, const char *name, int64_t a, int64_t b, int64_t c)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    int64_t dim[3] = {a, b, c};
    nb_test_tensor *t = nb_test_file_add(file, full, "BF16", c ? 3 : b ? 2 : 1, dim);
    uint32_t state = 1;
    for (const char *p = full; *p; p++) state = state * 31 + (uint8_t)*p;
    for (int64_t i = 0; i < (int64_t)t->n_byte / 2; i++) {
        state = state * 1664525u + 1013904223u;
        set_bf16(t, i, (float)(state >> 8) / 16777216.0f - 0.5f);
    }
}

static void add_moe(nb_test_file *file, const char *p)
{
    add(file, p, "input_layernorm.weight", 32, 0, 0);
    add(file, p, "post_attention_layernorm.weight", 32, 0, 0);
    add(file, p, "mlp.gate.weight", 4, 32, 0);
    add(file, p, "mlp.experts.gate_up_proj", 4, 32, 32);
    add(file, p, "mlp.experts.down_proj", 4, 32, 16);
    add(file, p, "mlp.shared_expert.gate_proj.weight", 16, 32, 0);
    add(file, p, "mlp.shared_expert.up_proj.weight", 16, 32, 0);
    add(file, p, "mlp.shared_expert.down_proj.weight", 32, 16, 0);
    add(file, p, "mlp.shared_expert_gate.weight", 1, 32, 0);
}

static void add_attention(nb_test_file *file, const char *p)
{
    add(file, p, "self_attn.q_proj.weight", 64, 32, 0);
    add(file, p, "self_attn.k_proj.weight", 16, 32, 0);
    add(file, p, "self_attn.v_proj.weight", 16, 32, 0);
    add(file, p, "self_attn.o_proj.weight", 32, 32, 0);
    add(file, p, "self_attn.q_norm.weight", 16, 0, 0);
    add(file, p, "self_attn.k_norm.weight", 16, 0, 0);
}

static void add_deltanet(nb_test_file *file, const char *p)
{
    add(file, p, "linear_attn.in_proj_qkv.weight", 64, 32, 0);
    add(file, p, "linear_attn.in_proj_z.weight", 32, 32, 0);
    add(file, p, "linear_attn.in_proj_b.weight", 2, 32, 0);
    add(file, p, "linear_attn.in_proj_a.weight", 2, 32, 0);
    add(file, p, "linear_attn.conv1d.weight", 64, 1, 4);
    add(file, p, "linear_attn.A_log", 2, 0, 0);
    add(file, p, "linear_attn.dt_bias", 2, 0, 0);
    add(file, p, "linear_attn.norm.weight", 16, 0, 0);
    add(file, p, "linear_attn.out_proj.weight", 32, 32, 0);
}

void nb_test_mini_model(nb_test_file *file)
{
    add(file, "model.language_model.", "embed_tokens.weight", 64, 32, 0);
    add_deltanet(file, "model.language_model.layers.0.");
    add_moe(file, "model.language_model.layers.0.");
    add_attention(file, "model.language_model.layers.1.");
    add_moe(file, "model.language_model.layers.1.");
    add(file, "model.language_model.", "norm.weight", 32, 0, 0);
    add(file, "", "lm_head.weight", 64, 32, 0);
    add(file, "mtp.", "fc.weight", 32, 64, 0);
    add(file, "mtp.", "pre_fc_norm_embedding.weight", 32, 0, 0);
    add(file, "mtp.", "pre_fc_norm_hidden.weight", 32, 0, 0);
    add(file, "mtp.", "norm.weight", 32, 0, 0);
    add_attention(file, "mtp.layers.0.");
    add_moe(file, "mtp.layers.0.");
}

const char *nb_test_mini_write(const nb_test_file *file)
{
    static int n_folder;
    static char folder[4096], path[4200];
    snprintf(folder, sizeof folder, "%s/mini%d", nb_test_tmp(), n_folder++);
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    nb_test_write_text(path, nb_test_mini_config);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    nb_test_file_write(file, path);
    return folder;
}

static nb_test_tensor *add_part(nb_test_file *file, const char *module, const char *suffix, const char *dtype,
                                int n_dim, const int64_t *dim)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", module, suffix);
    return nb_test_file_add(file, name, dtype, n_dim, dim);
}

// Removes "<module>.weight" and gives its shape.
static void take_weight(nb_test_file *file, const char *module, int64_t dim[2])
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    const nb_test_tensor *old = nb_test_file_find(file, name);
    dim[0] = old->dim[0];
    dim[1] = old->dim[1];
    nb_test_file_remove(file, name);
}

static void set_f32(nb_test_tensor *t, float value)
{
    for (size_t i = 0; i < t->n_byte / 4; i++) memcpy(t->data + 4 * i, &value, 4);
}

static void add_nvfp4(nb_test_file *file, const char *module, const char *packed_suffix)
{
    int64_t dim[2];
    take_weight(file, module, dim);
    nb_test_tensor *packed = add_part(file, module, packed_suffix, "U8", 2, (int64_t[]){dim[0], dim[1] / 2});
    for (size_t i = 0; i < packed->n_byte; i++) packed->data[i] = (uint8_t)(i * 37 + 11);
    nb_test_tensor *scale = add_part(file, module, ".weight_scale", "F8_E4M3", 2, (int64_t[]){dim[0], dim[1] / 16});
    for (size_t i = 0; i < scale->n_byte; i++) scale->data[i] = (uint8_t)(0x30 + i % 16);
}

void nb_test_to_nvfp4(nb_test_file *file, const char *module)
{
    add_nvfp4(file, module, ".weight");
    set_f32(add_part(file, module, ".weight_scale_2", "F32", 0, NULL), 0.03125f);
    set_f32(add_part(file, module, ".input_scale", "F32", 0, NULL), 0.5f);
}

void nb_test_to_compressed_nvfp4(nb_test_file *file, const char *module)
{
    add_nvfp4(file, module, ".weight_packed");
    set_f32(add_part(file, module, ".weight_global_scale", "F32", 1, (int64_t[]){1}), 32);
    set_f32(add_part(file, module, ".input_global_scale", "F32", 1, (int64_t[]){1}), 2);
}

void nb_test_to_fp8(nb_test_file *file, const char *module, const char *scale_suffix, const char *scale_dtype,
                    int n_dim, const int64_t *scale_dim)
{
    int64_t dim[2];
    take_weight(file, module, dim);
    nb_test_tensor *weight = add_part(file, module, ".weight", "F8_E4M3", 2, dim);
    for (size_t i = 0; i < weight->n_byte; i++) weight->data[i] = (uint8_t)(i * 29 % 126);
    nb_test_tensor *scale = add_part(file, module, scale_suffix, scale_dtype, n_dim, scale_dim);
    if (!strcmp(scale_dtype, "F32"))
        set_f32(scale, 0.25f);
    else
        for (size_t i = 0; i < scale->n_byte / 2; i++) set_bf16(scale, (int64_t)i, 0.25f);
}

// Rows [first, first + n_row) of expert e of a stacked tensor become "<layer>mlp.experts.<e>.<name>.weight".
static void split(nb_test_file *file, const char *layer, const char *stack, int e, const char *name, int64_t first,
                  int64_t n_row)
{
    char full[160];
    snprintf(full, sizeof full, "%smlp.experts.%d.%s.weight", layer, e, name);
    int64_t n_in = nb_test_file_find(file, stack)->dim[2];
    nb_test_tensor *t = nb_test_file_add(file, full, "BF16", 2, (int64_t[]){n_row, n_in});
    const nb_test_tensor *from = nb_test_file_find(file, stack);
    memcpy(t->data, from->data + 2 * (e * from->dim[1] + first) * n_in, t->n_byte);
}

void nb_test_unstack(nb_test_file *file, const char *layer)
{
    char gate_up[160], down[160];
    snprintf(gate_up, sizeof gate_up, "%smlp.experts.gate_up_proj", layer);
    snprintf(down, sizeof down, "%smlp.experts.down_proj", layer);
    for (int e = 0; e < 4; e++) {
        split(file, layer, gate_up, e, "gate_proj", 0, 16);
        split(file, layer, gate_up, e, "up_proj", 16, 16);
        split(file, layer, down, e, "down_proj", 0, 32);
    }
    nb_test_file_remove(file, gate_up);
    nb_test_file_remove(file, down);
}
