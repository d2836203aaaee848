// The run of `bench serve` and what is printed and written of it.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "cli/bench_serve.h"
#include "loadgen/arrival.h"

static nb_load_options load_options(nb_bench_serve *b)
{
    return (nb_load_options){.endpoint = &b->endpoint,
                             .prompt = b->prompts.prompt,
                             .n = b->prompts.n,
                             .max_concurrency = (int)b->o.max_concurrency,
                             .fields = nb_buf_str(&b->fields),
                             .id_prefix = b->o.id_prefix,
                             .keep_text = b->o.save_detailed,
                             .interrupted = b->interrupted};
}

// The first prompt, again and again.
static int warm_up(nb_bench_serve *b, nb_error *err)
{
    if (b->o.warmups == 0) return NB_OK;
    nb_prompt *prompt = NB_ARENA_ARRAY(b->arena, nb_prompt, b->o.warmups);
    nb_load_result *result = NB_ARENA_ARRAY(b->arena, nb_load_result, b->o.warmups);
    nb_load_options o = load_options(b);
    int64_t duration_us;
    for (int64_t i = 0; i < b->o.warmups; i++) prompt[i] = b->prompts.prompt[0];
    o.prompt = prompt;
    o.n = (int)b->o.warmups;
    o.at_us = NB_ARENA_ARRAY(b->arena, int64_t, b->o.warmups);
    o.id_prefix = "warmup-";
    int code = nb_load_run(&o, result, &duration_us, err);
    nb_load_results_drop(result, o.n);
    return code;
}

static const char *result_path(nb_bench_serve *b, const char *date)
{
    const char *slash = strrchr(b->endpoint.model, '/'), *name = b->o.result_filename;
    if (!name) {
        name = nb_arena_printf(b->arena, "%s-%sqps-%s-%s.json", b->o.label ? b->o.label : b->o.backend,
                               b->o.request_rate, slash ? slash + 1 : b->endpoint.model, date);
    }
    return b->o.result_dir ? nb_path_join(b->arena, b->o.result_dir, name) : name;
}

static int write_files(nb_bench_serve *b, nb_error *err)
{
    nb_buf json = {0}, html = {0};
    int code = NB_OK;
    if (b->o.save_result || b->o.save_detailed || b->o.result_filename || b->o.result_dir) {
        nb_load_report_json(&b->report, b->o.save_detailed, &json);
        code = nb_file_replace(result_path(b, b->report.date), nb_buf_str(&json), err);
    }
    if (b->o.report_file && code == NB_OK) {
        nb_load_report_html(&b->report, &html);
        code = nb_file_replace(b->o.report_file, nb_buf_str(&html), err);
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

static int report(nb_bench_serve *b, const nb_load_result *result, int64_t duration_us, nb_error *err)
{
    nb_load_summary summary;
    nb_buf text = {0};
    nb_load_summary_make(result, b->prompts.n, duration_us, b->goal, b->n_goal, &summary);
    nb_load_report *r = &b->report;
    r->summary = &summary;
    r->result = result;
    r->n = b->prompts.n;
    r->backend = b->o.backend;
    r->label = b->o.label;
    r->model = b->endpoint.model;
    r->url = b->endpoint.url;
    r->dataset = b->o.dataset;
    r->date = date_text(b->arena);
    r->ramp_up = b->o.ramp_up;
    r->ramp_start_per_s = b->o.ramp_start;
    r->ramp_end_per_s = b->o.ramp_end;
    r->max_concurrency = (int)b->o.max_concurrency;
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

static nb_arrival arrival_of(const nb_bench_serve *b)
{
    nb_arrival a = {
        .rate_per_s = b->report.rate_per_s, .burstiness = b->report.burstiness, .seed = (uint64_t)b->o.seed};
    if (!b->o.ramp_up) return a;
    a.rate_per_s = b->o.ramp_start;
    a.end_rate_per_s = b->o.ramp_end;
    a.exponential = strcmp(b->o.ramp_up, "exponential") == 0;
    return a;
}

static int run_load(nb_bench_serve *b, nb_error *err)
{
    int n = b->prompts.n;
    int64_t *at_us = NB_ARENA_ARRAY(b->arena, int64_t, n), duration_us = 0;
    nb_load_result *result = NB_ARENA_ARRAY(b->arena, nb_load_result, n);
    nb_arrival arrival = arrival_of(b);
    nb_arrival_times(&arrival, n, at_us);
    nb_load_options o = load_options(b);
    nb_spec_decode before, after;
    nb_spec_decode_read(&b->endpoint, &before);
    o.at_us = at_us;
    o.progress = nb_progress_show;
    o.user = &b->progress;
    nb_progress_open(&b->progress, "requests");
    if (b->o.quiet) b->progress.on = false;
    int code = nb_load_run(&o, result, &duration_us, err);
    nb_progress_close(&b->progress);
    nb_spec_decode_read(&b->endpoint, &after);
    b->report.spec_decode = nb_spec_decode_since(&before, &after);
    if (code == NB_OK) code = report(b, result, duration_us, err);
    nb_load_results_drop(result, n);
    return code;
}

int nb_bench_serve_load(nb_bench_serve *b, nb_error *err)
{
    NB_TRY(warm_up(b, err));
    return run_load(b, err);
}
