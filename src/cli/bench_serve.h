// Shared by the files of `nibble bench serve`: what the command line says, and what becomes of it.
#ifndef NB_BENCH_SERVE_H
#define NB_BENCH_SERVE_H

#include <signal.h>

#include "cli/bench_text.h"
#include "cli/command.h"

typedef struct nb_bench_serve_options { // as in the table of cmd_bench_serve.c
    const char *url, *host, *endpoint_name, *backend, *model, *served_name, *api_key;
    nb_option_list headers;
    int64_t port;
    bool insecure;
    const char *dataset, *dataset_path;
    int64_t num_prompts, input_len, output_len, prefix_len, seed;
    double range_ratio;
    const char *request_rate, *burstiness, *ramp_up;
    double ramp_start, ramp_end;
    int64_t max_concurrency, warmups, ready_timeout_s;
    bool ignore_eos, stop_at_eos;
    double temperature, top_p, min_p, repetition_penalty; // -1: not sent
    double presence_penalty, frequency_penalty;           // NAN: not sent
    int64_t top_k, logprobs;                              // -1: not sent
    const char *extra_body;
    nb_option_list goodput, metadata;
    const char *percentile_metrics, *metric_percentiles;
    bool save_result, save_detailed, quiet;
    const char *result_dir, *result_filename, *report_file, *label, *id_prefix;
} nb_bench_serve_options;

typedef struct nb_bench_serve {
    nb_bench_serve_options o;
    const volatile sig_atomic_t *interrupted; // set by Ctrl-C
    nb_arena *arena;
    nb_endpoint endpoint;
    nb_prompt_set prompts;
    nb_buf fields; // of each request's body
    nb_load_goal goal[NB_BENCH_GOALS_MAX];
    int n_goal;
    nb_load_report report;
    nb_progress progress;
} nb_bench_serve;

// Checks the options, finds the server's model and makes the prompts. `more_goal`: what stood behind --goodput.
int nb_bench_serve_setup(nb_bench_serve *bench, const char *const *more_goal, int n_more, nb_error *err);

// The run: warm-up, load, figures, files.
int nb_bench_serve_load(nb_bench_serve *bench, nb_error *err);

#endif
