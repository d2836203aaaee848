// How far two models are apart on a text: the Kullback-Leibler divergence D(a || b) of the next-token distributions at
// every position, how often both would pick the same token, and both perplexities. This is what quantization costs,
// measured where perplexity alone cannot see it.
#ifndef NB_DIVERGENCE_H
#define NB_DIVERGENCE_H

#include "evaluate/perplexity.h"

typedef struct nb_divergence {
    int64_t n_scored;
    double kl_mean, kl_median, kl_p99, kl_max; // nats
    double top1_agreement;                     // share of positions, 0..1
    nb_perplexity a, b;
} nb_divergence;

// Both devices are loaded, not reserved, and their models have one vocabulary of vocab_size.
int nb_divergence_run(nb_device *a, nb_device *b, nb_kv_format kv, int vocab_size, const int32_t *id, int64_t n_id,
                      int64_t window, nb_progress_fn progress, void *user, nb_divergence *out, nb_error *err);

// D(a || b) in nats of two rows of raw logits; *same_top tells whether their largest entries agree.
double nb_divergence_row(const float *a, const float *b, int vocab_size, bool *same_top);

#endif
