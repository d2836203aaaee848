// nibble bench serve: a load on any server with the OpenAI API, with the flags, the figures and the JSON of
// `vllm bench serve`.
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "cli/bench_text.h"
#include "cli/commands.h"
#include "loadgen/arrival.h"

enum { OUTPUT_LEN_DEFAULT = 128 };

static const char *url, *host = "127.0.0.1", *endpoint_name, *backend = "openai", *model, *served_name, *api_key;
static const char *dataset = "random", *dataset_path, *request_rate = "inf", *burstiness = "1", *label;
static const char *percentile_metrics = "ttft,tpot,itl,e2el", *metric_percentiles = "99", *extra_body;
static const char *result_dir, *result_filename, *report_file, *id_prefix = "bench-";
static nb_option_list goodput, metadata, headers;
static int64_t port = 8000, num_prompts = 1000, max_concurrency, input_len = 1024, output_len, prefix_len, seed;
static int64_t warmups, ready_timeout_s;
static double range_ratio, temperature = -1, top_p = -1, min_p = -1, repetition_penalty = -1;
static double presence_penalty = NAN, frequency_penalty = NAN;
static int64_t top_k = -1, logprobs = -1;
static bool ignore_eos, stop_at_eos, save_result, save_detailed, quiet, insecure;

static const nb_option options[] = {
    {"url", 0, NB_OPTION_STRING, &url, "URL", "the server, without a path (default: from host and port)"},
    {"base-url", 0, NB_OPTION_STRING, &url, "URL", "the same"},
    {"host", 0, NB_OPTION_STRING, &host, "ADDRESS", "where it is"},
    {"port", 'p', NB_OPTION_INT, &port, "N", "its port"},
    {"endpoint", 0, NB_OPTION_STRING, &endpoint_name, "NAME",
     "completions, chat, or a path that ends so (default: as the backend)"},
    {"backend", 0, NB_OPTION_STRING, &backend, "openai|vllm|openai-chat", "completions twice, and chat"},
    {"model", 'm', NB_OPTION_STRING, &model, "NAME", "name in the requests (default: the server's first model)"},
    {"served-model-name", 0, NB_OPTION_STRING, &served_name, "NAME", "name in the requests, where it is not --model"},
    {"api-key", 0, NB_OPTION_STRING, &api_key, "KEY", "bearer token (default: OPENAI_API_KEY of the environment)"},
    {"header", 0, NB_OPTION_LIST, &headers, "KEY=VALUE", "header of every request; repeatable"},
    {"insecure", 0, NB_OPTION_FLAG, &insecure, NULL, "do not check the certificate of an HTTPS server"},
    {"dataset", 0, NB_OPTION_STRING, &dataset, "random|jsonl|custom|sharegpt", "what to send; custom is jsonl"},
    {"dataset-name", 0, NB_OPTION_STRING, &dataset, "random|jsonl|custom|sharegpt", "the same"},
    {"dataset-path", 0, NB_OPTION_STRING, &dataset_path, "FILE", "of a dataset that is not random"},
    {"num-prompts", 'n', NB_OPTION_INT, &num_prompts, "N", "requests to send"},
    {"input-len", 0, NB_OPTION_INT, &input_len, "N", "tokens of a random prompt"},
    {"random-input-len", 0, NB_OPTION_INT, &input_len, "N", "the same"},
    {"output-len", 0, NB_OPTION_INT, &output_len, "N", "tokens to ask for (default: 128, or as the dataset says)"},
    {"random-output-len", 0, NB_OPTION_INT, &output_len, "N", "the same"},
    {"sharegpt-output-len", 0, NB_OPTION_INT, &output_len, "N", "the same"},
    {"custom-output-len", 0, NB_OPTION_INT, &output_len, "N", "the same"},
    {"random-range-ratio", 0, NB_OPTION_DOUBLE, &range_ratio, "R", "lengths vary by this share up and down"},
    {"random-prefix-len", 0, NB_OPTION_INT, &prefix_len, "N", "further tokens at the start, the same in all prompts"},
    {"request-rate", 0, NB_OPTION_STRING, &request_rate, "R", "requests a second; inf sends all at once"},
    {"burstiness", 0, NB_OPTION_STRING, &burstiness, "B",
     "shape of the gaps' gamma distribution: 1 Poisson, less is burstier, inf a clock"},
    {"max-concurrency", 'c', NB_OPTION_INT, &max_concurrency, "N", "requests that run at once at most; 0: no limit"},
    {"num-warmups", 0, NB_OPTION_INT, &warmups, "N", "requests before the run that are not counted"},
    {"ready-check-timeout-sec", 0, NB_OPTION_INT, &ready_timeout_s, "S", "wait so long for the server to answer"},
    {"seed", 0, NB_OPTION_INT, &seed, "N", "of prompts and arrivals"},
    {"ignore-eos", 0, NB_OPTION_FLAG, &ignore_eos, NULL, "ask for full answers; on for random prompts"},
    {"no-ignore-eos", 0, NB_OPTION_FLAG, &stop_at_eos, NULL, "off: some servers refuse the field"},
    {"temperature", 0, NB_OPTION_DOUBLE, &temperature, "T", "as in the API; the server's default unless given"},
    {"top-p", 0, NB_OPTION_DOUBLE, &top_p, "P", "as in the API"},
    {"top-k", 0, NB_OPTION_INT, &top_k, "N", "as in the API"},
    {"min-p", 0, NB_OPTION_DOUBLE, &min_p, "P", "as in the API"},
    {"presence-penalty", 0, NB_OPTION_DOUBLE, &presence_penalty, "A", "as in the API"},
    {"frequency-penalty", 0, NB_OPTION_DOUBLE, &frequency_penalty, "A", "as in the API"},
    {"repetition-penalty", 0, NB_OPTION_DOUBLE, &repetition_penalty, "R", "as in the API"},
    {"logprobs", 0, NB_OPTION_INT, &logprobs, "N", "log-probabilities a token to ask for"},
    {"extra-body", 0, NB_OPTION_STRING, &extra_body, "JSON", "object with further fields of each request"},
    {"goodput", 0, NB_OPTION_LIST, &goodput, "KEY:MS", "goal for ttft, tpot or e2el: a good request is within all"},
    {"percentile-metrics", 0, NB_OPTION_STRING, &percentile_metrics, "KEY,..",
     "what is shown: ttft, tpot, itl, e2el, client_queue_time, e2el_including_client_queue"},
    {"metric-percentiles", 0, NB_OPTION_STRING, &metric_percentiles, "P,..", "percentiles of each"},
    {"save-result", 0, NB_OPTION_FLAG, &save_result, NULL, "write the figures as JSON"},
    {"save-detailed", 0, NB_OPTION_FLAG, &save_detailed, NULL, "and those of each request"},
    {"result-dir", 0, NB_OPTION_STRING, &result_dir, "FOLDER", "where to write them"},
    {"result-filename", 0, NB_OPTION_STRING, &result_filename, "FILE",
     "under which name (default: of label, rate, model and date)"},
    {"report", 0, NB_OPTION_STRING, &report_file, "FILE", "write an HTML page with plots"},
    {"label", 0, NB_OPTION_STRING, &label, "TEXT", "name of the run in what is written"},
    {"metadata", 0, NB_OPTION_LIST, &metadata, "KEY=VALUE", "field of what is written; repeatable"},
    {"request-id-prefix", 0, NB_OPTION_STRING, &id_prefix, "TEXT", "of X-Request-Id"},
    {"disable-tqdm", 0, NB_OPTION_FLAG, &quiet, NULL, "no progress bar"},
    {"tokenizer", 0, NB_OPTION_IGNORED, NULL, "NAME", "the server counts tokens"},
    {"trust-remote-code", 0, NB_OPTION_IGNORED, NULL, NULL, "no code of a checkpoint is ever run"},
    {0},
};

