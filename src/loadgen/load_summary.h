// What a load run showed, in the figures of `vllm bench serve`.
#ifndef NB_LOAD_SUMMARY_H
#define NB_LOAD_SUMMARY_H

#include "loadgen/load.h"
#include "loadgen/series.h"

typedef enum nb_load_metric {
    NB_LOAD_TTFT,  // from sending to the first token
    NB_LOAD_TPOT,  // from there to the last one, by token after the first; requests with one token have none
    NB_LOAD_ITL,   // each gap between two arrivals
    NB_LOAD_E2EL,  // from sending to the last token
    NB_LOAD_QUEUE, // from being due to being sent
    NB_LOAD_E2EL_QUEUE,
    NB_LOAD_METRICS,
} nb_load_metric;

typedef struct nb_load_metric_name {
    const char *key;    // "ttft"
    const char *label;  // "TTFT"
    const char *header; // "Time to First Token"
} nb_load_metric_name;
extern const nb_load_metric_name nb_load_metric_names[NB_LOAD_METRICS];

typedef struct nb_load_goal { // a request is good when it stays within all goals
    nb_load_metric metric;    // TTFT, TPOT or E2EL
    double most_ms;
} nb_load_goal;

typedef struct nb_load_summary {
    int n_completed, n_failed, n_cancelled, n_unsent, n_good;
    int64_t n_input, n_output; // tokens of completed requests
    double duration_s;
    double request_rate, good_rate, output_rate, token_rate; // by second
    nb_series metric[NB_LOAD_METRICS];                       // ms, sorted; of completed requests
    nb_series tokens_by_second;                              // arrivals in each second since the start
    int max_concurrent;
} nb_load_summary;

void nb_load_summary_make(const nb_load_result *result, int n, int64_t duration_us, const nb_load_goal *goal,
                          int n_goal, nb_load_summary *out);
void nb_load_summary_drop(nb_load_summary *summary);

// Of one completed request in ms; -1 where it has none (and for ITL, of which it has many).
double nb_load_metric_of(const nb_load_result *result, nb_load_metric metric);

#endif
