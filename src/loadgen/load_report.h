// A load run for people and programs: the text and the JSON of `vllm bench serve`, and one HTML page that needs nothing
// beside itself.
#ifndef NB_LOAD_REPORT_H
#define NB_LOAD_REPORT_H

#include "loadgen/load_summary.h"
#include "loadgen/spec_decode.h"

enum { NB_LOAD_PERCENTILES_MAX = 16, NB_LOAD_METADATA_MAX = 64 };

typedef struct nb_load_report {
    const nb_load_summary *summary;
    const nb_load_result *result;
    int n; // results
    const char *backend, *label, *model, *url, *dataset, *date;
    double rate_per_s; // INFINITY: all at once
    double burstiness;
    const char *ramp_up; // NULL: the rate stays; else how it rises, "linear" or "exponential"
    double ramp_start_per_s, ramp_end_per_s;
    int max_concurrency; // 0: no limit
    const nb_load_goal *goal;
    int n_goal;
    nb_spec_decode spec_decode;
    bool shows[NB_LOAD_METRICS];
    double percentile[NB_LOAD_PERCENTILES_MAX];
    int n_percentile;
    const char *metadata_key[NB_LOAD_METADATA_MAX], *metadata_value[NB_LOAD_METADATA_MAX];
    int n_metadata;
} nb_load_report;

void nb_load_report_text(const nb_load_report *report, nb_buf *out);
void nb_load_report_json(const nb_load_report *report, bool detailed, nb_buf *out); // detailed: every request's figures
void nb_load_report_html(const nb_load_report *report, nb_buf *out);

// Different errors with how often each came, most frequent first; at most `max`. Returns how many.
typedef struct nb_load_error {
    const char *text;
    int n;
} nb_load_error;
int nb_load_report_errors(const nb_load_result *result, int n, nb_load_error *out, int max);

// "99" or "99.9".
void nb_load_report_percentile_name(double percentile, char out[16]);

#endif
