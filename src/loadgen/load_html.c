// The page: figures, plots, tables. One file without scripts and without requests to anywhere; light or dark as the
// reader's system is.
#include <math.h>
#include <stdio.h>

#include "loadgen/load_charts.h"
#include "loadgen/svg_plot.h"

enum { ERRORS_SHOWN = 20 };

static const char style[] =
    ":root{--ink:#1d2129;--soft:#667085;--line:#d7dce3;--page:#fff;--card:#f6f7f9;--a:#2563a8;--b:#3a9d78;--c:#b8c0cc;"
    "--bad:#c2410c}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e7ec;--soft:#98a2b3;--line:#3a4250;--page:#14171c;--card:#1d222a;"
    "--a:#6ea8e6;--b:#5fc49c;--c:#4a5362;--bad:#fb923c}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:1040px;padding:24px;background:var(--page);color:var(--ink);"
    "font:15px/1.45 system-ui,sans-serif}"
    "h1{font-size:24px;margin:0}h2{font-size:17px;margin:32px 0 12px}p{margin:4px 0;color:var(--soft)}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin:20px 0}"
    ".tile{background:var(--card);border-radius:8px;padding:12px 14px}.tile b{display:block;font-size:22px}"
    ".tile span{color:var(--soft);font-size:13px}.tile.bad b{color:var(--bad)}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:16px}"
    "svg{width:100%;display:block;background:var(--card);border-radius:8px}"
    "svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg "
    ".title{font-size:13px;font-weight:600;fill:var(--ink)}"
    "svg .tick{text-anchor:middle}svg .label,svg .left{text-anchor:end}svg .right{text-anchor:start}"
    ".grid{stroke:var(--line);stroke-width:.5}.axis{stroke:var(--soft);fill:none}"
    ".line{stroke:var(--a);stroke-width:2;fill:none}.mark{stroke:var(--bad);stroke-dasharray:3 3}"
    ".bar,.prefill{fill:var(--a)}.decode{fill:var(--b)}.wait{fill:var(--c)}.failed{fill:var(--bad)}"
    ".key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin:0 5px 0 14px}"
    ".key .wait{background:var(--c)}.key .prefill{background:var(--a)}.key .decode{background:var(--b)}"
    ".key .failed{background:var(--bad)}"
    ".scroll{overflow-x:auto}.setup{max-width:560px}table{border-collapse:collapse;width:100%;font-variant-numeric:"
    "tabular-nums}"
    "th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--line)}"
    "th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:500}";

static void add_text(nb_buf *out, const char *text)
{
    nb_svg_text(out, nb_str_from(text));
}

static void tile(nb_buf *out, const char *kind, double value, const char *label)
{
    nb_buf_printf(out, "<div class='tile%s'><b>", kind);
    nb_buf_printf(out, fabs(value) >= 100 || value == floor(value) ? "%.0f" : "%.2f", value);
    nb_buf_printf(out, "</b><span>%s</span></div>\n", label);
}

static void add_tiles(const nb_load_report *r, nb_buf *out)
{
    const nb_load_summary *s = r->summary;
    nb_buf_add_c(out, "<div class=tiles>\n");
    tile(out, "", s->n_completed, "requests completed");
    tile(out, s->n_failed ? " bad" : "", s->n_failed, "requests failed");
    tile(out, "", s->request_rate, "requests/s");
    if (r->n_goal) tile(out, "", s->good_rate, "good requests/s");
    tile(out, "", s->output_rate, "output tokens/s");
    tile(out, "", nb_series_percentile(&s->metric[NB_LOAD_TTFT], 50), "ms to first token, median");
    tile(out, "", nb_series_percentile(&s->metric[NB_LOAD_TPOT], 50), "ms per token, median");
    tile(out, "", nb_series_percentile(&s->metric[NB_LOAD_E2EL], 50), "ms end to end, median");
    nb_buf_add_c(out, "</div>\n");
}

static void metric_row(const nb_load_report *r, nb_load_metric m, nb_buf *out)
{
    const nb_series *s = &r->summary->metric[m];
    nb_buf_printf(out, "<tr><td>%s, ms<td>%.2f<td>%.2f<td>%.2f", nb_load_metric_names[m].label, nb_series_mean(s),
                  nb_series_percentile(s, 50), nb_series_std(s));
    for (int i = 0; i < r->n_percentile; i++) nb_buf_printf(out, "<td>%.2f", nb_series_percentile(s, r->percentile[i]));
    nb_buf_printf(out, "<td>%.2f\n", nb_series_percentile(s, 100));
}

static void add_latencies(const nb_load_report *r, nb_buf *out)
{
    char p[16];
    nb_buf_add_c(out, "<h2>Latencies</h2><div class=scroll><table><tr><th>metric<th>mean<th>median<th>std");
    for (int i = 0; i < r->n_percentile; i++) {
        nb_load_report_percentile_name(r->percentile[i], p);
        nb_buf_printf(out, "<th>p%s", p);
    }
    nb_buf_add_c(out, "<th>max\n");
    for (int m = 0; m < NB_LOAD_METRICS; m++) {
        if (r->shows[m]) metric_row(r, (nb_load_metric)m, out);
    }
    nb_buf_add_c(out, "</table></div>\n");
}

