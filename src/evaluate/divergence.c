// Chunk by chunk through both devices; a device's rows stay valid until its own next step, so nothing is copied.
#include "evaluate/divergence.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"

static double log_sum_exp(const float *logits, int n, int *top)
{
    *top = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[*top]) *top = i;
    double max = logits[*top], sum = 0;
    for (int i = 0; i < n; i++) sum += exp(logits[i] - max);
    return max + log(sum);
}

double nb_divergence_row(const float *a, const float *b, int vocab_size, bool *same_top)
{
    int top_a, top_b;
    double lse_a = log_sum_exp(a, vocab_size, &top_a), lse_b = log_sum_exp(b, vocab_size, &top_b), kl = 0;
    for (int i = 0; i < vocab_size; i++) {
        double log_a = a[i] - lse_a;
        kl += exp(log_a) * (log_a - (b[i] - lse_b));
    }
    *same_top = top_a == top_b;
    return kl > 0 ? kl : 0; // rounding can leave a tiny negative
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarize(nb_divergence *out, double *kl)
{
    qsort(kl, (size_t)out->n_scored, sizeof *kl, by_value);
    double sum = 0;
    for (int64_t i = 0; i < out->n_scored; i++) sum += kl[i];
    out->kl_mean = sum / (double)out->n_scored;
    out->kl_median = kl[out->n_scored / 2];
    out->kl_p99 = kl[(out->n_scored - 1) * 99 / 100];
    out->kl_max = kl[out->n_scored - 1];
    out->top1_agreement /= (double)out->n_scored;
    out->a.n_scored = out->b.n_scored = out->n_scored;
    out->a.value = nb_perplexity_value(out->a.nll_sum, out->n_scored);
    out->b.value = nb_perplexity_value(out->b.nll_sum, out->n_scored);
}

static int run_chunks(nb_window *a, nb_window *b, int vocab_size, const int32_t *id, int64_t n_id,
                      nb_progress_fn progress, void *user, double *kl, nb_divergence *out, nb_error *err)
{
    nb_result ra, rb;
    for (nb_chunk chunk = {0}; nb_window_next(a, n_id, &chunk);) {
        NB_TRY(nb_window_run(a, id, &chunk, NB_ROW_LOGITS, &ra, err));
        NB_TRY(nb_window_run(b, id, &chunk, NB_ROW_LOGITS, &rb, err));
        for (int i = 0; i < chunk.n_row; i++) {
            bool same;
            kl[out->n_scored++] = nb_divergence_row(ra.row[i].logits, rb.row[i].logits, vocab_size, &same);
            out->top1_agreement += same;
            out->a.nll_sum -= (double)ra.row[i].target_logprob;
            out->b.nll_sum -= (double)rb.row[i].target_logprob;
        }
        if (progress) progress(user, chunk.from + chunk.n_tok, n_id);
    }
    return NB_OK;
}

int nb_divergence_run(nb_device *a, nb_device *b, nb_kv_format kv, int vocab_size, const int32_t *id, int64_t n_id,
                      int64_t window, nb_progress_fn progress, void *user, nb_divergence *out, nb_error *err)
{
    *out = (nb_divergence){0};
    if (n_id < 2)
        return nb_error_set(err, NB_ERR_INPUT, "the text has %lld tokens; a comparison needs two", (long long)n_id);
    nb_window wa = {0}, wb = {0};
    double *kl = nb_alloc(sizeof *kl * (size_t)n_id);
    int code = nb_window_open(&wa, a, kv, window, err);
    if (code == NB_OK) code = nb_window_open(&wb, b, kv, window, err);
    if (code == NB_OK) code = run_chunks(&wa, &wb, vocab_size, id, n_id, progress, user, kl, out, err);
    if (code == NB_OK) summarize(out, kl);
    nb_window_close(&wa);
    nb_window_close(&wb);
    free(kl);
    return code;
}
