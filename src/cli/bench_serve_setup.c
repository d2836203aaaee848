// From the command line of `bench serve` to an endpoint and prompts.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/bench_serve.h"

enum { OUTPUT_LEN_DEFAULT = 128 };

static int check_range(const char *option, int64_t value, int64_t least, int64_t most, nb_error *err)
{
    if (value >= least && value <= most) return NB_OK;
    return nb_error_set(err, NB_ERR_USAGE, "--%s must be from %lld to %lld", option, (long long)least, (long long)most);
}

static int check_options(nb_bench_serve *b, nb_error *err)
{
    NB_TRY(check_range("num-prompts", b->o.num_prompts, 1, NB_PROMPT_COUNT_MAX, err));
    NB_TRY(check_range("input-len", b->o.input_len, 1, NB_PROMPT_TOKENS_MAX, err));
    NB_TRY(check_range("output-len", b->o.output_len, 0, NB_PROMPT_TOKENS_MAX, err));
    NB_TRY(check_range("random-prefix-len", b->o.prefix_len, 0, NB_PROMPT_TOKENS_MAX, err));
    NB_TRY(check_range("max-concurrency", b->o.max_concurrency, 0, NB_PROMPT_COUNT_MAX, err));
    NB_TRY(check_range("num-warmups", b->o.warmups, 0, NB_PROMPT_COUNT_MAX, err));
    if (!(b->o.range_ratio >= 0 && b->o.range_ratio < 1))
        return nb_error_set(err, NB_ERR_USAGE, "--random-range-ratio must be at least 0 and less than 1");
    if (strcmp(b->o.dataset, "random") != 0 && !b->o.dataset_path)
        return nb_error_set(err, NB_ERR_USAGE, "--dataset %s needs --dataset-path", b->o.dataset);
    NB_TRY(nb_bench_text_positive("request-rate", b->o.request_rate, &b->report.rate_per_s, err));
    if (b->o.ramp_up && !(b->o.ramp_start > 0 && b->o.ramp_end >= b->o.ramp_start))
        return nb_error_set(err, NB_ERR_USAGE,
                            "--ramp-up-strategy needs --ramp-up-start-rps over 0 and --ramp-up-end-rps "
                            "not below it");
    if (b->o.ramp_up && isfinite(b->report.rate_per_s))
        return nb_error_set(err, NB_ERR_USAGE, "--ramp-up-strategy takes the place of --request-rate");
    return nb_bench_text_positive("burstiness", b->o.burstiness, &b->report.burstiness, err);
}

static int parse_lists(nb_bench_serve *b, const char *const *more_goals, int n_more, nb_error *err)
{
    nb_load_report *r = &b->report;
    for (int i = 0; i < b->o.goodput.n; i++) NB_TRY(nb_bench_text_goal(b->o.goodput.item[i], b->goal, &b->n_goal, err));
    for (int i = 0; i < n_more; i++) NB_TRY(nb_bench_text_goal(more_goals[i], b->goal, &b->n_goal, err));
    NB_TRY(nb_bench_text_metrics(b->o.percentile_metrics, r, err));
    NB_TRY(nb_bench_text_percentiles(b->o.metric_percentiles, r, err));
    if (b->o.metadata.n > NB_LOAD_METADATA_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "--metadata: at most %d", NB_LOAD_METADATA_MAX);
    for (int i = 0; i < b->o.metadata.n; i++) {
        nb_bench_pair pair;
        NB_TRY(nb_bench_text_pair("metadata", b->o.metadata.item[i], b->arena, &pair, err));
        r->metadata_key[i] = pair.key;
        r->metadata_value[i] = pair.value;
    }
    r->n_metadata = b->o.metadata.n;
    return NB_OK;
}

// The server's address without "/v1" and slashes at its end, which many write.
static const char *server_url(nb_bench_serve *b)
{
    if (!b->o.url) return nb_arena_printf(b->arena, "http://%s:%lld", b->o.host, (long long)b->o.port);
    nb_str s = nb_str_from(b->o.url);
    while (nb_str_ends(s, NB_STR("/"))) s.len--;
    if (nb_str_ends(s, NB_STR("/v1"))) s.len -= 3;
    return nb_arena_str(b->arena, s).ptr;
}

static int choose_endpoint(nb_bench_serve *b, nb_error *err)
{
    nb_endpoint *e = &b->endpoint;
    const char *name = b->o.endpoint_name                         ? b->o.endpoint_name
                       : strcmp(b->o.backend, "openai-chat") == 0 ? "chat"
                                                                  : "completions";
    e->url = server_url(b);
    e->path = strcmp(name, "chat") == 0          ? "/v1/chat/completions"
              : strcmp(name, "completions") == 0 ? "/v1/completions"
                                                 : name;
    if (e->path[0] != '/' || !nb_str_ends(nb_str_from(e->path), NB_STR("completions")))
        return nb_error_set(err, NB_ERR_USAGE, "--endpoint: '%s' is not completions, chat or a path of one", name);
    e->chat = nb_str_ends(nb_str_from(e->path), NB_STR("chat/completions"));
    e->insecure = b->o.insecure;
    nb_endpoint_header(e, "Content-Type", "application/json");
    nb_endpoint_header(e, "Expect", ""); // none: libcurl would wait for a "100 Continue" before a long body
    const char *key = b->o.api_key ? b->o.api_key : getenv("OPENAI_API_KEY");
    if (key && key[0]) nb_endpoint_header(e, "Authorization", nb_arena_printf(b->arena, "Bearer %s", key));
    for (int i = 0; i < b->o.headers.n; i++) {
        nb_bench_pair pair;
        NB_TRY(nb_bench_text_pair("header", b->o.headers.item[i], b->arena, &pair, err));
        nb_endpoint_header(e, pair.key, pair.value);
    }
    return NB_OK;
}

