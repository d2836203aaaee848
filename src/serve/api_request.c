// Fields that both completion endpoints share. See api_request.h.
#include "serve/api_request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nb_fault_set(nb_fault *fault, int status, const char *param, const char *code, const char *format, ...)
{
    char text[sizeof fault->err.text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fault->status = status;
    fault->param = param;
    fault->code = code;
    return nb_error_set(&fault->err, NB_ERR_INPUT, "%s", text);
}

// A field access that failed has written its sentence into fault->err; this adds what HTTP needs.
static int bad_field(nb_fault *fault, const char *key)
{
    fault->status = 400;
    fault->param = key;
    fault->code = NULL;
    return NB_ERR_INPUT;
}

int nb_api_want_int(const json_t *body, const char *key, int64_t low, int64_t high, int64_t *out, nb_fault *fault)
{
    if (nb_json_int(body, "", key, NB_JSON_OPTIONAL, out, &fault->err) != NB_OK) return bad_field(fault, key);
    const json_t *value = json_object_get(body, key);
    if (value && !json_is_null(value) && (*out < low || *out > high))
        return nb_fault_set(fault, 400, key, NULL, "%s must be from %lld to %lld, not %lld", key, (long long)low,
                            (long long)high, (long long)*out);
    return NB_OK;
}

int nb_api_want_bool(const json_t *body, const char *key, bool *out, nb_fault *fault)
{
    return nb_json_bool(body, "", key, NB_JSON_OPTIONAL, out, &fault->err) == NB_OK ? NB_OK : bad_field(fault, key);
}

static int want_float(const json_t *body, const char *key, double low, double high, float *out, nb_fault *fault)
{
    double value = *out;
    if (nb_json_double(body, "", key, NB_JSON_OPTIONAL, &value, &fault->err) != NB_OK) return bad_field(fault, key);
    if (!(value >= low && value <= high))
        return nb_fault_set(fault, 400, key, NULL, "%s must be from %g to %g, not %g", key, low, high, value);
    *out = (float)value;
    return NB_OK;
}

static int want_sampling(const json_t *body, nb_sampling *s, nb_fault *fault)
{
    int64_t top_k = s->top_k, seed = -1;
    NB_TRY(want_float(body, "temperature", 0, 100, &s->temperature, fault));
    NB_TRY(want_float(body, "top_p", 1e-6, 1, &s->top_p, fault));
    NB_TRY(want_float(body, "min_p", 0, 1, &s->min_p, fault));
    NB_TRY(want_float(body, "repetition_penalty", 0.01, 100, &s->repetition_penalty, fault));
    NB_TRY(want_float(body, "presence_penalty", -2, 2, &s->presence_penalty, fault));
    NB_TRY(want_float(body, "frequency_penalty", -2, 2, &s->frequency_penalty, fault));
    NB_TRY(nb_api_want_int(body, "top_k", -1, INT32_MAX, &top_k, fault));
    NB_TRY(nb_api_want_int(body, "seed", INT64_MIN, INT64_MAX, &seed, fault));
    s->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    const json_t *given = json_object_get(body, "seed");
    if (given && !json_is_null(given)) s->seed = (uint64_t)seed;
    return NB_OK;
}

static int want_stop(nb_api_request *r, nb_fault *fault)
{
    const json_t *stop = json_object_get(r->body, "stop"), *one;
    if (!stop || json_is_null(stop)) return NB_OK;
    size_t n = json_is_array(stop) ? json_array_size(stop) : 1;
    if (n > NB_API_STOPS_MAX)
        return nb_fault_set(fault, 400, "stop", NULL, "stop may hold at most %d strings", NB_API_STOPS_MAX);
    for (size_t i = 0; i < n; i++) {
        one = json_is_array(stop) ? json_array_get(stop, i) : stop;
        size_t len = json_string_length(one);
        if (!json_is_string(one) || len == 0 || len > NB_API_STOP_BYTES_MAX)
            return nb_fault_set(fault, 400, "stop", NULL,
                                "stop must be a string, or a list of strings, of 1 to %d bytes", NB_API_STOP_BYTES_MAX);
        r->stop[r->n_stop++] = (nb_str){json_string_value(one), len};
    }
    return NB_OK;
}

static int want_stop_tokens(const nb_api_options *api, nb_api_request *r, nb_fault *fault)
{
    bool ignore_eos = false;
    NB_TRY(nb_api_want_bool(r->body, "ignore_eos", &ignore_eos, fault));
    for (int i = 0; i < api->n_stop && !ignore_eos; i++) r->stop_tok[r->n_stop_tok++] = api->stop_tok[i];
    const json_t *list = json_object_get(r->body, "stop_token_ids"), *id;
    if (!list || json_is_null(list)) return NB_OK;
    if (!json_is_array(list) || json_array_size(list) > (size_t)(NB_STOP_TOKEN_MAX - r->n_stop_tok))
        return nb_fault_set(fault, 400, "stop_token_ids", NULL, "stop_token_ids must be a list of at most %d token ids",
                            NB_STOP_TOKEN_MAX - r->n_stop_tok);
    size_t i;
    json_array_foreach(list, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= api->vocab_size)
            return nb_fault_set(fault, 400, "stop_token_ids", NULL, "stop_token_ids must hold ids from 0 to %d",
                                api->vocab_size - 1);
        r->stop_tok[r->n_stop_tok++] = (int32_t)json_integer_value(id);
    }
    return NB_OK;
}

