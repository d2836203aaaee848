// nibble serve: the OpenAI API over a checkpoint, with vLLM's flags. Flags whose matter nibble decides by itself are
// accepted and announced.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/session_options.h"
#include "cli/speculation.h"
#include "model/plan.h"
#include "serve/api.h"
#include "serve/metrics.h"

enum { DRAIN_S = 120, GRID_TOKENS = 32 * NB_PAGE_TOKENS };

static nb_session_options session_options = NB_SESSION_DEFAULTS;
static const char *model_name, *host = "0.0.0.0", *root_path, *ssl_certfile, *ssl_keyfile, *config_file, *chat_template,
                               *api_key_file, *speculative_config;
static const char *reasoning_parser = "", *tool_call_parser = "", *log_format = "text", *log_level = "info";
static nb_option_list served_model_name, api_key, allowed_origins;
static int64_t port = 8000, max_model_len, max_num_seqs = 256, max_num_batched_tokens = 2048, max_waiting = 1024;
static int64_t tensor_parallel_size = 1, kv_cache_memory = (int64_t)4 << 30, saved_states = -1;
static bool auto_tool_choice, no_page, no_prefix_caching;

#define DECIDED(name, value, why)                    \
    {                                                \
        name, 0, NB_OPTION_IGNORED, NULL, value, why \
    }

static const nb_option options[] = {
    {"model", 0, NB_OPTION_STRING, &model_name, "CKPT",
     "the checkpoint, where it does not stand alone: in a file of options"},
    {"host", 0, NB_OPTION_STRING, &host, "ADDRESS", "address to listen on"},
    {"port", 'p', NB_OPTION_INT, &port, "N", "port to listen on; 0 takes a free one"},
    {"served-model-name", 0, NB_OPTION_LIST, &served_model_name, "NAME",
     "name in the API (default: as given); repeatable"},
    {"max-model-len", 0, NB_OPTION_INT, &max_model_len, "N", "longest sequence (default: the checkpoint's)"},
    {"max-num-seqs", 0, NB_OPTION_INT, &max_num_seqs, "N", "sequences that run at once"},
    {"max-num-batched-tokens", 0, NB_OPTION_INT, &max_num_batched_tokens, "N", "tokens of one step"},
    {"max-waiting", 0, NB_OPTION_INT, &max_waiting, "N", "requests that may queue; more get 429"},
    {"kv-cache-memory-bytes", 0, NB_OPTION_BYTES, &kv_cache_memory, "BYTES", "KV cache on the CPU"},
    {"saved-states", 0, NB_OPTION_INT, &saved_states, "N",
     "states the prefix cache may hold; -1: max-num-seqs + 32, fewer where they and the KV cache have little memory"},
    {"enable-prefix-caching", 0, NB_OPTION_IGNORED, NULL, NULL, "it is on; --no-enable-prefix-caching turns it off"},
    {"no-enable-prefix-caching", 0, NB_OPTION_FLAG, &no_prefix_caching, NULL, "compute every prompt from its start"},
    {"reasoning-parser", 0, NB_OPTION_STRING, &reasoning_parser, "NAME",
     "qwen3: the think block becomes reasoning_content"},
    {"tool-call-parser", 0, NB_OPTION_STRING, &tool_call_parser, "NAME", "qwen3_xml, qwen3_coder or hermes"},
    {"enable-auto-tool-choice", 0, NB_OPTION_FLAG, &auto_tool_choice, NULL, "let the model decide to call tools"},
    {"chat-template", 0, NB_OPTION_STRING, &chat_template, "FILE", "template instead of the checkpoint's"},
    {"api-key", 0, NB_OPTION_LIST, &api_key, "KEY", "key that clients must send; repeatable"},
    {"api-key-file", 0, NB_OPTION_STRING, &api_key_file, "FILE", "keys, one a line"},
    {"allowed-origins", 0, NB_OPTION_LIST, &allowed_origins, "ORIGIN", "web origins that may call; repeatable; *: all"},
    {"no-page", 0, NB_OPTION_FLAG, &no_page, NULL, "no chat page at /"},
    {"root-path", 0, NB_OPTION_STRING, &root_path, "PATH", "in front of every path, behind a proxy"},
    {"ssl-certfile", 0, NB_OPTION_STRING, &ssl_certfile, "FILE", "certificate (PEM) for HTTPS"},
    {"ssl-keyfile", 0, NB_OPTION_STRING, &ssl_keyfile, "FILE", "its key (PEM)"},
    {"config", 0, NB_OPTION_STRING, &config_file, "FILE", "YAML with these options; the command line wins"},
    {"log-format", 0, NB_OPTION_STRING, &log_format, "text|json", "form of the log on standard error"},
    {"log-level", 0, NB_OPTION_STRING, &log_level, "debug|info|warning|error", "least important lines shown"},
    {"speculative-config", 0, NB_OPTION_STRING, &speculative_config, "JSON",
     "{\"method\": \"mtp\", \"num_speculative_tokens\": N}: draft tokens; answers stay the same"},
    {"tensor-parallel-size", 0, NB_OPTION_INT, &tensor_parallel_size, "N", "1: one device"},
    DECIDED("quantization", "NAME", "formats are read from the tensors"),
    DECIDED("dtype", "NAME", "formats are read from the tensors"),
    DECIDED("trust-remote-code", NULL, "no code of a checkpoint is ever run"),
    DECIDED("attention-backend", "NAME", "the device has one attention kernel for each shape"),
    DECIDED("moe-backend", "NAME", "the device has one expert kernel for each format"),
    DECIDED("enable-chunked-prefill", NULL, "prefill is always chunked"),
    DECIDED("async-scheduling", NULL, "steps are always prepared ahead"),
    DECIDED("enforce-eager", NULL, "there is no compile step"),
    DECIDED("block-size", "N", "pages have 64 tokens"),
    DECIDED("swap-space", "N", "preempted sequences are computed again, not swapped"),
    DECIDED("disable-log-requests", NULL, "use --log-level warning"),
    NB_SESSION_LOAD_ROWS(session_options),
    NB_SESSION_OPTION_ROWS(session_options),
    {0},
};

