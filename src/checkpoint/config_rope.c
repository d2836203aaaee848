// Rotary positions: rope_parameters (transformers 5) or rope_scaling (before), with rope_theta and
// partial_rotary_factor inside or beside it; YaRN (Peng et al., arXiv 2309.00071) as transformers reads it; MRoPE's
// three axes.
#include <math.h>

#include "checkpoint/config_internal.h"

// A number inside the rope object, or else beside it.
static int read_either(const nb_config_source *source, const json_t *rope, const char *rope_path, const char *key,
                       double least, double most, double *out, nb_error *err)
{
    NB_TRY(nb_config_double(source->text, source->path, key, least, most, out, err));
    return nb_config_double(rope, rope_path, key, least, most, out, err);
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static int read_attention_factor(const json_t *rope, const char *path, nb_rope *out, nb_error *err)
{
    double mscale = 0, all = 0;
    out->attention_factor = yarn_mscale(out->yarn_factor, 1);
    NB_TRY(nb_config_double(rope, path, "mscale", 0, 100, &mscale, err));
    NB_TRY(nb_config_double(rope, path, "mscale_all_dim", 0, 100, &all, err));
    if (mscale > 0 && all > 0)
        out->attention_factor = yarn_mscale(out->yarn_factor, mscale) / yarn_mscale(out->yarn_factor, all);
    return nb_config_double(rope, path, "attention_factor", 1e-3, 1e3, &out->attention_factor, err);
}

static int read_yarn(const json_t *rope, const char *path, nb_config *config, nb_error *err)
{
    nb_rope *out = &config->rope;
    bool truncate = true;
    int original = (int)config->max_position_embeddings;
    out->yarn = true;
    out->yarn_beta_fast = 32;
    out->yarn_beta_slow = 1;
    NB_TRY(nb_json_double(rope, path, "factor", NB_JSON_REQUIRED, &out->yarn_factor, err));
    NB_TRY(nb_config_double(rope, path, "factor", 1, 1024, &out->yarn_factor, err));
    NB_TRY(nb_config_double(rope, path, "beta_fast", 0.01, 1e4, &out->yarn_beta_fast, err));
    NB_TRY(nb_config_double(rope, path, "beta_slow", 0.01, 1e4, &out->yarn_beta_slow, err));
    NB_TRY(nb_config_int(rope, path, "original_max_position_embeddings", NB_JSON_OPTIONAL, 1, 1 << 30, &original, err));
    NB_TRY(nb_json_bool(rope, path, "truncate", NB_JSON_OPTIONAL, &truncate, err));
    if (!truncate) return nb_error_set(err, NB_ERR_INPUT, "%s.truncate false is not supported", path);
    out->original_max_position_embeddings = original;
    int64_t longest = (int64_t)((double)original * out->yarn_factor);
    if (longest > config->max_position_embeddings) config->max_position_embeddings = longest;
    return read_attention_factor(rope, path, out, err);
}

static int read_mrope(const json_t *rope, const char *path, nb_rope *out, nb_error *err)
{
    const json_t *section = json_object_get(rope, "mrope_section");
    if (!section || json_is_null(section)) return NB_OK;
    int64_t sum = 0;
    for (size_t i = 0; i < 3 && json_array_size(section) == 3; i++) {
        const json_t *value = json_array_get(section, i);
        int64_t n = json_is_integer(value) ? json_integer_value(value) : -1;
        if (n < 0 || n > out->n_rot) break;
        out->mrope_section[i] = (int)n;
        sum += n;
    }
    if (sum != out->n_rot / 2)
        return nb_error_set(err, NB_ERR_INPUT,
                            "%s.mrope_section must be three numbers with the sum %d (half the rotated dimensions)",
                            path, out->n_rot / 2);
    return nb_json_bool(rope, path, "mrope_interleaved", NB_JSON_OPTIONAL, &out->mrope_interleaved, err);
}

static int read_type(const json_t *rope, const char *path, nb_config *config, nb_error *err)
{
    nb_str type = NB_STR("default");
    NB_TRY(nb_json_str(rope, path, "type", NB_JSON_OPTIONAL, &type, err));
    NB_TRY(nb_json_str(rope, path, "rope_type", NB_JSON_OPTIONAL, &type, err));
    config->rope.attention_factor = 1;
    if (nb_str_equal_c(type, "yarn")) return read_yarn(rope, path, config, err);
    if (nb_str_equal_c(type, "default") || nb_str_equal_c(type, "mrope")) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT,
                        "%s.rope_type \"%.*s\" is not supported; supported are \"default\" and \"yarn\"", path,
                        (int)(type.len < 60 ? type.len : 60), type.ptr);
}

int nb_config_read_rope(const nb_config_source *source, nb_config *out, nb_error *err)
{
    const char *path = "rope_parameters";
    const json_t *rope = json_object_get(source->text, path);
    if (!json_is_object(rope)) rope = json_object_get(source->text, path = "rope_scaling");
    if (rope && !json_is_object(rope) && !json_is_null(rope))
        return nb_error_set(err, NB_ERR_INPUT, "%s must be an object", path);
    if (!json_is_object(rope)) rope = source->text, path = source->path; // then everything stands beside it
    double partial = out->family == NB_FAMILY_QWEN3_5_MOE ? 0.25 : 1;
    out->rope.rope_theta = 10000;
    NB_TRY(read_either(source, rope, path, "rope_theta", 1, 1e12, &out->rope.rope_theta, err));
    NB_TRY(read_either(source, rope, path, "partial_rotary_factor", 0, 1, &partial, err));
    out->rope.n_rot = (int)(out->head_dim * partial);
    if (out->rope.n_rot < 2 || out->rope.n_rot % 2)
        return nb_error_set(err, NB_ERR_INPUT,
                            "partial_rotary_factor %g of head_dim %d rotates %d dimensions; it must be an even number",
                            partial, out->head_dim, out->rope.n_rot);
    NB_TRY(read_type(rope, path, out, err));
    return read_mrope(rope, path, &out->rope, err);
}
