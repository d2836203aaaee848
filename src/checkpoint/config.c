// config.json to nb_config: the family, the sizes by a table with their limits, what must have a certain value because
// the program computes nothing else, and how the sizes must fit together.
#include "checkpoint/config.h"

#include <math.h>
#include <string.h>

#include "checkpoint/config_internal.h"

// Limits far above every published model; they keep products of sizes inside 63 bits.
enum {
    NB_WIDTH_MAX = 1 << 16, // hidden and intermediate sizes
    NB_HEAD_MAX = 1024,
    NB_HEAD_DIM_MAX = 1024,
    NB_VOCAB_MAX = 1 << 22,
    NB_CONV_KERNEL_MAX = 16,
    NB_POSITION_MAX = 1 << 30,
};

int nb_config_int(const json_t *object, const char *path, const char *key, nb_json_need need, int64_t least,
                  int64_t most, int *out, nb_error *err)
{
    int64_t value = *out;
    const json_t *field = json_object_get(object, key);
    NB_TRY(nb_json_int(object, path, key, need, &value, err));
    if (field && !json_is_null(field) && (value < least || value > most))
        return nb_error_set(err, NB_ERR_INPUT, "%s%s%s is %lld; it must be between %lld and %lld", path,
                            *path ? "." : "", key, (long long)value, (long long)least, (long long)most);
    *out = (int)value;
    return NB_OK;
}

int nb_config_double(const json_t *object, const char *path, const char *key, double least, double most, double *out,
                     nb_error *err)
{
    double value = *out;
    const json_t *field = json_object_get(object, key);
    NB_TRY(nb_json_double(object, path, key, NB_JSON_OPTIONAL, &value, err));
    if (field && !json_is_null(field) && !(value >= least && value <= most))
        return nb_error_set(err, NB_ERR_INPUT, "%s%s%s is %g; it must be between %g and %g", path, *path ? "." : "",
                            key, value, least, most);
    *out = value;
    return NB_OK;
}

typedef struct size_field {
    const char *key;
    size_t offset; // of an int in nb_config
    int64_t least, most;
    enum { BOTH, ONLY_QWEN3_5 } family;
    nb_json_need need;
} size_field;

#define FIELD(name) #name, offsetof(nb_config, name)
static const size_field size_fields[] = {
    {FIELD(hidden_size), 16, NB_WIDTH_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(num_hidden_layers), 1, NB_LAYER_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(vocab_size), 1, NB_VOCAB_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(num_attention_heads), 1, NB_HEAD_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(num_key_value_heads), 1, NB_HEAD_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(head_dim), 2, NB_HEAD_DIM_MAX, BOTH, NB_JSON_OPTIONAL},
    {FIELD(num_experts), 1, NB_EXPERT_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(num_experts_per_tok), 1, NB_TOP_K_EXPERT_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(moe_intermediate_size), 1, NB_WIDTH_MAX, BOTH, NB_JSON_REQUIRED},
    {FIELD(shared_expert_intermediate_size), 1, NB_WIDTH_MAX, ONLY_QWEN3_5, NB_JSON_REQUIRED},
    {FIELD(linear_num_key_heads), 1, NB_HEAD_MAX, ONLY_QWEN3_5, NB_JSON_REQUIRED},
    {FIELD(linear_num_value_heads), 1, NB_HEAD_MAX, ONLY_QWEN3_5, NB_JSON_REQUIRED},
    {FIELD(linear_key_head_dim), 1, NB_HEAD_DIM_MAX, ONLY_QWEN3_5, NB_JSON_REQUIRED},
    {FIELD(linear_value_head_dim), 1, NB_HEAD_DIM_MAX, ONLY_QWEN3_5, NB_JSON_REQUIRED},
    {FIELD(linear_conv_kernel_dim), 2, NB_CONV_KERNEL_MAX, ONLY_QWEN3_5, NB_JSON_REQUIRED},
    {FIELD(mtp_num_hidden_layers), 0, 1, ONLY_QWEN3_5, NB_JSON_OPTIONAL},
};

static int read_sizes(const nb_config_source *source, nb_config *out, nb_error *err)
{
    for (size_t i = 0; i < sizeof size_fields / sizeof *size_fields; i++) {
        const size_field *f = &size_fields[i];
        if (f->family == ONLY_QWEN3_5 && out->family != NB_FAMILY_QWEN3_5_MOE) continue;
        int *field = (int *)(void *)((char *)out + f->offset);
        NB_TRY(nb_config_int(source->text, source->path, f->key, f->need, f->least, f->most, field, err));
    }
    if (!out->head_dim) out->head_dim = out->hidden_size / out->num_attention_heads;
    return NB_OK;
}