static void text_row(nb_buf *out, const char *name, const char *value)
{
    nb_buf_add_c(out, "<tr><td>");
    add_text(out, name);
    nb_buf_add_c(out, "<td>");
    add_text(out, value ? value : "");
    nb_buf_add_char(out, '\n');
}

static void number_row(nb_buf *out, const char *name, double value)
{
    nb_buf_printf(out, "<tr><td>%s<td>%.10g\n", name, value);
}

static void add_setup(const nb_load_report *r, nb_buf *out)
{
    const nb_load_summary *s = r->summary;
    nb_buf_add_c(out, "<h2>Setup</h2><table class=setup>\n");
    text_row(out, "endpoint", r->backend);
    text_row(out, "dataset", r->dataset);
    number_row(out, "prompts", r->n);
    number_row(out, "input tokens", (double)s->n_input);
    number_row(out, "output tokens", (double)s->n_output);
    if (r->ramp_up) {
        nb_buf_printf(out, "<tr><td>request rate, requests/s<td>%g to %g, %s\n", r->ramp_start_per_s, r->ramp_end_per_s,
                      r->ramp_up);
    } else if (isfinite(r->rate_per_s)) {
        number_row(out, "request rate, requests/s", r->rate_per_s);
        number_row(out, "burstiness", r->burstiness);
    } else {
        text_row(out, "request rate", "all at once");
    }
    if (r->max_concurrency) number_row(out, "maximum concurrency", r->max_concurrency);
    number_row(out, "peak concurrency", s->max_concurrent);
    number_row(out, "duration, s", round(s->duration_s * 1000) / 1000);
    if (r->spec_decode.known) {
        number_row(out, "drafts accepted, %", round(nb_spec_decode_rate(&r->spec_decode) * 100) / 100);
        number_row(out, "tokens of a step with drafts", round(nb_spec_decode_length(&r->spec_decode) * 100) / 100);
    }
    for (int i = 0; i < r->n_goal; i++) {
        nb_buf_printf(out, "<tr><td>goal: %s, ms<td>%g\n", nb_load_metric_names[r->goal[i].metric].label,
                      r->goal[i].most_ms);
    }
    for (int i = 0; i < r->n_metadata; i++) text_row(out, r->metadata_key[i], r->metadata_value[i]);
    nb_buf_add_c(out, "</table>\n");
}

static void add_errors(const nb_load_report *r, nb_buf *out)
{
    nb_load_error error[ERRORS_SHOWN];
    int n = nb_load_report_errors(r->result, r->n, error, ERRORS_SHOWN);
    if (n == 0) return;
    nb_buf_add_c(out, "<h2>Errors</h2><table>\n");
    for (int i = 0; i < n; i++) {
        char times[24];
        snprintf(times, sizeof times, "%d", error[i].n);
        text_row(out, error[i].text, times);
    }
    nb_buf_add_c(out, "</table>\n");
}

static void add_plots(const nb_load_report *r, nb_buf *out)
{
    static const nb_load_metric shown[] = {NB_LOAD_TTFT, NB_LOAD_TPOT, NB_LOAD_ITL, NB_LOAD_E2EL};
    nb_buf_add_c(out, "<h2>Distributions</h2><div class=plots>\n");
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) nb_load_chart_distribution(r, shown[i], out);
    nb_buf_add_c(out, "</div><h2>Over time</h2><div class=plots>\n");
    nb_load_chart_tokens(r, out);
    nb_load_chart_running(r, out);
    nb_buf_add_c(out, "</div><p class=key><i class=wait></i>waits in the client<i class=prefill></i>to the first token"
                      "<i class=decode></i>to the last<i class=failed></i>failed</p>\n");
    nb_load_chart_requests(r, out);
}

void nb_load_report_html(const nb_load_report *r, nb_buf *out)
{
    nb_buf_printf(out,
                  "<!doctype html><html lang=en><meta charset=utf-8>"
                  "<meta name=viewport content='width=device-width,initial-scale=1'>"
                  "<meta http-equiv=Content-Security-Policy content=\"default-src 'none';style-src "
                  "'unsafe-inline'\"><title>Serving benchmark</title><style>%s</style>\n<h1>",
                  style);
    add_text(out, r->label ? r->label : "Serving benchmark");
    nb_buf_add_c(out, "</h1><p>");
    add_text(out, r->model);
    nb_buf_add_c(out, " at ");
    add_text(out, r->url);
    nb_buf_add_c(out, ", ");
    add_text(out, r->date);
    nb_buf_add_c(out, "</p>\n");
    add_tiles(r, out);
    add_plots(r, out);
    add_latencies(r, out);
    add_setup(r, out);
    add_errors(r, out);
    nb_buf_add_c(out, "</html>\n");
}