const nb_command nb_command_bench_serve = {
    .name = "bench-serve",
    .arguments = "[KEY:MS ...]",
    .summary = "latency and throughput of a server under load, as `vllm bench serve`",
    .example = "nibble bench serve --url http://127.0.0.1:8000 --input-len 1024 --output-len 128 --num-prompts 200 "
               "--request-rate 4 --goodput ttft:500 tpot:30 --report report.html\n"
               "nibble bench serve --endpoint chat --dataset jsonl --dataset-path prompts.jsonl --max-concurrency 16",
    .option = options,
    .n_argument_max = NB_BENCH_GOALS_MAX, // --goodput takes several values in vllm: those behind the first
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

// The first Ctrl-C ends the run, and what there is is shown; the second ends the program.
static void catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
}

typedef struct bench {
    nb_arena *arena;
    nb_endpoint endpoint;
    nb_prompt_set prompts;
    nb_buf fields; // of each request's body
    nb_load_goal goal[NB_BENCH_GOALS_MAX];
    int n_goal;
    nb_load_report report;
    nb_progress progress;
} bench;

static int check_range(const char *option, int64_t value, int64_t least, int64_t most, nb_error *err)
{
    if (value >= least && value <= most) return NB_OK;
    return nb_error_set(err, NB_ERR_USAGE, "--%s must be from %lld to %lld", option, (long long)least, (long long)most);
}