// Fields that change the result if they are not as here. Absent or null is as here.
typedef struct fixed_field {
    const char *key, *wanted; // wanted: JSON
    const char *why;
} fixed_field;

static const fixed_field fixed_fields[] = {
    {"attention_bias", "false", "biases are not supported"},
    {"use_sliding_window", "false", "sliding-window attention is not supported"},
    {"mlp_only_layers", "[]", "dense layers between the MoE layers are not supported"},
    {"decoder_sparse_step", "1", "dense layers between the MoE layers are not supported"},
    {"hidden_act", "\"silu\"", "other activations are not supported"},
    {"mtp_use_dedicated_embeddings", "false", "an MTP layer with its own embeddings is not supported"},
};

static int check_fixed(const nb_config_source *source, nb_error *err)
{
    for (size_t i = 0; i < sizeof fixed_fields / sizeof *fixed_fields; i++) {
        const fixed_field *f = &fixed_fields[i];
        const json_t *value = json_object_get(source->text, f->key);
        if (!value || json_is_null(value)) continue;
        nb_buf text = {0};
        nb_json_write(value, &text);
        bool same = nb_str_equal_c(nb_buf_str(&text), f->wanted);
        if (!same)
            nb_error_set(err, NB_ERR_INPUT, "%s is %.60s; only %s is supported: %s", f->key, text.ptr, f->wanted,
                         f->why);
        nb_buf_drop(&text);
        if (!same) return NB_ERR_INPUT;
    }
    return NB_OK;
}

// Qwen3.5 names the activation of the DeltaNet output gate in some releases; both words mean SiLU.
static int check_output_gate(const nb_config_source *source, nb_error *err)
{
    nb_str gate = NB_STR("silu");
    NB_TRY(nb_json_str(source->text, source->path, "output_gate_type", NB_JSON_OPTIONAL, &gate, err));
    if (nb_str_equal_c(gate, "silu") || nb_str_equal_c(gate, "swish")) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT, "output_gate_type is \"%.*s\"; only \"silu\" and \"swish\" are supported",
                        (int)(gate.len < 60 ? gate.len : 60), gate.ptr);
}

static int read_switches(const nb_config_source *source, nb_config *out, nb_error *err)
{
    bool is_qwen3_5 = out->family == NB_FAMILY_QWEN3_5_MOE;
    out->zero_centered_norm = is_qwen3_5;
    out->attn_output_gate = is_qwen3_5;
    out->norm_topk_prob = is_qwen3_5; // absent there, yet the weights are always renormalised
    out->rms_norm_eps = 1e-6;
    NB_TRY(nb_json_bool(source->text, source->path, "attn_output_gate", NB_JSON_OPTIONAL, &out->attn_output_gate, err));
    NB_TRY(nb_json_bool(source->text, source->path, "norm_topk_prob", NB_JSON_OPTIONAL, &out->norm_topk_prob, err));
    NB_TRY(nb_config_double(source->text, source->path, "rms_norm_eps", 1e-12, 1, &out->rms_norm_eps, err));
    NB_TRY(nb_json_bool(source->text, source->path, "tie_word_embeddings", NB_JSON_OPTIONAL, &out->tie_word_embeddings,
                        err));
    return nb_json_bool(source->top, "", "tie_word_embeddings", NB_JSON_OPTIONAL, &out->tie_word_embeddings, err);
}

static int check_fit(const nb_config *c, nb_error *err)
{
    if (c->num_attention_heads % c->num_key_value_heads)
        return nb_error_set(err, NB_ERR_INPUT, "num_attention_heads (%d) is not a multiple of num_key_value_heads (%d)",
                            c->num_attention_heads, c->num_key_value_heads);
    if (c->head_dim % 2 || c->head_dim < 2)
        return nb_error_set(err, NB_ERR_INPUT, "head_dim is %d; it must be even and positive", c->head_dim);
    if (c->num_experts_per_tok > c->num_experts)
        return nb_error_set(err, NB_ERR_INPUT, "num_experts_per_tok (%d) is more than num_experts (%d)",
                            c->num_experts_per_tok, c->num_experts);
    if (c->linear_num_key_heads && c->linear_num_value_heads % c->linear_num_key_heads)
        return nb_error_set(err, NB_ERR_INPUT,
                            "linear_num_value_heads (%d) is not a multiple of linear_num_key_heads (%d)",
                            c->linear_num_value_heads, c->linear_num_key_heads);
    return NB_OK;
}

