// What Prometheus scrapes, under the names, labels and bucket boundaries of vLLM, so that dashboards and the inference
// gateway made for it work unchanged. Gauges and counters are read from the engine when scraped; histograms and the
// reasons of ends are filled by the API as events pass. Thread safe.
#ifndef NB_METRICS_H
#define NB_METRICS_H

#include "engine/engine.h"
#include "serve/http.h"

typedef struct nb_metrics nb_metrics;

nb_metrics *nb_metrics_open(const char *model_name, int64_t max_model_len);
void nb_metrics_close(nb_metrics *metrics);

// An event brought tokens: the first ones of a request (since it was queued), or later ones (since the last event).
void nb_metrics_first_token(nb_metrics *metrics, int64_t since_us);
void nb_metrics_next_tokens(nb_metrics *metrics, int64_t since_us);

// A sequence ended, cancelled ones included.
typedef struct nb_metrics_request {
    int32_t n_prompt, n_cached, n_output, max_new;
    nb_finish finish;         // as the client sees it: the engine was only told to cancel what ended at a stop string
    int64_t queued_us;        // times on the clock of nb_clock_us; 0: that never happened
    int64_t scheduled_us;     // first part of its prompt was computed
    int64_t first_us, now_us; // first token, end
} nb_metrics_request;
void nb_metrics_finish(nb_metrics *metrics, const nb_metrics_request *request);

// All choices of a prompt ended: how many there were, and the tokens of the longest.
void nb_metrics_prompt(nb_metrics *metrics, int64_t n_choice, int64_t n_output_max);

// Appends everything in the text format 0.0.4, whose content type is below. `http` may be NULL.
#define NB_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
void nb_metrics_write(nb_metrics *metrics, const nb_engine_stats *engine, const nb_http_stats *http, nb_buf *out);

#endif
