// The parts of the configuration that are lists: layer types, end tokens; and generation_config.json.
#include <string.h>

#include "checkpoint/config_internal.h"

static int read_layer_type(const json_t *value, int i, nb_config *out, nb_error *err)
{
    const char *type = json_string_value(value);
    if (type && !strcmp(type, "full_attention")) {
        out->layer_type[i] = NB_LAYER_FULL_ATTENTION;
        return NB_OK;
    }
    if (type && !strcmp(type, "linear_attention") && out->family == NB_FAMILY_QWEN3_5_MOE) {
        out->layer_type[i] = NB_LAYER_LINEAR_ATTENTION;
        return NB_OK;
    }
    return nb_error_set(err, NB_ERR_INPUT, "layer_types[%d] is %s%.40s%s; supported are \"full_attention\"%s", i,
                        type ? "\"" : "", type ? type : "not a string", type ? "\"" : "",
                        out->family == NB_FAMILY_QWEN3_5_MOE ? " and \"linear_attention\"" : "");
}

// Without layer_types: every full_attention_interval-th layer is full attention, the others are linear.
static int layer_types_by_interval(const nb_config_source *source, nb_config *out, nb_error *err)
{
    int interval = out->family == NB_FAMILY_QWEN3_5_MOE ? 4 : 1;
    NB_TRY(nb_config_int(source->text, source->path, "full_attention_interval", NB_JSON_OPTIONAL, 1, NB_LAYER_MAX,
                         &interval, err));
    for (int i = 0; i < out->num_hidden_layers; i++)
        out->layer_type[i] = (i + 1) % interval ? NB_LAYER_LINEAR_ATTENTION : NB_LAYER_FULL_ATTENTION;
    return NB_OK;
}

int nb_config_read_layer_types(const nb_config_source *source, nb_config *out, nb_error *err)
{
    const json_t *list = json_object_get(source->text, "layer_types");
    if (!list || json_is_null(list)) return layer_types_by_interval(source, out, err);
    if (!json_is_array(list) || json_array_size(list) != (size_t)out->num_hidden_layers)
        return nb_error_set(err, NB_ERR_INPUT, "layer_types must be a list of num_hidden_layers = %d strings",
                            out->num_hidden_layers);
    for (int i = 0; i < out->num_hidden_layers; i++)
        NB_TRY(read_layer_type(json_array_get(list, (size_t)i), i, out, err));
    return NB_OK;
}

static int add_eos(const json_t *value, nb_config *out, nb_error *err)
{
    int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= out->vocab_size)
        return nb_error_set(err, NB_ERR_INPUT,
                            "eos_token_id must be a token id below vocab_size = %d, or a list of such",
                            out->vocab_size);
    for (int i = 0; i < out->n_eos; i++)
        if (out->eos_token_id[i] == id) return NB_OK;
    if (out->n_eos == NB_EOS_MAX) return nb_error_set(err, NB_ERR_LIMIT, "more than %d eos_token_ids", NB_EOS_MAX);
    out->eos_token_id[out->n_eos++] = (int)id;
    return NB_OK;
}

// Adds eos_token_id, a number or a list, to those already there: models stop on any of them.
int nb_config_read_eos(const json_t *object, const char *path, nb_config *out, nb_error *err)
{
    const json_t *eos = json_object_get(object, "eos_token_id");
    if (!eos || json_is_null(eos)) return NB_OK;
    int code = NB_OK;
    if (!json_is_array(eos)) code = add_eos(eos, out, err);
    for (size_t i = 0; i < json_array_size(eos) && !code; i++) code = add_eos(json_array_get(eos, i), out, err);
    return code && *path ? nb_error_wrap(err, "%s.", path) : code;
}

int nb_config_read_generation(const json_t *generation, nb_config *out, nb_error *err)
{
    out->temperature = out->top_p = out->min_p = out->repetition_penalty = -1;
    out->top_k = -1;
    NB_TRY(nb_config_double(generation, "", "temperature", 0, 100, &out->temperature, err));
    NB_TRY(nb_config_double(generation, "", "top_p", 0, 1, &out->top_p, err));
    NB_TRY(nb_config_double(generation, "", "min_p", 0, 1, &out->min_p, err));
    NB_TRY(nb_config_double(generation, "", "repetition_penalty", 0.01, 100, &out->repetition_penalty, err));
    NB_TRY(nb_config_int(generation, "", "top_k", NB_JSON_OPTIONAL, 0, INT32_MAX, &out->top_k, err));
    return nb_config_read_eos(generation, "", out, err);
}
