// What Prometheus' clients say of their own process, under their names: dashboards for any server show it.
#ifndef NB_PROCESS_METRICS_H
#define NB_PROCESS_METRICS_H

#include "base/str.h"

// Appends process_* in the text format; nothing where /proc is not mounted.
void nb_process_metrics_write(nb_buf *out);

#endif