static int check_options(bench *b, nb_error *err)
{
    NB_TRY(check_range("num-prompts", num_prompts, 1, NB_PROMPT_COUNT_MAX, err));
    NB_TRY(check_range("input-len", input_len, 1, NB_PROMPT_TOKENS_MAX, err));
    NB_TRY(check_range("output-len", output_len, 0, NB_PROMPT_TOKENS_MAX, err));
    NB_TRY(check_range("random-prefix-len", prefix_len, 0, NB_PROMPT_TOKENS_MAX, err));
    NB_TRY(check_range("max-concurrency", max_concurrency, 0, NB_PROMPT_COUNT_MAX, err));
    NB_TRY(check_range("num-warmups", warmups, 0, NB_PROMPT_COUNT_MAX, err));
    if (!(range_ratio >= 0 && range_ratio < 1))
        return nb_error_set(err, NB_ERR_USAGE, "--random-range-ratio must be at least 0 and less than 1");
    if (strcmp(dataset, "random") != 0 && !dataset_path)
        return nb_error_set(err, NB_ERR_USAGE, "--dataset %s needs --dataset-path", dataset);
    NB_TRY(nb_bench_text_positive("request-rate", request_rate, &b->report.rate_per_s, err));
    return nb_bench_text_positive("burstiness", burstiness, &b->report.burstiness, err);
}

static int parse_lists(bench *b, const char *const *more_goals, int n_more, nb_error *err)
{
    nb_load_report *r = &b->report;
    for (int i = 0; i < goodput.n; i++) NB_TRY(nb_bench_text_goal(goodput.item[i], b->goal, &b->n_goal, err));
    for (int i = 0; i < n_more; i++) NB_TRY(nb_bench_text_goal(more_goals[i], b->goal, &b->n_goal, err));
    NB_TRY(nb_bench_text_metrics(percentile_metrics, r, err));
    NB_TRY(nb_bench_text_percentiles(metric_percentiles, r, err));
    if (metadata.n > NB_LOAD_METADATA_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "--metadata: at most %d", NB_LOAD_METADATA_MAX);
    for (int i = 0; i < metadata.n; i++) {
        nb_bench_pair pair;
        NB_TRY(nb_bench_text_pair("metadata", metadata.item[i], b->arena, &pair, err));
        r->metadata_key[i] = pair.key;
        r->metadata_value[i] = pair.value;
    }
    r->n_metadata = metadata.n;
    return NB_OK;
}

