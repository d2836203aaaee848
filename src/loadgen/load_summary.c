// See load_summary.h.
#include "loadgen/load_summary.h"

#include <stdlib.h>

const nb_load_metric_name nb_load_metric_names[NB_LOAD_METRICS] = {
    [NB_LOAD_TTFT] = {"ttft", "TTFT", "Time to First Token"},
    [NB_LOAD_TPOT] = {"tpot", "TPOT", "Time per Output Token (excl. 1st token)"},
    [NB_LOAD_ITL] = {"itl", "ITL", "Inter-token Latency"},
    [NB_LOAD_E2EL] = {"e2el", "E2EL", "End-to-end Latency"},
    [NB_LOAD_QUEUE] = {"client_queue_time", "Client Queue Time", "Client-side Queueing"},
    [NB_LOAD_E2EL_QUEUE] = {"e2el_including_client_queue", "E2EL incl. Client Queue",
                            "Queue-inclusive End-to-end Latency"},
};

double nb_load_metric_of(const nb_load_result *r, nb_load_metric metric)
{
    double us = -1000;
    switch (metric) {
    case NB_LOAD_TTFT: us = (double)(r->first_us - r->start_us); break;
    case NB_LOAD_TPOT:
        if (r->n_output > 1) us = (double)(r->last_us - r->first_us) / (r->n_output - 1);
        break;
    case NB_LOAD_E2EL: us = (double)(r->last_us - r->start_us); break;
    case NB_LOAD_QUEUE: us = (double)(r->start_us - r->due_us); break;
    case NB_LOAD_E2EL_QUEUE: us = (double)(r->last_us - r->due_us); break;
    default: break;
    }
    return us / 1000;
}

// A request without a time per token (-1) is within any goal for it.
static bool is_good(const nb_load_result *r, const nb_load_goal *goal, int n_goal)
{
    for (int i = 0; i < n_goal; i++) {
        if (nb_load_metric_of(r, goal[i].metric) > goal[i].most_ms) return false;
    }
    return true;
}

static void add_metrics(const nb_load_result *r, nb_load_summary *s)
{
    for (int m = 0; m < NB_LOAD_METRICS; m++) {
        double ms = nb_load_metric_of(r, (nb_load_metric)m);
        if (ms >= 0) nb_series_add(&s->metric[m], ms);
    }
    for (int i = 0; i < r->n_gap; i++) nb_series_add(&s->metric[NB_LOAD_ITL], r->gap_us[i] / 1000.0);
}

static void add_arrivals(const nb_load_result *r, nb_series *by_second)
{
    int64_t at_us = r->first_us;
    for (int i = 0; i <= r->n_gap; i++) {
        while (by_second->n <= at_us / 1000000) nb_series_add(by_second, 0);
        by_second->value[at_us / 1000000]++;
        if (i < r->n_gap) at_us += r->gap_us[i];
    }
}

// An end stands before a beginning at the same time.
static int compare_edges(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int max_concurrent(const nb_load_result *result, int n)
{
    int64_t *edge = nb_alloc(sizeof *edge * (size_t)(2 * n + 1));
    int n_edge = 0, running = 0, most = 0;
    for (int i = 0; i < n; i++) {
        if (result[i].state != NB_LOAD_OK) continue;
        edge[n_edge++] = 2 * result[i].start_us + 1; // odd: a beginning
        edge[n_edge++] = 2 * result[i].last_us;
    }
    qsort(edge, (size_t)n_edge, sizeof *edge, compare_edges);
    for (int i = 0; i < n_edge; i++) {
        running += edge[i] & 1 ? 1 : -1;
        if (running > most) most = running;
    }
    free(edge);
    return most;
}

static void add_result(const nb_load_result *r, const nb_load_goal *goal, int n_goal, nb_load_summary *s)
{
    switch (r->state) {
    case NB_LOAD_UNSENT: s->n_unsent++; return;
    case NB_LOAD_FAILED: s->n_failed++; return;
    case NB_LOAD_CANCELLED: s->n_cancelled++; return;
    case NB_LOAD_OK: break;
    }
    s->n_completed++;
    s->n_good += is_good(r, goal, n_goal);
    s->n_input += r->n_input;
    s->n_output += r->n_output;
    add_metrics(r, s);
    add_arrivals(r, &s->tokens_by_second);
}

void nb_load_summary_make(const nb_load_result *result, int n, int64_t duration_us, const nb_load_goal *goal,
                          int n_goal, nb_load_summary *s)
{
    *s = (nb_load_summary){.duration_s = (double)(duration_us > 0 ? duration_us : 1) / 1e6};
    for (int i = 0; i < n; i++) add_result(&result[i], goal, n_goal, s);
    for (int m = 0; m < NB_LOAD_METRICS; m++) nb_series_sort(&s->metric[m]);
    s->max_concurrent = max_concurrent(result, n);
    s->request_rate = s->n_completed / s->duration_s;
    s->good_rate = s->n_good / s->duration_s;
    s->output_rate = (double)s->n_output / s->duration_s;
    s->token_rate = (double)(s->n_input + s->n_output) / s->duration_s;
}

void nb_load_summary_drop(nb_load_summary *s)
{
    for (int m = 0; m < NB_LOAD_METRICS; m++) nb_series_drop(&s->metric[m]);
    nb_series_drop(&s->tokens_by_second);
}
