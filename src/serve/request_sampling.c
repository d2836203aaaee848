// What chat and text completions have in common: how much, how tokens are drawn, where to stop, what to report.
#include "serve/request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Fields whose silent loss would give another answer than the client asked for.
static int refuse_unsupported(const json_t *body, nb_request_error *error)
{
    static const char *const names[] = {
        "allowed_token_ids", "audio",          "bad_words",      "chat_template",
        "function_call",     "functions",      "length_penalty", "logits_processors",
        "prompt_embeds",     "structural_tag", "suffix",         "guided_whitespace_pattern",
        "use_beam_search",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *value = json_object_get(body, names[i]);
        bool empty = !value || json_is_null(value) || json_is_false(value) ||
                     (json_is_array(value) && !json_array_size(value)) ||
                     (json_is_string(value) && !json_string_length(value)) ||
                     (!strcmp(names[i], "length_penalty") && json_number_value(value) == 1);
        if (!empty)
            return nb_request_refuse(error, 400, names[i], "unsupported_parameter",
                                     "%s is not supported by this server", names[i]);
    }
    return NB_OK;
}

static int read_drawing(const json_t *body, nb_generation *g, nb_request_error *error)
{
    nb_sampling *s = &g->sampling;
    int64_t top_k = s->top_k, seed = 0;
    NB_TRY(nb_field_number(body, "temperature", 0, 100, false, &s->temperature, error));
    NB_TRY(nb_field_number(body, "top_p", 0, 1, true, &s->top_p, error));
    NB_TRY(nb_field_number(body, "min_p", 0, 1, false, &s->min_p, error));
    NB_TRY(nb_field_int(body, "top_k", -1, INT32_MAX, &top_k, error));
    NB_TRY(nb_field_number(body, "repetition_penalty", 0, 100, true, &s->repetition_penalty, error));
    NB_TRY(nb_field_number(body, "presence_penalty", -2, 2, false, &s->presence_penalty, error));
    NB_TRY(nb_field_number(body, "frequency_penalty", -2, 2, false, &s->frequency_penalty, error));
    NB_TRY(nb_field_int(body, "seed", INT64_MIN, INT64_MAX, &seed, error));
    s->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    g->has_seed = nb_field_given(body, "seed");
    s->seed = (uint64_t)seed;
    return NB_OK;
}

static int read_stop(const json_t *body, nb_generation *g, nb_request_error *error)
{
    const json_t *stop = json_object_get(body, "stop");
    size_t n = json_is_array(stop) ? json_array_size(stop) : nb_field_given(body, "stop");
    if (n > NB_REQUEST_STOP_MAX)
        return nb_request_refuse(error, 400, "stop", NULL, "stop holds %zu strings; at most %d are allowed", n,
                                 NB_REQUEST_STOP_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(item) || nb_json_big_integer(item).ptr)
            return nb_request_refuse(error, 400, "stop", NULL, "stop must be a string or an array of strings, not %s%s",
                                     json_is_array(stop) ? "with " : "", nb_field_type(item));
        nb_str text = nb_field_text(item);
        if (text.len == 0) return nb_request_refuse(error, 400, "stop", NULL, "stop must not hold an empty string");
        if (text.len > NB_REQUEST_STOP_BYTES_MAX)
            return nb_request_refuse(error, 400, "stop", NULL, "a stop string has more than %d bytes",
                                     NB_REQUEST_STOP_BYTES_MAX);
        g->stop[g->n_stop++] = text;
    }
    return NB_OK;
}

int nb_request_ids(const json_t *ids, const char *param, int vocab_size, nb_request_error *error)
{
    const json_t *id;
    size_t i;
    json_array_foreach(ids, i, id)
    {
        if (!json_is_integer(id))
            return nb_request_refuse(error, 400, param, NULL, "%s must hold token ids, not %s", param,
                                     nb_field_type(id));
        if (json_integer_value(id) < 0 || json_integer_value(id) >= vocab_size)
            return nb_request_refuse(error, 400, param, NULL, "%s holds %lld; token ids are 0 to %d", param,
                                     (long long)json_integer_value(id), vocab_size - 1);
    }
    return NB_OK;
}

static int read_stop_ids(const json_t *body, int vocab_size, nb_generation *g, nb_request_error *error)
{
    const json_t *ids = NULL, *id;
    size_t i;
    NB_TRY(nb_field_array(body, "stop_token_ids", &ids, error));
    NB_TRY(nb_request_ids(ids, "stop_token_ids", vocab_size, error));
    if (json_array_size(ids) > NB_STOP_TOKEN_MAX)
        return nb_request_refuse(error, 400, "stop_token_ids", NULL, "stop_token_ids holds more than %d ids",
                                 NB_STOP_TOKEN_MAX);
    json_array_foreach(ids, i, id) g->stop_tok[g->n_stop_tok++] = (int32_t)json_integer_value(id);
    return NB_OK;
}