// The model's name and whether the server counts tokens.
static int ask_server(nb_bench_serve *b, nb_error *err)
{
    nb_endpoint *e = &b->endpoint;
    nb_error no_tokenizer;
    int32_t *id;
    int n_id;
    e->model = b->o.served_name ? b->o.served_name : b->o.model;
    if (!e->model || b->o.ready_timeout_s) {
        const char *first = NULL;
        NB_TRY(nb_endpoint_first_model(e, b->o.ready_timeout_s, b->arena, &first, err));
        if (!e->model) e->model = first;
    }
    e->tokenizer_path = "/tokenize";
    if (nb_endpoint_tokenize(e, NB_STR("one two"), b->arena, &id, &n_id, &no_tokenizer) == NB_OK && n_id >= 2)
        return NB_OK;
    e->tokenizer_path = NULL;
    fprintf(stderr, "nibble: the server has no /tokenize: a random prompt has a word for each token\n");
    return NB_OK;
}

static int read_dataset(nb_bench_serve *b, const nb_prompt_options *o, nb_error *err)
{
    nb_str file;
    NB_TRY(nb_file_read(b->o.dataset_path, NB_PROMPT_FILE_BYTES_MAX, b->arena, &file, err));
    if (strcmp(b->o.dataset, "sharegpt") == 0)
        return nb_prompt_sharegpt(&b->endpoint, file, o, b->arena, &b->prompts, err);
    NB_TRY(nb_prompt_jsonl(file, o, b->arena, &b->prompts, err));
    for (int i = 0; i < b->prompts.n && !b->endpoint.chat; i++) {
        if (b->prompts.prompt[i].messages.len)
            return nb_error_set(err, NB_ERR_USAGE, "%s holds messages: use --endpoint chat", b->o.dataset_path);
    }
    return NB_OK;
}

static int make_prompts(nb_bench_serve *b, nb_error *err)
{
    bool random = strcmp(b->o.dataset, "random") == 0;
    nb_prompt_options o = {.n = (int)b->o.num_prompts,
                           .input_len = b->o.input_len,
                           .output_len = random && !b->o.output_len ? OUTPUT_LEN_DEFAULT : b->o.output_len,
                           .range_ratio = b->o.range_ratio,
                           .prefix_len = b->o.prefix_len,
                           .seed = (uint64_t)b->o.seed,
                           .progress = nb_progress_show,
                           .user = &b->progress};
    nb_progress_open(&b->progress, "preparing");
    if (b->o.quiet) b->progress.on = false;
    int code = random ? nb_prompt_random(&b->endpoint, &o, b->arena, &b->prompts, err) : read_dataset(b, &o, err);
    nb_progress_close(&b->progress);
    return code;
}

static void add_real(nb_buf *out, const char *name, double value)
{
    nb_buf_printf(out, ",\"%s\":%.9g", name, value);
}

static int make_fields(nb_bench_serve *b, nb_error *err)
{
    nb_buf *f = &b->fields;
    bool full = b->o.ignore_eos || (strcmp(b->o.dataset, "random") == 0 && !b->o.stop_at_eos);
    if (full) nb_buf_add_c(f, ",\"ignore_eos\":true");
    if (b->o.temperature >= 0) add_real(f, "temperature", b->o.temperature);
    if (b->o.top_p >= 0) add_real(f, "top_p", b->o.top_p);
    if (b->o.top_k >= 0) nb_buf_printf(f, ",\"top_k\":%lld", (long long)b->o.top_k);
    if (b->o.min_p >= 0) add_real(f, "min_p", b->o.min_p);
    if (b->o.repetition_penalty >= 0) add_real(f, "repetition_penalty", b->o.repetition_penalty);
    if (!isnan(b->o.presence_penalty)) add_real(f, "presence_penalty", b->o.presence_penalty);
    if (!isnan(b->o.frequency_penalty)) add_real(f, "frequency_penalty", b->o.frequency_penalty);
    if (b->o.logprobs >= 0)
        nb_buf_printf(f, b->endpoint.chat ? ",\"logprobs\":true,\"top_logprobs\":%lld" : ",\"logprobs\":%lld",
                      (long long)b->o.logprobs);
    if (!b->o.extra_body) return NB_OK;
    json_t *object = NULL;
    NB_TRY(nb_json_parse(nb_str_from(b->o.extra_body), "--extra-body", &object, err));
    nb_buf text = {0};
    if (json_is_object(object)) nb_json_write(object, &text);
    json_decref(object);
    if (!text.len) return nb_error_set(err, NB_ERR_USAGE, "--extra-body must be a JSON object");
    if (text.len > 2) nb_buf_printf(f, ",%.*s", (int)text.len - 2, text.ptr + 1);
    nb_buf_drop(&text);
    return NB_OK;
}

int nb_bench_serve_setup(nb_bench_serve *b, const char *const *more_goal, int n_more, nb_error *err)
{
    NB_TRY(check_options(b, err));
    NB_TRY(parse_lists(b, more_goal, n_more, err));
    NB_TRY(choose_endpoint(b, err));
    NB_TRY(ask_server(b, err));
    NB_TRY(make_fields(b, err));
    return make_prompts(b, err);
}