// The server's address without "/v1" and slashes at its end, which many write.
static const char *server_url(bench *b)
{
    if (!url) return nb_arena_printf(b->arena, "http://%s:%lld", host, (long long)port);
    nb_str s = nb_str_from(url);
    while (nb_str_ends(s, NB_STR("/"))) s.len--;
    if (nb_str_ends(s, NB_STR("/v1"))) s.len -= 3;
    return nb_arena_str(b->arena, s).ptr;
}

static int choose_endpoint(bench *b, nb_error *err)
{
    nb_endpoint *e = &b->endpoint;
    const char *name = endpoint_name ? endpoint_name : strcmp(backend, "openai-chat") == 0 ? "chat" : "completions";
    e->url = server_url(b);
    e->path = strcmp(name, "chat") == 0          ? "/v1/chat/completions"
              : strcmp(name, "completions") == 0 ? "/v1/completions"
                                                 : name;
    if (e->path[0] != '/' || !nb_str_ends(nb_str_from(e->path), NB_STR("completions")))
        return nb_error_set(err, NB_ERR_USAGE, "--endpoint: '%s' is not completions, chat or a path of one", name);
    e->chat = nb_str_ends(nb_str_from(e->path), NB_STR("chat/completions"));
    e->insecure = insecure;
    nb_endpoint_header(e, "Content-Type", "application/json");
    const char *key = api_key ? api_key : getenv("OPENAI_API_KEY");
    if (key && key[0]) nb_endpoint_header(e, "Authorization", nb_arena_printf(b->arena, "Bearer %s", key));
    for (int i = 0; i < headers.n; i++) {
        nb_bench_pair pair;
        NB_TRY(nb_bench_text_pair("header", headers.item[i], b->arena, &pair, err));
        nb_endpoint_header(e, pair.key, pair.value);
    }
    return NB_OK;
}

// The model's name and whether the server counts tokens.
static int ask_server(bench *b, nb_error *err)
{
    nb_endpoint *e = &b->endpoint;
    nb_error no_tokenizer;
    int32_t *id;
    int n_id;
    e->model = served_name ? served_name : model;
    if (!e->model || ready_timeout_s) {
        const char *first = NULL;
        NB_TRY(nb_endpoint_first_model(e, ready_timeout_s, b->arena, &first, err));
        if (!e->model) e->model = first;
    }
    e->tokenizer_path = "/tokenize";
    if (nb_endpoint_tokenize(e, NB_STR("one two"), b->arena, &id, &n_id, &no_tokenizer) == NB_OK && n_id >= 2)
        return NB_OK;
    e->tokenizer_path = NULL;
    fprintf(stderr, "nibble: the server has no /tokenize: a random prompt has a word for each token\n");
    return NB_OK;
}

static int read_dataset(bench *b, const nb_prompt_options *o, nb_error *err)
{
    nb_str file;
    NB_TRY(nb_file_read(dataset_path, NB_PROMPT_FILE_BYTES_MAX, b->arena, &file, err));
    if (strcmp(dataset, "sharegpt") == 0) return nb_prompt_sharegpt(&b->endpoint, file, o, b->arena, &b->prompts, err);
    NB_TRY(nb_prompt_jsonl(file, o, b->arena, &b->prompts, err));
    for (int i = 0; i < b->prompts.n && !b->endpoint.chat; i++) {
        if (b->prompts.prompt[i].messages.len)
            return nb_error_set(err, NB_ERR_USAGE, "%s holds messages: use --endpoint chat", dataset_path);
    }
    return NB_OK;
}

static int make_prompts(bench *b, nb_error *err)
{
    bool random = strcmp(dataset, "random") == 0;
    nb_prompt_options o = {.n = (int)num_prompts,
                           .input_len = input_len,
                           .output_len = random && !output_len ? OUTPUT_LEN_DEFAULT : output_len,
                           .range_ratio = range_ratio,
                           .prefix_len = prefix_len,
                           .seed = (uint64_t)seed,
                           .progress = nb_progress_show,
                           .user = &b->progress};
    nb_progress_open(&b->progress, "preparing");
    if (quiet) b->progress.on = false;
    int code = random ? nb_prompt_random(&b->endpoint, &o, b->arena, &b->prompts, err) : read_dataset(b, &o, err);
    nb_progress_close(&b->progress);
    return code;
}