// {"1234": -100}: the keys are token ids.
static int read_bias(const json_t *body, int vocab_size, nb_arena *arena, nb_generation *g, nb_request_error *error)
{
    const json_t *bias = NULL, *value;
    const char *key;
    NB_TRY(nb_field_object(body, "logit_bias", &bias, error));
    size_t n = json_object_size(bias);
    if (n > NB_REQUEST_BIAS_MAX)
        return nb_request_refuse(error, 400, "logit_bias", NULL, "logit_bias has more than %d entries",
                                 NB_REQUEST_BIAS_MAX);
    g->bias = NB_ARENA_ARRAY(arena, nb_bias, n + 1);
    json_object_foreach((json_t *)bias, key, value)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (end == key || *end || id < 0 || id >= vocab_size)
            return nb_request_refuse(error, 400, "logit_bias", NULL,
                                     "logit_bias has the key \"%.40s\"; keys are token ids, 0 to %d", key,
                                     vocab_size - 1);
        if (!json_is_number(value) || fabs(json_number_value(value)) > 100)
            return nb_request_refuse(error, 400, "logit_bias", NULL,
                                     "logit_bias[\"%.40s\"] must be a number from -100 to 100", key);
        g->bias[g->n_bias++] = (nb_bias){(int32_t)id, (float)json_number_value(value)};
    }
    return NB_OK;
}

static int read_streaming(const json_t *body, nb_generation *g, nb_request_error *error)
{
    const json_t *options = NULL;
    NB_TRY(nb_field_bool(body, "stream", &g->stream, error));
    NB_TRY(nb_field_object(body, "stream_options", &options, error));
    if (options && !g->stream)
        return nb_request_refuse(error, 400, "stream_options", NULL,
                                 "stream_options are only allowed with \"stream\": true");
    NB_TRY(nb_field_bool(options, "include_usage", &g->include_usage, error));
    return nb_field_bool(options, "continuous_usage_stats", &g->usage_in_each_chunk, error);
}

static int read_lengths(const json_t *body, const nb_request_limits *limits, nb_generation *g, nb_request_error *error)
{
    NB_TRY(nb_field_int(body, "n", 1, NB_REQUEST_CHOICES_MAX, &g->n, error));
    NB_TRY(nb_field_int(body, "max_tokens", 0, INT32_MAX, &g->max_tokens, error));
    NB_TRY(nb_field_int(body, "min_tokens", 0, limits->max_model_len, &g->min_tokens, error));
    NB_TRY(nb_field_int(body, "truncate_prompt_tokens", -1, limits->max_model_len, &g->truncate_prompt, error));
    NB_TRY(nb_field_int(body, "prompt_logprobs", 0, NB_TOP_LOGPROBS_MAX, &g->n_prompt_top, error));
    NB_TRY(nb_field_int(body, "priority", INT32_MIN, INT32_MAX, &g->priority, error));
    int64_t best_of = g->n;
    NB_TRY(nb_field_int(body, "best_of", 1, NB_REQUEST_CHOICES_MAX, &best_of, error));
    if (best_of != g->n)
        return nb_request_refuse(error, 400, "best_of", "unsupported_parameter",
                                 "best_of is not supported by this server; leave it out");
    if (g->stream && g->n_prompt_top >= 0)
        return nb_request_refuse(error, 400, "prompt_logprobs", NULL,
                                 "prompt_logprobs are not available with \"stream\": true");
    return NB_OK;
}

int nb_request_generation(const json_t *body, const nb_request_limits *limits, nb_arena *arena, nb_generation *g,
                          nb_request_error *error)
{
    bool skip_special = true;
    *g = (nb_generation){
        .n = 1, .max_tokens = -1, .n_top = -1, .n_prompt_top = -1, .truncate_prompt = -1, .sampling = limits->sampling};
    if (!json_is_object(body)) return nb_request_refuse(error, 400, NULL, NULL, "the body must be a JSON object");
    NB_TRY(nb_field_str(body, "model", &g->model, error));
    NB_TRY(refuse_unsupported(body, error));
    NB_TRY(nb_request_constrain(body, g, error));
    NB_TRY(read_streaming(body, g, error));
    NB_TRY(read_lengths(body, limits, g, error));
    NB_TRY(read_drawing(body, g, error));
    NB_TRY(read_stop(body, g, error));
    NB_TRY(read_stop_ids(body, limits->vocab_size, g, error));
    NB_TRY(read_bias(body, limits->vocab_size, arena, g, error));
    NB_TRY(nb_field_bool(body, "ignore_eos", &g->ignore_eos, error));
    NB_TRY(nb_field_bool(body, "include_stop_str_in_output", &g->include_stop, error));
    NB_TRY(nb_field_bool(body, "skip_special_tokens", &skip_special, error));
    NB_TRY(nb_field_bool(body, "echo", &g->echo, error));
    g->keep_special = !skip_special;
    return NB_OK;
}