const nb_command nb_command_serve = {
    .name = "serve",
    .arguments = "CKPT",
    .summary = "serve a checkpoint over the OpenAI API",
    .example = "nibble serve models/demo --port 8000 --reasoning-parser qwen3 --tool-call-parser qwen3_xml "
               "--enable-auto-tool-choice",
    .option = options,
    .n_argument_max = 1,
};

typedef struct server { // in the order of opening
    nb_speculation speculation;
    nb_session session;
    nb_engine *engine;
    nb_chat *chat;
    nb_auth *auth;
    nb_metrics *metrics;
    nb_api *api;
    nb_http *http;
} server;

static int check_options(nb_error *err)
{
    if (tensor_parallel_size != 1)
        return nb_error_set(err, NB_ERR_USAGE, "--tensor-parallel-size: this version runs on one device; give 1");
    if (port < 0 || port > 65535) return nb_error_set(err, NB_ERR_USAGE, "--port must be from 0 to 65535");
    if (max_num_seqs < 1 || max_num_seqs > 4096)
        return nb_error_set(err, NB_ERR_USAGE, "--max-num-seqs must be from 1 to 4096");
    if (max_num_batched_tokens < NB_PAGE_TOKENS || max_num_batched_tokens > 65536)
        return nb_error_set(err, NB_ERR_USAGE, "--max-num-batched-tokens must be from %d to 65536", NB_PAGE_TOKENS);
    if (max_waiting < 0 || max_waiting > 1000000)
        return nb_error_set(err, NB_ERR_USAGE, "--max-waiting must be from 0 to 1000000");
    if (served_model_name.n > NB_API_NAMES_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "--served-model-name: at most %d names", NB_API_NAMES_MAX);
    return NB_OK;
}

static nb_log_level level_of(const char *name)
{
    if (strcmp(name, "debug") == 0) return NB_LOG_DEBUG;
    if (strcmp(name, "warning") == 0) return NB_LOG_WARN;
    return strcmp(name, "error") == 0 ? NB_LOG_ERROR : NB_LOG_INFO;
}

