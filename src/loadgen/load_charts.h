// The plots of a load run's page.
#ifndef NB_LOAD_CHARTS_H
#define NB_LOAD_CHARTS_H

#include "loadgen/load_report.h"

void nb_load_chart_distribution(const nb_load_report *report, nb_load_metric metric, nb_buf *out);
void nb_load_chart_tokens(const nb_load_report *report, nb_buf *out);   // output tokens a second over time
void nb_load_chart_running(const nb_load_report *report, nb_buf *out);  // requests that run over time
void nb_load_chart_requests(const nb_load_report *report, nb_buf *out); // a row a request: waiting, prefill, decode

#endif
