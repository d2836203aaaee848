// The text and the JSON. Keys, labels and order are those of `vllm bench serve`, so that tools which read one read the
// other.
#include "loadgen/load_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 50, ERRORS_SHOWN = 10 };

void nb_load_report_percentile_name(double percentile, char out[16])
{
    snprintf(out, 16, "%g", percentile);
}

static int compare_errors(const void *a, const void *b)
{
    return ((const nb_load_error *)b)->n - ((const nb_load_error *)a)->n;
}

int nb_load_report_errors(const nb_load_result *result, int n, nb_load_error *out, int max)
{
    int n_error = 0;
    for (int i = 0; i < n; i++) {
        if (result[i].state != NB_LOAD_FAILED) continue;
        int at = 0;
        while (at < n_error && strcmp(out[at].text, result[i].error) != 0) at++;
        if (at == max) continue;
        if (at == n_error) out[n_error++] = (nb_load_error){result[i].error, 0};
        out[at].n++;
    }
    qsort(out, (size_t)n_error, sizeof *out, compare_errors);
    return n_error;
}

static void rule(nb_buf *out, const char *title, char fill)
{
    int left = (WIDTH - (int)strlen(title)) / 2, right = WIDTH - left - (int)strlen(title);
    for (int i = 0; i < left; i++) nb_buf_add_char(out, fill);
    nb_buf_add_c(out, title);
    for (int i = 0; i < right; i++) nb_buf_add_char(out, fill);
    nb_buf_add_char(out, '\n');
}

static void count_row(nb_buf *out, const char *name, int64_t value)
{
    nb_buf_printf(out, "%-40s %-10lld\n", name, (long long)value);
}

static void row(nb_buf *out, const char *name, double value)
{
    nb_buf_printf(out, "%-40s %-10.2f\n", name, value);
}

static void metric_rows(const nb_load_report *r, nb_load_metric m, nb_buf *out)
{
    const nb_series *s = &r->summary->metric[m];
    const char *label = nb_load_metric_names[m].label;
    char name[64], p[16];
    rule(out, nb_load_metric_names[m].header, '-');
    snprintf(name, sizeof name, "Mean %s (ms):", label);
    row(out, name, nb_series_mean(s));
    snprintf(name, sizeof name, "Median %s (ms):", label);
    row(out, name, nb_series_percentile(s, 50));
    for (int i = 0; i < r->n_percentile; i++) {
        nb_load_report_percentile_name(r->percentile[i], p);
        snprintf(name, sizeof name, "P%s %s (ms):", p, label);
        row(out, name, nb_series_percentile(s, r->percentile[i]));
    }
}

static double peak(const nb_series *s)
{
    double most = 0;
    for (int64_t i = 0; i < s->n; i++) most = fmax(most, s->value[i]);
    return most;
}

static void head_rows(const nb_load_report *r, nb_buf *out)
{
    const nb_load_summary *s = r->summary;
    rule(out, " Serving Benchmark Result ", '=');
    count_row(out, "Successful requests:", s->n_completed);
    count_row(out, "Failed requests:", s->n_failed);
    if (s->n_cancelled + s->n_unsent) {
        count_row(out, "Interrupted requests:", s->n_cancelled);
        count_row(out, "Requests not sent:", s->n_unsent);
    }
    if (r->max_concurrency) count_row(out, "Maximum request concurrency:", r->max_concurrency);
    if (isfinite(r->rate_per_s)) row(out, "Request rate configured (RPS):", r->rate_per_s);
    row(out, "Benchmark duration (s):", s->duration_s);
    count_row(out, "Total input tokens:", s->n_input);
    count_row(out, "Total generated tokens:", s->n_output);
    row(out, "Request throughput (req/s):", s->request_rate);
    if (r->n_goal) row(out, "Request goodput (req/s):", s->good_rate);
    row(out, "Output token throughput (tok/s):", s->output_rate);
    row(out, "Peak output token throughput (tok/s):", peak(&s->tokens_by_second));
    row(out, "Peak concurrent requests:", s->max_concurrent);
    row(out, "Total token throughput (tok/s):", s->token_rate);
}