static int want_bias(const nb_api_options *api, nb_api_request *r, nb_fault *fault)
{
    json_t *map = json_object_get(r->body, "logit_bias"), *value;
    if (!map || json_is_null(map)) return NB_OK;
    if (!json_is_object(map) || json_object_size(map) > NB_API_BIASES_MAX)
        return nb_fault_set(fault, 400, "logit_bias", NULL, "logit_bias must be an object of at most %d token ids",
                            NB_API_BIASES_MAX);
    r->bias = NB_ARENA_ARRAY(r->arena, nb_bias, json_object_size(map) + 1);
    const char *key;
    json_object_foreach(map, key, value)
    {
        char *end;
        long id = strtol(key, &end, 10);
        if (end == key || *end || id < 0 || id >= api->vocab_size)
            return nb_fault_set(fault, 400, "logit_bias", NULL, "logit_bias: '%.32s' is not a token id below %d", key,
                                api->vocab_size);
        double bias = json_is_number(value) ? json_number_value(value) : NAN;
        if (!(bias >= -100 && bias <= 100))
            return nb_fault_set(fault, 400, "logit_bias", NULL,
                                "logit_bias of token %ld must be a number from -100 to 100", id);
        r->bias[r->n_bias++] = (nb_bias){(int32_t)id, (float)bias};
    }
    return NB_OK;
}

static int want_stream(nb_api_request *r, nb_fault *fault)
{
    NB_TRY(nb_api_want_bool(r->body, "stream", &r->stream, fault));
    const json_t *options = json_object_get(r->body, "stream_options");
    if (!options || json_is_null(options)) return NB_OK;
    if (!json_is_object(options))
        return nb_fault_set(fault, 400, "stream_options", NULL, "stream_options must be an object");
    if (!r->stream)
        return nb_fault_set(fault, 400, "stream_options", NULL,
                            "stream_options may only be given together with stream: true");
    if (nb_json_bool(options, "stream_options", "include_usage", NB_JSON_OPTIONAL, &r->include_usage, &fault->err) !=
        NB_OK)
        return bad_field(fault, "stream_options");
    return NB_OK;
}

static int want_format(const nb_api_request *r, nb_fault *fault)
{
    const json_t *format = json_object_get(r->body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0)) return NB_OK;
    return nb_fault_set(fault, 400, "response_format", NULL,
                        "this server cannot constrain output yet: response_format may only be {\"type\": \"text\"}");
}