static void add_real(nb_buf *out, const char *name, double value)
{
    nb_buf_printf(out, ",\"%s\":%.9g", name, value);
}

static int make_fields(bench *b, nb_error *err)
{
    nb_buf *f = &b->fields;
    bool full = ignore_eos || (strcmp(dataset, "random") == 0 && !stop_at_eos);
    if (full) nb_buf_add_c(f, ",\"ignore_eos\":true");
    if (temperature >= 0) add_real(f, "temperature", temperature);
    if (top_p >= 0) add_real(f, "top_p", top_p);
    if (top_k >= 0) nb_buf_printf(f, ",\"top_k\":%lld", (long long)top_k);
    if (min_p >= 0) add_real(f, "min_p", min_p);
    if (repetition_penalty >= 0) add_real(f, "repetition_penalty", repetition_penalty);
    if (!isnan(presence_penalty)) add_real(f, "presence_penalty", presence_penalty);
    if (!isnan(frequency_penalty)) add_real(f, "frequency_penalty", frequency_penalty);
    if (logprobs >= 0)
        nb_buf_printf(f, b->endpoint.chat ? ",\"logprobs\":true,\"top_logprobs\":%lld" : ",\"logprobs\":%lld",
                      (long long)logprobs);
    if (!extra_body) return NB_OK;
    json_t *object = NULL;
    NB_TRY(nb_json_parse(nb_str_from(extra_body), "--extra-body", &object, err));
    nb_buf text = {0};
    if (json_is_object(object)) nb_json_write(object, &text);
    json_decref(object);
    if (!text.len) return nb_error_set(err, NB_ERR_USAGE, "--extra-body must be a JSON object");
    if (text.len > 2) nb_buf_printf(f, ",%.*s", (int)text.len - 2, text.ptr + 1);
    nb_buf_drop(&text);
    return NB_OK;
}

static nb_load_options load_options(bench *b)
{
    return (nb_load_options){.endpoint = &b->endpoint,
                             .prompt = b->prompts.prompt,
                             .n = b->prompts.n,
                             .max_concurrency = (int)max_concurrency,
                             .fields = nb_buf_str(&b->fields),
                             .id_prefix = id_prefix,
                             .keep_text = save_detailed,
                             .interrupted = &interrupted};
}

// The first prompt, again and again.
static int warm_up(bench *b, nb_error *err)
{
    if (warmups == 0) return NB_OK;
    nb_prompt *prompt = NB_ARENA_ARRAY(b->arena, nb_prompt, warmups);
    nb_load_result *result = NB_ARENA_ARRAY(b->arena, nb_load_result, warmups);
    nb_load_options o = load_options(b);
    int64_t duration_us;
    for (int64_t i = 0; i < warmups; i++) prompt[i] = b->prompts.prompt[0];
    o.prompt = prompt;
    o.n = (int)warmups;
    o.at_us = NB_ARENA_ARRAY(b->arena, int64_t, warmups);
    o.id_prefix = "warmup-";
    int code = nb_load_run(&o, result, &duration_us, err);
    nb_load_results_drop(result, o.n);
    return code;
}

static const char *result_path(bench *b, const char *date)
{
    const char *slash = strrchr(b->endpoint.model, '/'), *name = result_filename;
    if (!name) {
        name = nb_arena_printf(b->arena, "%s-%sqps-%s-%s.json", label ? label : backend, request_rate,
                               slash ? slash + 1 : b->endpoint.model, date);
    }
    return result_dir ? nb_path_join(b->arena, result_dir, name) : name;
}

