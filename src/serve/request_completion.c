// Requests of /v1/completions.
#include "serve/request.h"

static int prompt_error(const json_t *value, nb_request_error *error)
{
    return nb_request_refuse(
        error, 400, "prompt", NULL,
        "prompt must be a string, an array of strings, an array of token ids, or an array of such arrays, "
        "not %s",
        nb_field_type(value));
}

// One prompt: text, or an array of token ids.
static int read_prompt(const json_t *value, int vocab_size, nb_prompt *out, nb_request_error *error)
{
    if (json_is_string(value) && !nb_json_big_integer(value).ptr) {
        out->text = nb_field_text(value);
        return NB_OK;
    }
    if (!json_is_array(value)) return prompt_error(value, error);
    if (json_array_size(value) == 0) return nb_request_refuse(error, 400, "prompt", NULL, "prompt is an empty array");
    NB_TRY(nb_request_ids(value, "prompt", vocab_size, error));
    out->ids = value;
    return NB_OK;
}

static int read_prompts(const json_t *body, const nb_request_limits *limits, nb_arena *arena,
                        nb_completion_request *out, nb_request_error *error)
{
    const json_t *prompt = json_object_get(body, "prompt"), *first = json_array_get(prompt, 0);
    if (!nb_field_given(body, "prompt")) return nb_request_refuse(error, 400, "prompt", NULL, "prompt is missing");
    bool several = json_is_array(prompt) && (json_is_string(first) || json_is_array(first));
    size_t n = several ? json_array_size(prompt) : 1;
    if (n > NB_REQUEST_PROMPTS_MAX)
        return nb_request_refuse(error, 400, "prompt", NULL, "prompt holds more than %d prompts",
                                 NB_REQUEST_PROMPTS_MAX);
    out->prompt = NB_ARENA_ARRAY(arena, nb_prompt, n);
    out->n_prompt = (int)n;
    for (size_t i = 0; i < n; i++)
        NB_TRY(read_prompt(several ? json_array_get(prompt, i) : prompt, limits->vocab_size, &out->prompt[i], error));
    return NB_OK;
}

int nb_request_completion(const json_t *body, const nb_request_limits *limits, nb_arena *arena,
                          nb_completion_request *out, nb_request_error *error)
{
    *out = (nb_completion_request){0};
    nb_generation *g = &out->generation;
    NB_TRY(nb_request_generation(body, limits, arena, g, error));
    if (g->max_tokens < 0) g->max_tokens = 16; // OpenAI's default for this route
    NB_TRY(nb_field_int(body, "logprobs", 0, NB_TOP_LOGPROBS_MAX, &g->n_top, error));
    if (g->max_tokens == 0 && !g->echo && g->n_prompt_top < 0)
        return nb_request_refuse(error, 400, "max_tokens", NULL,
                                 "max_tokens may be 0 only with echo or prompt_logprobs");
    NB_TRY(read_prompts(body, limits, arena, out, error));
    if ((int64_t)out->n_prompt * g->n > NB_REQUEST_PROMPTS_MAX)
        return nb_request_refuse(error, 400, "n", NULL, "n times the number of prompts must be at most %d",
                                 NB_REQUEST_PROMPTS_MAX);
    return NB_OK;
}