static void spec_decode_rows(const nb_spec_decode *s, nb_buf *out)
{
    char name[64];
    if (!s->known) return;
    rule(out, "Speculative Decoding", '-');
    row(out, "Acceptance rate (%):", nb_spec_decode_rate(s));
    row(out, "Acceptance length:", nb_spec_decode_length(s));
    count_row(out, "Drafts:", (int64_t)s->n_draft);
    count_row(out, "Draft tokens:", (int64_t)s->n_draft_tok);
    count_row(out, "Accepted tokens:", (int64_t)s->n_accepted);
    if (s->n_position) nb_buf_add_c(out, "Per-position acceptance (%):\n");
    for (int i = 0; i < s->n_position; i++) {
        snprintf(name, sizeof name, "  Position %d:", i);
        row(out, name, 100 * s->accepted_at[i] / s->n_draft);
    }
}

static void error_rows(const nb_load_report *r, nb_buf *out)
{
    nb_load_error error[ERRORS_SHOWN];
    int n = nb_load_report_errors(r->result, r->n, error, ERRORS_SHOWN);
    if (n) rule(out, "Errors", '-');
    for (int i = 0; i < n; i++) nb_buf_printf(out, "%6d x %s\n", error[i].n, error[i].text);
}

void nb_load_report_text(const nb_load_report *r, nb_buf *out)
{
    head_rows(r, out);
    for (int m = 0; m < NB_LOAD_METRICS; m++) {
        if (r->shows[m]) metric_rows(r, (nb_load_metric)m, out);
    }
    spec_decode_rows(&r->spec_decode, out);
    error_rows(r, out);
    rule(out, "", '=');
}

static void set_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_real(value));
}

static void set_text(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, value ? json_string(value) : json_null());
}

static void set_setup(const nb_load_report *r, json_t *o)
{
    set_text(o, "date", r->date);
    set_text(o, "endpoint_type", r->backend);
    set_text(o, "backend", r->backend);
    set_text(o, "label", r->label);
    set_text(o, "model_id", r->model);
    set_text(o, "tokenizer_id", r->model);
    json_object_set_new(o, "num_prompts", json_integer(r->n));
    for (int i = 0; i < r->n_metadata; i++) set_text(o, r->metadata_key[i], r->metadata_value[i]);
    json_object_set_new(o, "request_rate", isfinite(r->rate_per_s) ? json_real(r->rate_per_s) : json_string("inf"));
    json_object_set_new(o, "burstiness", isfinite(r->burstiness) ? json_real(r->burstiness) : json_string("inf"));
    if (r->ramp_up) {
        set_text(o, "ramp_up_strategy", r->ramp_up);
        set_real(o, "ramp_up_start_rps", r->ramp_start_per_s);
        set_real(o, "ramp_up_end_rps", r->ramp_end_per_s);
    }
    json_object_set_new(o, "max_concurrency", r->max_concurrency ? json_integer(r->max_concurrency) : json_null());
}

static void set_totals(const nb_load_report *r, json_t *o)
{
    const nb_load_summary *s = r->summary;
    set_real(o, "duration", s->duration_s);
    json_object_set_new(o, "completed", json_integer(s->n_completed));
    json_object_set_new(o, "failed", json_integer(s->n_failed));
    json_object_set_new(o, "interrupted", json_integer(s->n_cancelled + s->n_unsent));
    json_object_set_new(o, "total_input_tokens", json_integer(s->n_input));
    json_object_set_new(o, "total_output_tokens", json_integer(s->n_output));
    set_real(o, "request_throughput", s->request_rate);
    json_object_set_new(o, "request_goodput", r->n_goal ? json_real(s->good_rate) : json_null());
    set_real(o, "output_throughput", s->output_rate);
    set_real(o, "total_token_throughput", s->token_rate);
    set_real(o, "max_output_tokens_per_s", peak(&s->tokens_by_second));
    json_object_set_new(o, "max_concurrent_requests", json_integer(s->max_concurrent));
}