static int read_positions(const nb_config_source *source, nb_config *out, nb_error *err)
{
    int n = 0;
    NB_TRY(nb_config_int(source->text, source->path, "max_position_embeddings", NB_JSON_REQUIRED, 1, NB_POSITION_MAX,
                         &n, err));
    out->max_position_embeddings = n;
    return NB_OK;
}

static int read_family(const nb_config_source *source, nb_config *out, nb_error *err)
{
    nb_str type = {0};
    NB_TRY(nb_json_str(source->top, "", "model_type", NB_JSON_REQUIRED, &type, err));
    out->family = nb_str_equal_c(type, "qwen3_moe") ? NB_FAMILY_QWEN3_MOE : NB_FAMILY_QWEN3_5_MOE;
    if (nb_str_equal_c(type, "qwen3_moe") || nb_str_equal_c(type, "qwen3_5_moe") ||
        nb_str_equal_c(type, "qwen3_5_moe_text"))
        return NB_OK;
    bool dense =
        nb_str_equal_c(type, "qwen3_5") || nb_str_equal_c(type, "qwen3_5_text") || nb_str_equal_c(type, "qwen3");
    return nb_error_set(
        err, NB_ERR_INPUT,
        "model_type \"%.*s\"%s is not supported; supported are the mixture-of-experts families qwen3_5_moe "
        "(Qwen3.5, Qwen3.6) and qwen3_moe (Qwen3)",
        (int)(type.len < 60 ? type.len : 60), type.ptr, dense ? ", a dense model," : "");
}

static int read_model(const json_t *top, nb_config *out, nb_error *err)
{
    nb_config_source source = {.top = top, .text = top, .path = ""};
    NB_TRY(read_family(&source, out, err));
    const json_t *nested = json_object_get(top, "text_config");
    if (json_is_object(nested)) source = (nb_config_source){.top = top, .text = nested, .path = "text_config"};
    NB_TRY(read_sizes(&source, out, err));
    NB_TRY(read_positions(&source, out, err));
    NB_TRY(check_fixed(&source, err));
    NB_TRY(check_output_gate(&source, err));
    NB_TRY(read_switches(&source, out, err));
    NB_TRY(check_fit(out, err));
    NB_TRY(nb_config_read_layer_types(&source, out, err));
    NB_TRY(nb_config_read_rope(&source, out, err));
    NB_TRY(nb_config_read_eos(source.text, source.path, out, err));
    return source.text == top ? NB_OK : nb_config_read_eos(top, "", out, err);
}

// Parses one of the three texts; an empty one gives an empty object.
static int parse_text(nb_str text, const char *name, json_t **out, nb_error *err)
{
    if (!text.len) text = NB_STR("{}");
    NB_TRY(nb_json_parse(text, name, out, err));
    if (json_is_object(*out)) return NB_OK;
    json_decref(*out);
    *out = NULL;
    return nb_error_set(err, NB_ERR_INPUT, "%s: must be a JSON object", name);
}

static int read_all(const json_t *config, const json_t *generation, const json_t *quant, nb_config *out, nb_error *err)
{
    if (read_model(config, out, err)) return nb_error_wrap(err, "config.json: ");
    nb_config_read_quantization(config, quant, out);
    if (nb_config_read_generation(generation, out, err)) return nb_error_wrap(err, "generation_config.json: ");
    return NB_OK;
}

int nb_config_parse(nb_str config_json, nb_str generation_config_json, nb_str hf_quant_config_json, nb_config *out,
                    nb_error *err)
{
    memset(out, 0, sizeof *out);
    json_t *config = NULL, *generation = NULL, *quant = NULL;
    int code = parse_text(config_json, "config.json", &config, err);
    if (!code) code = parse_text(generation_config_json, "generation_config.json", &generation, err);
    if (!code) code = parse_text(hf_quant_config_json, "hf_quant_config.json", &quant, err);
    if (!code) code = read_all(config, generation, quant, out, err);
    json_decref(config);
    json_decref(generation);
    json_decref(quant);
    return code;
}