static int write_files(bench *b, nb_error *err)
{
    nb_buf json = {0}, html = {0};
    int code = NB_OK;
    if (save_result || save_detailed || result_filename || result_dir) {
        nb_load_report_json(&b->report, save_detailed, &json);
        code = nb_file_replace(result_path(b, b->report.date), nb_buf_str(&json), err);
    }
    if (report_file && code == NB_OK) {
        nb_load_report_html(&b->report, &html);
        code = nb_file_replace(report_file, nb_buf_str(&html), err);
    }
    nb_buf_drop(&json);
    nb_buf_drop(&html);
    return code;
}

static const char *date_text(nb_arena *arena)
{
    char text[32];
    time_t now = time(NULL);
    struct tm local;
    strftime(text, sizeof text, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
    return nb_arena_printf(arena, "%s", text);
}

static int report(bench *b, const nb_load_result *result, int64_t duration_us, nb_error *err)
{
    nb_load_summary summary;
    nb_buf text = {0};
    nb_load_summary_make(result, b->prompts.n, duration_us, b->goal, b->n_goal, &summary);
    nb_load_report *r = &b->report;
    r->summary = &summary;
    r->result = result;
    r->n = b->prompts.n;
    r->backend = backend;
    r->label = label;
    r->model = b->endpoint.model;
    r->url = b->endpoint.url;
    r->dataset = dataset;
    r->date = date_text(b->arena);
    r->max_concurrency = (int)max_concurrency;
    r->goal = b->goal;
    r->n_goal = b->n_goal;
    nb_load_report_text(r, &text);
    fwrite(text.ptr, 1, text.len, stdout);
    nb_buf_drop(&text);
    int code = write_files(b, err);
    if (code == NB_OK && summary.n_completed == 0) code = nb_error_set(err, NB_ERR_INPUT, "no request was completed");
    nb_load_summary_drop(&summary);
    return code;
}

static int run_load(bench *b, nb_error *err)
{
    int n = b->prompts.n;
    int64_t *at_us = NB_ARENA_ARRAY(b->arena, int64_t, n), duration_us = 0;
    nb_load_result *result = NB_ARENA_ARRAY(b->arena, nb_load_result, n);
    nb_arrival_times(&(nb_arrival){b->report.rate_per_s, b->report.burstiness, (uint64_t)seed}, n, at_us);
    nb_load_options o = load_options(b);
    nb_spec_decode before, after;
    nb_spec_decode_read(&b->endpoint, &before);
    o.at_us = at_us;
    o.progress = nb_progress_show;
    o.user = &b->progress;
    nb_progress_open(&b->progress, "requests");
    if (quiet) b->progress.on = false;
    int code = nb_load_run(&o, result, &duration_us, err);
    nb_progress_close(&b->progress);
    nb_spec_decode_read(&b->endpoint, &after);
    b->report.spec_decode = nb_spec_decode_since(&before, &after);
    if (code == NB_OK) code = report(b, result, duration_us, err);
    nb_load_results_drop(result, n);
    return code;
}

static int run(bench *b, const char *const *more_goals, int n_more, nb_error *err)
{
    NB_TRY(check_options(b, err));
    NB_TRY(parse_lists(b, more_goals, n_more, err));
    NB_TRY(choose_endpoint(b, err));
    NB_TRY(ask_server(b, err));
    NB_TRY(make_fields(b, err));
    NB_TRY(make_prompts(b, err));
    catch_interrupt();
    NB_TRY(warm_up(b, err));
    return run_load(b, err);
}

int nb_cmd_bench_serve(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[NB_BENCH_GOALS_MAX];
    int n_argument, code = nb_command_parse(&nb_command_bench_serve, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    bench b = {.arena = nb_arena_open(0)};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (code == NB_OK) code = run(&b, argument, n_argument, &err);
    nb_endpoint_drop(&b.endpoint);
    nb_buf_drop(&b.fields);
    nb_arena_close(b.arena);
    curl_global_cleanup();
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
