// The body of /v1/completions: one or several prompts, as text or as token ids, beside the shared fields.
#include "serve/api_request.h"

enum { MAX_TOKENS_DEFAULT = 16 }; // as OpenAI's API

static int want_ids(const nb_api_options *api, const json_t *list, nb_ids *out, nb_fault *fault)
{
    const json_t *id;
    size_t i;
    if ((int64_t)json_array_size(list) > api->max_model_len)
        return nb_fault_set(fault, 400, "prompt", "context_length_exceeded",
                            "the prompt has %zu tokens; the context is %lld", json_array_size(list),
                            (long long)api->max_model_len);
    out->id = nb_alloc(sizeof(int32_t) * (json_array_size(list) + 1));
    out->cap = (int64_t)json_array_size(list) + 1;
    json_array_foreach(list, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= api->vocab_size)
            return nb_fault_set(fault, 400, "prompt", NULL, "prompt: token %zu is not an id from 0 to %d", i,
                                api->vocab_size - 1);
        out->id[out->n++] = (int32_t)json_integer_value(id);
    }
    return NB_OK;
}

static int want_prompt(const nb_api_options *api, nb_api_request *r, const json_t *value, nb_prompt *prompt,
                       nb_fault *fault)
{
    if (json_is_array(value)) {
        NB_TRY(want_ids(api, value, &prompt->ids, fault));
        return nb_api_prompt_check(api, r, &prompt->ids, fault);
    }
    if (!json_is_string(value))
        return nb_fault_set(fault, 400, "prompt", NULL,
                            "prompt must be a string, a list of token ids, or a list of such");
    prompt->text = (nb_str){json_string_value(value), json_string_length(value)};
    return nb_api_prompt_encode(api, r, prompt->text, &prompt->ids, fault);
}

// A list of numbers is one prompt; a list of strings or lists is several.
static int want_prompts(const nb_api_options *api, nb_api_request *r, nb_fault *fault)
{
    const json_t *prompt = json_object_get(r->body, "prompt");
    bool several = json_is_array(prompt) && json_array_size(prompt) && !json_is_integer(json_array_get(prompt, 0));
    size_t n = several ? json_array_size(prompt) : 1;
    if (n > NB_API_PROMPTS_MAX)
        return nb_fault_set(fault, 400, "prompt", NULL, "at most %d prompts in one request", NB_API_PROMPTS_MAX);
    r->prompt = NB_ARENA_ARRAY(r->arena, nb_prompt, n);
    for (size_t i = 0; i < n; i++) {
        r->n_prompt = (int)i + 1; // what is to be dropped
        NB_TRY(want_prompt(api, r, several ? json_array_get(prompt, i) : prompt, &r->prompt[i], fault));
    }
    return NB_OK;
}

static int parse(const nb_api_options *api, nb_str body, nb_api_request *r, nb_fault *fault)
{
    if (nb_json_parse(body, "the request body", &r->body, &fault->err) != NB_OK) {
        nb_error why = fault->err;
        return nb_fault_set(fault, 400, NULL, NULL, "%s", why.text);
    }
    if (!json_is_object(r->body)) return nb_fault_set(fault, 400, NULL, NULL, "the request body must be a JSON object");
    NB_TRY(nb_api_request_common(api, r, fault));
    int64_t n_top = -1;
    r->max_tokens = MAX_TOKENS_DEFAULT;
    NB_TRY(nb_api_want_bool(r->body, "echo", &r->echo, fault));
    NB_TRY(nb_api_want_int(r->body, "max_tokens", r->echo ? 0 : 1, INT32_MAX, &r->max_tokens, fault));
    NB_TRY(nb_api_want_int(r->body, "logprobs", 0, NB_TOP_LOGPROBS_MAX, &n_top, fault));
    r->n_top = (int)n_top;
    if (r->echo && r->n_top >= 0 && r->n_prompt_top < 0) r->n_prompt_top = r->n_top;
    NB_TRY(want_prompts(api, r, fault));
    if ((int64_t)r->n_prompt * r->n > NB_API_PROMPTS_MAX)
        return nb_fault_set(fault, 400, "n", NULL, "prompts times n must be at most %d", NB_API_PROMPTS_MAX);
    return NB_OK;
}

int nb_api_request_completion(const nb_api_options *api, nb_str body, nb_api_request *out, nb_fault *fault)
{
    *out = (nb_api_request){.arena = nb_arena_open(0)};
    *fault = (nb_fault){0};
    int code = parse(api, body, out, fault);
    if (code != NB_OK) nb_api_request_drop(out);
    return code;
}
