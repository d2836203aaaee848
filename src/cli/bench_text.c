// See bench_text.h.
#include "cli/bench_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nb_bench_text_positive(const char *option, const char *text, double *out, nb_error *err)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || !(*out > 0))
        return nb_error_set(err, NB_ERR_USAGE, "--%s: '%s' is not a positive number or inf", option, text);
    return NB_OK;
}

int nb_bench_text_goal(const char *text, nb_load_goal *goal, int *n_goal, nb_error *err)
{
    static const nb_load_metric allowed[NB_BENCH_GOALS_MAX] = {NB_LOAD_TTFT, NB_LOAD_TPOT, NB_LOAD_E2EL};
    const char *colon = strchr(text, ':');
    for (int i = 0; colon && i < NB_BENCH_GOALS_MAX && *n_goal < NB_BENCH_GOALS_MAX; i++) {
        nb_str key = {text, (size_t)(colon - text)};
        if (!nb_str_equal_c(key, nb_load_metric_names[allowed[i]].key)) continue;
        goal[*n_goal].metric = allowed[i];
        return nb_bench_text_positive("goodput", colon + 1, &goal[(*n_goal)++].most_ms, err);
    }
    return nb_error_set(err, NB_ERR_USAGE, "--goodput: '%s' is not ttft:MS, tpot:MS or e2el:MS", text);
}

// The part before the next comma; `rest` goes on behind it.
static nb_str take_piece(nb_str *rest)
{
    int64_t comma = nb_str_find(*rest, NB_STR(","), 0);
    nb_str piece = nb_str_slice(*rest, 0, comma < 0 ? rest->len : (size_t)comma);
    *rest = nb_str_slice(*rest, piece.len + 1, rest->len);
    return piece;
}

static int show_metric(nb_str name, nb_load_report *report, nb_error *err)
{
    for (int m = 0; m < NB_LOAD_METRICS; m++) {
        if (!nb_str_equal_c(name, nb_load_metric_names[m].key)) continue;
        report->shows[m] = true;
        return NB_OK;
    }
    return nb_error_set(err, NB_ERR_USAGE, "--percentile-metrics: there is no '%.*s'", (int)name.len, name.ptr);
}

int nb_bench_text_metrics(const char *list, nb_load_report *report, nb_error *err)
{
    for (nb_str rest = nb_str_from(list); rest.len;) NB_TRY(show_metric(take_piece(&rest), report, err));
    return NB_OK;
}

static int add_percentile(nb_str piece, nb_load_report *report, nb_error *err)
{
    char text[32], *end;
    snprintf(text, sizeof text, "%.*s", (int)piece.len, piece.ptr);
    double p = strtod(text, &end);
    if (end == text || *end || !(p >= 0 && p <= 100))
        return nb_error_set(err, NB_ERR_USAGE, "--metric-percentiles: '%s' is not from 0 to 100", text);
    if (report->n_percentile == NB_LOAD_PERCENTILES_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "--metric-percentiles: at most %d", NB_LOAD_PERCENTILES_MAX);
    report->percentile[report->n_percentile++] = p;
    return NB_OK;
}

int nb_bench_text_percentiles(const char *list, nb_load_report *report, nb_error *err)
{
    for (nb_str rest = nb_str_from(list); rest.len;) NB_TRY(add_percentile(take_piece(&rest), report, err));
    return NB_OK;
}

int nb_bench_text_pair(const char *option, const char *text, nb_arena *arena, nb_bench_pair *out, nb_error *err)
{
    *out = (nb_bench_pair){0};
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) return nb_error_set(err, NB_ERR_USAGE, "--%s: '%s' is not KEY=VALUE", option, text);
    *out = (nb_bench_pair){nb_arena_str(arena, (nb_str){text, (size_t)(equals - text)}).ptr, equals + 1};
    return NB_OK;
}
