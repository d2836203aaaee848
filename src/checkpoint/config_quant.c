// The quantization sections: quantization_config of config.json (ModelOpt, compressed-tensors, Qwen's FP8), and
// hf_quant_config.json (ModelOpt). Producers disagree with each other and with their own tensors, so nothing here is an
// error and nothing here decides how a tensor is read; only the KV format and the mix of a model without weights are
// taken.
#include <string.h>

#include "checkpoint/config_internal.h"

static bool is_string(const json_t *value, const char *wanted)
{
    return json_is_string(value) && !strcmp(json_string_value(value), wanted);
}

static bool wants_fp8_kv(const json_t *section, const json_t *hf_section)
{
    const json_t *scheme = json_object_get(section, "kv_cache_scheme");
    bool fp8 = is_string(json_object_get(scheme, "type"), "float") &&
               json_integer_value(json_object_get(scheme, "num_bits")) == 8;
    return fp8 || is_string(json_object_get(hf_section, "kv_cache_quant_algo"), "FP8");
}

// Whether a list of module patterns speaks of `part`.
static bool any_contains(const json_t *list, const char *part)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *pattern = json_string_value(json_array_get(list, i));
        if (pattern && strstr(pattern, part)) return true;
    }
    return false;
}

static nb_mix mix_of(const json_t *section, const json_t *hf_section)
{
    if (is_string(json_object_get(section, "quant_method"), "fp8") && json_object_get(section, "weight_block_size"))
        return NB_MIX_FP8_BLOCK;
    const json_t *algo = json_object_get(hf_section, "quant_algo");
    if (!algo) algo = json_object_get(section, "quant_algo");
    if (is_string(algo, "MIXED_PRECISION")) return NB_MIX_PUBLISHED;
    if (!is_string(algo, "NVFP4") && !is_string(algo, "W4A16_NVFP4")) return NB_MIX_BF16;
    bool experts_only = any_contains(json_object_get(hf_section, "exclude_modules"), "self_attn") ||
                        any_contains(json_object_get(section, "ignore"), "self_attn");
    return experts_only ? NB_MIX_EXPERTS : NB_MIX_LINEARS;
}

void nb_config_read_quantization(const json_t *config, const json_t *hf_quant, nb_config *out)
{
    const json_t *section = json_object_get(config, "quantization_config");
    const json_t *hf_section = json_object_get(hf_quant, "quantization");
    out->kv_cache_fp8 = wants_fp8_kv(section, hf_section);
    out->mix = mix_of(section, hf_section);
}
