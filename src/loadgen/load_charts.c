// Distributions are cumulative, with the goal or the median and the last percentile marked. Over time: one point a
// slice of 1/TIME_SLICES of the run, or of a second where that is longer.
#include "loadgen/load_charts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadgen/svg_plot.h"

enum {
    WIDTH = 480,
    HEIGHT = 240,
    WIDE = 980,
    CURVE_POINTS = 200,
    TIME_SLICES = 240,
    ROWS_MAX = 300,
    ROW_HEIGHT_MAX = 12
};

static void mark_percentile(const nb_svg_plot *plot, const nb_series *s, double percentile)
{
    char p[16], label[24];
    nb_load_report_percentile_name(percentile, p);
    snprintf(label, sizeof label, "p%s", p);
    nb_svg_plot_mark(plot, nb_series_percentile(s, percentile), label);
}

void nb_load_chart_distribution(const nb_load_report *r, nb_load_metric metric, nb_buf *out)
{
    const nb_series *s = &r->summary->metric[metric];
    double shown = nb_series_percentile(s, s->n > 1000 ? 99.9 : 100); // a single late token would flatten the curve
    char title[96], x_label[32];
    snprintf(title, sizeof title, "%s", nb_load_metric_names[metric].header);
    snprintf(x_label, sizeof x_label, "%s, ms", nb_load_metric_names[metric].label);
    nb_svg_plot plot = {.out = out,
                        .width = WIDTH,
                        .height = HEIGHT,
                        .x_max = shown * 1.05,
                        .y_max = 100,
                        .title = title,
                        .x_label = x_label,
                        .y_label = "% at most"};
    nb_svg_plot_open(&plot);
    nb_svg_plot_path_open(&plot, "line");
    for (int i = 0; i <= CURVE_POINTS && s->n; i++) {
        double p = 100.0 * i / CURVE_POINTS;
        nb_svg_plot_point(&plot, nb_series_percentile(s, p), p);
    }
    nb_svg_plot_path_close(&plot);
    mark_percentile(&plot, s, 50);
    if (r->n_percentile) mark_percentile(&plot, s, r->percentile[r->n_percentile - 1]);
    nb_svg_plot_close(&plot);
}

typedef struct slices {
    double value[TIME_SLICES + 1];
    double slice_s, max;
    int n;
} slices;

static slices cut(const nb_load_report *r)
{
    double slice_s = fmax(r->summary->duration_s / TIME_SLICES, fmin(r->summary->duration_s / 20, 1));
    return (slices){.slice_s = slice_s, .n = (int)fmin(ceil(r->summary->duration_s / slice_s), TIME_SLICES)};
}

static int slice_at(const slices *s, int64_t at_us)
{
    int i = (int)((double)at_us / 1e6 / s->slice_s);
    return i < 0 ? 0 : i < s->n ? i : s->n;
}

static void plot_slices(const nb_load_report *r, slices *s, const char *title, const char *y_label, nb_buf *out)
{
    for (int i = 0; i < s->n; i++) s->max = fmax(s->max, s->value[i]);
    nb_svg_plot plot = {.out = out,
                        .width = WIDTH,
                        .height = HEIGHT,
                        .x_max = r->summary->duration_s,
                        .y_max = s->max > 0 ? s->max * 1.1 : 1,
                        .title = title,
                        .x_label = "seconds",
                        .y_label = y_label};
    nb_svg_plot_open(&plot);
    for (int i = 0; i < s->n; i++) {
        nb_svg_plot_rect(&plot, i * s->slice_s, (i + 1) * s->slice_s, 0, s->value[i], "bar");
    }
    nb_svg_plot_close(&plot);
}

void nb_load_chart_tokens(const nb_load_report *r, nb_buf *out)
{
    slices s = cut(r);
    for (int i = 0; i < r->n; i++) {
        const nb_load_result *q = &r->result[i];
        if (q->state != NB_LOAD_OK) continue;
        // An arrival may carry several tokens: the server's count is spread over the arrivals.
        double each = (double)q->n_output / (q->n_gap + 1) / s.slice_s;
        int64_t at_us = q->first_us;
        s.value[slice_at(&s, at_us)] += each;
        for (int g = 0; g < q->n_gap; g++) s.value[slice_at(&s, at_us += q->gap_us[g])] += each;
    }
    plot_slices(r, &s, "Output throughput", "tokens/s", out);
}

void nb_load_chart_running(const nb_load_report *r, nb_buf *out)
{
    slices s = cut(r);
    for (int i = 0; i < r->n; i++) {
        const nb_load_result *q = &r->result[i];
        if (q->state != NB_LOAD_OK && q->state != NB_LOAD_FAILED) continue;
        for (int at = slice_at(&s, q->start_us); at <= slice_at(&s, q->last_us); at++) s.value[at]++;
    }
    plot_slices(r, &s, "Requests that run", "requests", out);
}

static void request_row(const nb_svg_plot *plot, const nb_load_result *q, double row, const char *phase[3])
{
    double due = (double)q->due_us / 1e6, start = (double)q->start_us / 1e6, last = (double)q->last_us / 1e6;
    if (q->start_us - q->due_us > 1000) nb_svg_plot_rect(plot, due, start, row + 0.1, row + 0.9, phase[0]);
    if (q->state == NB_LOAD_FAILED) {
        nb_svg_plot_rect(plot, start, last, row + 0.1, row + 0.9, "failed");
        return;
    }
    double first = (double)q->first_us / 1e6;
    nb_svg_plot_rect(plot, start, first, row + 0.1, row + 0.9, phase[1]);
    nb_svg_plot_rect(plot, first, last, row + 0.1, row + 0.9, phase[2]);
}

void nb_load_chart_requests(const nb_load_report *r, nb_buf *out)
{
    const char *phase[3] = {"wait", "prefill", "decode"};
    int stride = r->n > ROWS_MAX ? (r->n + ROWS_MAX - 1) / ROWS_MAX : 1, n_row = (r->n + stride - 1) / stride;
    double row_height = fmin(ROW_HEIGHT_MAX, fmax(2, 420.0 / (n_row ? n_row : 1)));
    char title[96];
    snprintf(title, sizeof title, stride > 1 ? "Requests (one in %d)" : "Requests", stride);
    nb_svg_plot plot = {.out = out,
                        .width = WIDE,
                        .height = 68 + row_height * n_row,
                        .x_max = r->summary->duration_s,
                        .y_max = n_row,
                        .y_down = true,
                        .title = title,
                        .x_label = "seconds",
                        .y_label = ""};
    nb_svg_plot_open(&plot);
    for (int i = 0; i < r->n; i += stride) {
        const nb_load_result *q = &r->result[i];
        if (q->state == NB_LOAD_OK || q->state == NB_LOAD_FAILED) request_row(&plot, q, (double)i / stride, phase);
    }
    nb_svg_plot_close(&plot);
}
