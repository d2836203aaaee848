// Perplexity of a text: exp of the mean negative log-likelihood per token, every window from a fresh state, the first
// token of a window not scored.
#ifndef NB_PERPLEXITY_H
#define NB_PERPLEXITY_H

#include "model/window.h"

typedef struct nb_perplexity {
    double nll_sum; // nats
    int64_t n_scored;
    double value;
} nb_perplexity;

// `device` is loaded, not reserved. `progress` (tokens) may be NULL.
int nb_perplexity_run(nb_device *device, nb_kv_format kv, const int32_t *id, int64_t n_id, int64_t window,
                      nb_progress_fn progress, void *user, nb_perplexity *out, nb_error *err);

double nb_perplexity_value(double nll_sum, int64_t n_scored);

#endif