// On the CPU as many pages as --kv-cache-memory-bytes holds, but no more than all sequences could use; on a GPU the
// device takes what is left.
static int page_count(const nb_session *s, int64_t context, int *n_page, nb_error *err)
{
    *n_page = 0;
    if (strcmp(s->device->ops->name, "cpu") != 0) return NB_OK;
    nb_plan plan;
    NB_TRY(nb_plan_make(s->model, s->kv, &plan, err));
    int64_t useful = (context / NB_PAGE_TOKENS + 2) * max_num_seqs, fits = kv_cache_memory / plan.page_bytes;
    *n_page = (int)(useful < fits ? useful : fits);
    if (*n_page < 2)
        return nb_error_set(err, NB_ERR_USAGE, "--kv-cache-memory-bytes holds less than two pages of %lld bytes",
                            (long long)plan.page_bytes);
    return NB_OK;
}

// Before the device is opened, which loads the drafting module only if it is wanted.
static int read_speculation(server *s, nb_error *err)
{
    if (!speculative_config) return NB_OK;
    NB_TRY(nb_speculation_parse(speculative_config, &s->speculation, err));
    session_options.mtp = s->speculation.n_draft > 0;
    return NB_OK;
}

static void announce_speculation(nb_speculation *speculation, const nb_model *model)
{
    if (!speculative_config) return;
    if (speculation->n_draft > 0 && !model->has_mtp)
        *speculation = (nb_speculation){.why_off = "the checkpoint has no MTP module"};
    if (speculation->n_draft > 0)
        nb_log(NB_LOG_INFO, "speculation", "method=mtp tokens=%d", speculation->n_draft);
    else
        fprintf(stderr, "nibble: --speculative-config is ignored: %s\n", speculation->why_off);
}

static int open_engine(server *s, nb_error *err)
{
    int64_t longest = s->session.model->config.max_position_embeddings;
    nb_engine_options engine = {.kv = s->session.kv,
                                .max_model_len = max_model_len ? max_model_len : longest,
                                .max_num_seqs = (int)max_num_seqs,
                                .max_num_batched_tokens = (int)max_num_batched_tokens,
                                .max_waiting = (int)max_waiting,
                                .n_draft = s->speculation.n_draft,
                                .n_snapshot = (int)saved_states,
                                .snapshot_grid = GRID_TOKENS,
                                .enable_prefix_caching = !no_prefix_caching};
    if (engine.max_model_len < 2 || engine.max_model_len > longest)
        return nb_error_set(err, NB_ERR_USAGE, "--max-model-len must be from 2 to the checkpoint's %lld",
                            (long long)longest);
    NB_TRY(page_count(&s->session, engine.max_model_len, &engine.n_page, err));
    return nb_engine_open(s->session.device, s->session.model, &engine, &s->engine, err);
}

static void announce_memory(const server *s)
{
    nb_memory m;
    nb_engine_stats stats;
    s->session.device->ops->memory(s->session.device, &m);
    nb_engine_stats_read(s->engine, &stats);
    nb_log(NB_LOG_INFO, "memory",
           "weight_bytes=%lld state_bytes=%lld kv_bytes=%lld scratch_bytes=%lld running_states=%d saved_states=%d "
           "kv_tokens=%lld",
           (long long)m.weight_bytes, (long long)m.state_bytes, (long long)m.kv_bytes, (long long)m.scratch_bytes,
           stats.n_slot - stats.n_slot_saved_most, stats.n_slot_saved_most, (long long)m.n_page * NB_PAGE_TOKENS);
}

static int open_api(server *s, const char *name, nb_error *err)
{
    const nb_config *c = &s->session.model->config;
    nb_engine_stats stats;
    nb_engine_stats_read(s->engine, &stats);
    nb_api_options api = {.engine = s->engine,
                          .tokenizer = s->session.tokenizer,
                          .chat = s->chat,
                          .model_name = {name},
                          .n_model_name = 1,
                          .vocab_size = c->vocab_size,
                          .max_model_len = stats.max_model_len,
                          .auto_tool_choice = auto_tool_choice,
                          .no_page = no_page,
                          .n_stop = c->n_eos};
    for (int i = 0; i < served_model_name.n; i++) api.model_name[i] = served_model_name.item[i];
    if (served_model_name.n) api.n_model_name = served_model_name.n;
    for (int i = 0; i < c->n_eos; i++) api.stop_tok[i] = c->eos_token_id[i];
    nb_session_sampling(&s->session, &api.sampling);
    api.version = NB_VERSION;
    api.metrics = s->metrics = nb_metrics_open(api.model_name[0], api.max_model_len);
    if (reasoning_parser[0]) NB_TRY(nb_reasoning_format_parse(reasoning_parser, &api.reasoning, err));
    if (tool_call_parser[0]) NB_TRY(nb_tool_format_parse(tool_call_parser, &api.tool, err));
    return nb_api_open(&api, &s->api, err);
}