int nb_api_model_find(const nb_api_options *api, const char *name, const char **out, nb_fault *fault)
{
    *out = api->model_name[0];
    if (!name) return NB_OK;
    for (int i = 0; i < api->n_model_name; i++) {
        *out = api->model_name[i];
        if (strcmp(name, *out) == 0) return NB_OK;
    }
    return nb_fault_set(fault, 404, "model", "model_not_found",
                        "the model '%.200s' does not exist here; /v1/models lists what does", name);
}

int nb_api_request_common(const nb_api_options *api, nb_api_request *r, nb_fault *fault)
{
    int64_t n = 1, min_tokens = 0, prompt_top = -1;
    nb_str model = {0};
    bool skip_special = true;
    r->sampling = api->sampling;
    if (nb_json_str(r->body, "", "model", NB_JSON_OPTIONAL, &model, &fault->err) != NB_OK)
        return bad_field(fault, "model");
    NB_TRY(nb_api_model_find(api, model.ptr, &r->model, fault));
    NB_TRY(nb_api_want_int(r->body, "n", 1, NB_API_CHOICES_MAX, &n, fault));
    NB_TRY(nb_api_want_int(r->body, "min_tokens", 0, INT32_MAX, &min_tokens, fault));
    NB_TRY(nb_api_want_int(r->body, "prompt_logprobs", 0, NB_TOP_LOGPROBS_MAX, &prompt_top, fault));
    NB_TRY(nb_api_want_bool(r->body, "skip_special_tokens", &skip_special, fault));
    NB_TRY(nb_api_want_bool(r->body, "include_stop_str_in_output", &r->include_stop, fault));
    NB_TRY(want_sampling(r->body, &r->sampling, fault));
    NB_TRY(want_stop(r, fault));
    NB_TRY(want_stop_tokens(api, r, fault));
    NB_TRY(want_bias(api, r, fault));
    NB_TRY(want_stream(r, fault));
    NB_TRY(want_format(r, fault));
    r->n = (int)n;
    r->min_tokens = (int)min_tokens;
    r->n_prompt_top = (int)prompt_top;
    r->skip_special = skip_special;
    return NB_OK;
}

int nb_api_prompt_check(const nb_api_options *api, const nb_api_request *r, const nb_ids *ids, nb_fault *fault)
{
    long long room = api->max_model_len - ids->n;
    if (ids->n == 0) return nb_fault_set(fault, 400, "prompt", NULL, "the prompt is empty");
    if (room < 1)
        return nb_fault_set(
            fault, 400, r->chat ? "messages" : "prompt", "context_length_exceeded",
            "the prompt has %lld tokens; the context of this model is %lld tokens, prompt and answer together",
            (long long)ids->n, (long long)api->max_model_len);
    if (r->max_tokens > room)
        return nb_fault_set(
            fault, 400, "max_tokens", "context_length_exceeded",
            "max_tokens is %lld, but behind a prompt of %lld tokens the context of %lld has room for %lld",
            (long long)r->max_tokens, (long long)ids->n, (long long)api->max_model_len, room);
    return NB_OK;
}

int nb_api_prompt_encode(const nb_api_options *api, const nb_api_request *r, nb_str text, nb_ids *out, nb_fault *fault)
{
    if (nb_tokenizer_encode(api->tokenizer, text, true, out, &fault->err) != NB_OK)
        return nb_fault_set(fault, 400, "prompt", NULL, "the prompt cannot be tokenized");
    return nb_api_prompt_check(api, r, out, fault);
}

void nb_api_request_drop(nb_api_request *r)
{
    for (int i = 0; i < r->n_prompt; i++) nb_ids_drop(&r->prompt[i].ids);
    json_decref(r->variables);
    json_decref(r->body);
    nb_arena_close(r->arena);
    *r = (nb_api_request){0};
}