static void set_spec_decode(const nb_spec_decode *s, json_t *o)
{
    if (!s->known) return;
    json_t *rates = json_array();
    for (int i = 0; i < s->n_position; i++) json_array_append_new(rates, json_real(s->accepted_at[i] / s->n_draft));
    set_real(o, "spec_decode_acceptance_rate", nb_spec_decode_rate(s));
    set_real(o, "spec_decode_acceptance_length", nb_spec_decode_length(s));
    json_object_set_new(o, "spec_decode_num_drafts", json_integer((json_int_t)s->n_draft));
    json_object_set_new(o, "spec_decode_draft_tokens", json_integer((json_int_t)s->n_draft_tok));
    json_object_set_new(o, "spec_decode_accepted_tokens", json_integer((json_int_t)s->n_accepted));
    json_object_set_new(o, "spec_decode_per_position_acceptance_rates", rates);
}

static void set_metric(const nb_load_report *r, nb_load_metric m, json_t *o)
{
    const nb_series *s = &r->summary->metric[m];
    const char *key = nb_load_metric_names[m].key;
    char name[64], p[16];
    snprintf(name, sizeof name, "mean_%s_ms", key);
    set_real(o, name, nb_series_mean(s));
    snprintf(name, sizeof name, "median_%s_ms", key);
    set_real(o, name, nb_series_percentile(s, 50));
    snprintf(name, sizeof name, "std_%s_ms", key);
    set_real(o, name, nb_series_std(s));
    for (int i = 0; i < r->n_percentile; i++) {
        nb_load_report_percentile_name(r->percentile[i], p);
        snprintf(name, sizeof name, "p%s_%s_ms", p, key);
        set_real(o, name, nb_series_percentile(s, r->percentile[i]));
    }
}

static double seconds(int64_t us)
{
    return (double)us / 1e6;
}

static json_t *text_or_empty(const char *text)
{
    json_t *value = json_string(text ? text : "");
    return value ? value : json_string("(not UTF-8)");
}

static json_t *input_len(const nb_load_result *r)
{
    return json_integer(r->n_input);
}
static json_t *output_len(const nb_load_result *r)
{
    return json_integer(r->state == NB_LOAD_OK ? r->n_output : 0);
}
static json_t *start_time(const nb_load_result *r)
{
    return json_real(seconds(r->start_us));
}
static json_t *queue_time(const nb_load_result *r)
{
    return json_real(seconds(r->start_us - r->due_us));
}
static json_t *generated_text(const nb_load_result *r)
{
    return text_or_empty(r->text);
}
static json_t *error_text(const nb_load_result *r)
{
    return text_or_empty(r->error);
}

static json_t *ttft(const nb_load_result *r)
{
    return json_real(r->state == NB_LOAD_OK ? seconds(r->first_us - r->start_us) : 0);
}

static json_t *latency(const nb_load_result *r)
{
    return json_real(r->state == NB_LOAD_OK ? seconds(r->last_us - r->start_us) : 0);
}

static json_t *gaps(const nb_load_result *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->n_gap; i++) json_array_append_new(list, json_real(seconds(r->gap_us[i])));
    return list;
}

// One list a field, all in the order of the prompts.
static void set_details(const nb_load_report *r, json_t *o)
{
    static const struct {
        const char *key;
        json_t *(*of)(const nb_load_result *result);
    } fields[] = {{"input_lens", input_len},
                  {"output_lens", output_len},
                  {"ttfts", ttft},
                  {"itls", gaps},
                  {"latencies", latency},
                  {"start_times", start_time},
                  {"queue_times", queue_time},
                  {"errors", error_text},
                  {"generated_texts", generated_text}};
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
        json_t *list = json_array();
        for (int i = 0; i < r->n; i++) json_array_append_new(list, fields[f].of(&r->result[i]));
        json_object_set_new(o, fields[f].key, list);
    }
}

void nb_load_report_json(const nb_load_report *r, bool detailed, nb_buf *out)
{
    json_t *o = json_object();
    set_setup(r, o);
    set_totals(r, o);
    if (detailed) set_details(r, o);
    set_spec_decode(&r->spec_decode, o);
    for (int m = 0; m < NB_LOAD_METRICS; m++) {
        if (r->shows[m]) set_metric(r, (nb_load_metric)m, o);
    }
    nb_json_write(o, out);
    nb_buf_add_char(out, '\n');
    json_decref(o);
}