static int open_http(server *s, nb_error *err)
{
    nb_http_route route[NB_API_ROUTES_MAX];
    NB_TRY(nb_auth_open(api_key.item, api_key.n, api_key_file, &s->auth, err));
    nb_http_options http = {.host = host,
                            .port = (int)port,
                            .root_path = root_path,
                            .route = route,
                            .n_route = nb_api_routes(s->api, route),
                            .auth = s->auth,
                            .allowed_origin = allowed_origins.item,
                            .n_allowed_origin = allowed_origins.n,
                            .ssl_certfile = ssl_certfile,
                            .ssl_keyfile = ssl_keyfile};
    NB_TRY(nb_http_open(&http, &s->http, err));
    nb_api_attach(s->api, s->http);
    return NB_OK;
}

static int open_all(server *s, const char *name, nb_error *err)
{
    nb_error no_template;
    NB_TRY(check_options(err));
    NB_TRY(read_speculation(s, err));
    NB_TRY(nb_command_open(name, &session_options, &s->session, err));
    announce_speculation(&s->speculation, s->session.model);
    NB_TRY(open_engine(s, err));
    announce_memory(s);
    if (nb_chat_open(s->session.text_folder, chat_template, &s->chat, &no_template) != NB_OK) {
        if (chat_template) return nb_error_set(err, NB_ERR_INPUT, "%s", no_template.text);
        nb_log(NB_LOG_WARN, "no chat template: chat requests will be refused", NULL);
    }
    NB_TRY(open_api(s, name, err));
    return open_http(s, err);
}

static void close_all(server *s)
{
    if (s->http) nb_http_close(s->http);
    if (s->engine) nb_engine_close(s->engine, false);
    if (s->api) nb_api_close(s->api);
    if (s->metrics) nb_metrics_close(s->metrics);
    nb_auth_close(s->auth);
    if (s->chat) nb_chat_close(s->chat);
    nb_session_close(&s->session);
}

// Waits for the first SIGTERM or SIGINT, then for running requests; a second signal ends at once.
static void serve_until_signal(server *s, const sigset_t *signals)
{
    int signal_number;
    sigwait(signals, &signal_number);
    nb_log(NB_LOG_INFO, "draining", "signal=%d", signal_number);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    bool drained = nb_http_drain(s->http, DRAIN_S);
    nb_log(NB_LOG_INFO, "stopped", "drained=%s", drained ? "true" : "false");
}

static int run(int argc, char **argv, server *s, nb_arena *arena, nb_error *err)
{
    const char *argument[1];
    int n_argument;
    int64_t began_us = nb_clock_us();
    NB_TRY(nb_config_file_expand(argc, argv, arena, &argc, &argv, err));
    int code = nb_command_parse(&nb_command_serve, argc, argv, argument, &n_argument, err);
    if (code != NB_OK) return code;
    if (n_argument) model_name = argument[0];
    if (!model_name) return nb_error_set(err, NB_ERR_USAGE, "serve needs CKPT; see 'nibble serve --help'");
    nb_log_open(level_of(log_level), strcmp(log_format, "json") == 0);
    sigset_t signals; // blocked before any thread starts, so that only sigwait takes them
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); // a client that is gone is an error code, not the end
    NB_TRY(open_all(s, model_name, err));
    nb_log(NB_LOG_INFO, "ready", "model=%s device=%s address=%s port=%d seconds=%.2f", model_name,
           s->session.device->ops->name, host, nb_http_port(s->http), (double)(nb_clock_us() - began_us) / 1e6);
    serve_until_signal(s, &signals);
    return NB_OK;
}

int nb_cmd_serve(int argc, char **argv)
{
    nb_error err = {0};
    nb_arena *arena = nb_arena_open(0);
    server s = {0};
    int code = run(argc, argv, &s, arena, &err);
    close_all(&s);
    nb_arena_close(arena);
    if (code == 1) return NB_EXIT_OK;
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
