// nibble bench serve: a load on any server with the OpenAI API, with the flags, the figures and the JSON of
// `vllm bench serve`.
#include <math.h>
#include <signal.h>

#include "cli/bench_serve.h"
#include "cli/commands.h"

static nb_bench_serve_options o = {.host = "127.0.0.1",
                                   .port = 8000,
                                   .backend = "openai",
                                   .dataset = "random",
                                   .num_prompts = 1000,
                                   .input_len = 1024,
                                   .request_rate = "inf",
                                   .burstiness = "1",
                                   .temperature = -1,
                                   .top_p = -1,
                                   .min_p = -1,
                                   .repetition_penalty = -1,
                                   .presence_penalty = NAN,
                                   .frequency_penalty = NAN,
                                   .top_k = -1,
                                   .logprobs = -1,
                                   .percentile_metrics = "ttft,tpot,itl,e2el",
                                   .metric_percentiles = "99",
                                   .id_prefix = "bench-"};

static const nb_option options[] = {
    {"url", 0, NB_OPTION_STRING, &o.url, "URL", "the server, without a path (default: from host and port)"},
    {"base-url", 0, NB_OPTION_STRING, &o.url, "URL", "the same"},
    {"host", 0, NB_OPTION_STRING, &o.host, "ADDRESS", "where it is"},
    {"port", 'p', NB_OPTION_INT, &o.port, "N", "its port"},
    {"endpoint", 0, NB_OPTION_STRING, &o.endpoint_name, "NAME",
     "completions, chat, or a path that ends so (default: as the backend)"},
    {"backend", 0, NB_OPTION_STRING, &o.backend, "openai|vllm|openai-chat", "completions twice, and chat"},
    {"model", 'm', NB_OPTION_STRING, &o.model, "NAME", "name in the requests (default: the server's first model)"},
    {"served-model-name", 0, NB_OPTION_STRING, &o.served_name, "NAME", "name in the requests, where it is not --model"},
    {"api-key", 0, NB_OPTION_STRING, &o.api_key, "KEY", "bearer token (default: OPENAI_API_KEY of the environment)"},
    {"header", 0, NB_OPTION_LIST, &o.headers, "KEY=VALUE", "header of every request; repeatable"},
    {"insecure", 0, NB_OPTION_FLAG, &o.insecure, NULL, "do not check the certificate of an HTTPS server"},
    {"dataset", 0, NB_OPTION_STRING, &o.dataset, "random|jsonl|custom|sharegpt", "what to send; custom is jsonl"},
    {"dataset-name", 0, NB_OPTION_STRING, &o.dataset, "random|jsonl|custom|sharegpt", "the same"},
    {"dataset-path", 0, NB_OPTION_STRING, &o.dataset_path, "FILE", "of a dataset that is not random"},
    {"num-prompts", 'n', NB_OPTION_INT, &o.num_prompts, "N", "requests to send"},
    {"input-len", 0, NB_OPTION_INT, &o.input_len, "N", "tokens of a random prompt"},
    {"random-input-len", 0, NB_OPTION_INT, &o.input_len, "N", "the same"},
    {"output-len", 0, NB_OPTION_INT, &o.output_len, "N", "tokens to ask for (default: 128, or as the dataset says)"},
    {"random-output-len", 0, NB_OPTION_INT, &o.output_len, "N", "the same"},
    {"sharegpt-output-len", 0, NB_OPTION_INT, &o.output_len, "N", "the same"},
    {"custom-output-len", 0, NB_OPTION_INT, &o.output_len, "N", "the same"},
    {"random-range-ratio", 0, NB_OPTION_DOUBLE, &o.range_ratio, "R", "lengths vary by this share up and down"},
    {"random-prefix-len", 0, NB_OPTION_INT, &o.prefix_len, "N", "further tokens at the start, the same in all prompts"},
    {"request-rate", 0, NB_OPTION_STRING, &o.request_rate, "R", "requests a second; inf sends all at once"},
    {"burstiness", 0, NB_OPTION_STRING, &o.burstiness, "B",
     "shape of the gaps' gamma distribution: 1 Poisson, less is burstier, inf a clock"},
    {"ramp-up-strategy", 0, NB_OPTION_STRING, &o.ramp_up, "linear|exponential", "the rate rises instead"},
    {"ramp-up-start-rps", 0, NB_OPTION_DOUBLE, &o.ramp_start, "R", "from this rate"},
    {"ramp-up-end-rps", 0, NB_OPTION_DOUBLE, &o.ramp_end, "R", "to this one"},
    {"max-concurrency", 'c', NB_OPTION_INT, &o.max_concurrency, "N", "requests that run at once at most; 0: no limit"},
    {"num-warmups", 0, NB_OPTION_INT, &o.warmups, "N", "requests before the run that are not counted"},
    {"ready-check-timeout-sec", 0, NB_OPTION_INT, &o.ready_timeout_s, "S", "wait so long for the server to answer"},
    {"seed", 0, NB_OPTION_INT, &o.seed, "N", "of prompts and arrivals"},
    {"ignore-eos", 0, NB_OPTION_FLAG, &o.ignore_eos, NULL, "ask for full answers; on for random prompts"},
    {"no-ignore-eos", 0, NB_OPTION_FLAG, &o.stop_at_eos, NULL, "off: some servers refuse the field"},
    {"temperature", 0, NB_OPTION_DOUBLE, &o.temperature, "T", "as in the API; the server's default unless given"},
    {"top-p", 0, NB_OPTION_DOUBLE, &o.top_p, "P", "as in the API"},
    {"top-k", 0, NB_OPTION_INT, &o.top_k, "N", "as in the API"},
    {"min-p", 0, NB_OPTION_DOUBLE, &o.min_p, "P", "as in the API"},
    {"presence-penalty", 0, NB_OPTION_DOUBLE, &o.presence_penalty, "A", "as in the API"},
    {"frequency-penalty", 0, NB_OPTION_DOUBLE, &o.frequency_penalty, "A", "as in the API"},
    {"repetition-penalty", 0, NB_OPTION_DOUBLE, &o.repetition_penalty, "R", "as in the API"},
    {"logprobs", 0, NB_OPTION_INT, &o.logprobs, "N", "log-probabilities a token to ask for"},
    {"extra-body", 0, NB_OPTION_STRING, &o.extra_body, "JSON", "object with further fields of each request"},
    {"goodput", 0, NB_OPTION_LIST, &o.goodput, "KEY:MS", "goal for ttft, tpot or e2el: a good request is within all"},
    {"percentile-metrics", 0, NB_OPTION_STRING, &o.percentile_metrics, "KEY,..",
     "what is shown: ttft, tpot, itl, e2el, client_queue_time, e2el_including_client_queue"},
    {"metric-percentiles", 0, NB_OPTION_STRING, &o.metric_percentiles, "P,..", "percentiles of each"},
    {"save-result", 0, NB_OPTION_FLAG, &o.save_result, NULL, "write the figures as JSON"},
    {"save-detailed", 0, NB_OPTION_FLAG, &o.save_detailed, NULL, "and those of each request"},
    {"result-dir", 0, NB_OPTION_STRING, &o.result_dir, "FOLDER", "where to write them"},
    {"result-filename", 0, NB_OPTION_STRING, &o.result_filename, "FILE",
     "under which name (default: of label, rate, model and date)"},
    {"report", 0, NB_OPTION_STRING, &o.report_file, "FILE", "write an HTML page with plots"},
    {"label", 0, NB_OPTION_STRING, &o.label, "TEXT", "name of the run in what is written"},
    {"metadata", 0, NB_OPTION_LIST, &o.metadata, "KEY=VALUE", "field of what is written; repeatable"},
    {"request-id-prefix", 0, NB_OPTION_STRING, &o.id_prefix, "TEXT", "of X-Request-Id"},
    {"disable-tqdm", 0, NB_OPTION_FLAG, &o.quiet, NULL, "no progress bar"},
    {"tokenizer", 0, NB_OPTION_IGNORED, NULL, "NAME", "the server counts tokens"},
    {"tokenizer-mode", 0, NB_OPTION_IGNORED, NULL, "NAME", "the server counts tokens"},
    {"skip-tokenizer-init", 0, NB_OPTION_IGNORED, NULL, NULL, "the server counts tokens"},
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

int nb_cmd_bench_serve(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[NB_BENCH_GOALS_MAX];
    int n_argument, code = nb_command_parse(&nb_command_bench_serve, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    nb_bench_serve b = {.o = o, .arena = nb_arena_open(0), .interrupted = &interrupted};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (code == NB_OK) code = nb_bench_serve_setup(&b, argument, n_argument, &err);
    catch_interrupt();
    if (code == NB_OK) code = nb_bench_serve_load(&b, &err);
    nb_endpoint_drop(&b.endpoint);
    nb_buf_drop(&b.fields);
    nb_arena_close(b.arena);
    curl_global_cleanup();
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
