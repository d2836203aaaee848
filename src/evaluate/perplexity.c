// See perplexity.h.
#include "evaluate/perplexity.h"

#include <math.h>

double nb_perplexity_value(double nll_sum, int64_t n_scored)
{
    return n_scored > 0 ? exp(nll_sum / (double)n_scored) : NAN;
}

static int run_chunks(nb_window *w, const int32_t *id, int64_t n_id, nb_progress_fn progress, void *user,
                      nb_perplexity *out, nb_error *err)
{
    nb_result result;
    for (nb_chunk chunk = {0}; nb_window_next(w, n_id, &chunk);) {
        NB_TRY(nb_window_run(w, id, &chunk, 0, &result, err));
        for (int i = 0; i < chunk.n_row; i++) out->nll_sum -= (double)result.row[i].target_logprob;
        out->n_scored += chunk.n_row;
        if (progress) progress(user, chunk.from + chunk.n_tok, n_id);
    }
    return NB_OK;
}

int nb_perplexity_run(nb_device *device, nb_kv_format kv, const int32_t *id, int64_t n_id, int64_t window,
                      nb_progress_fn progress, void *user, nb_perplexity *out, nb_error *err)
{
    *out = (nb_perplexity){0};
    if (n_id < 2)
        return nb_error_set(err, NB_ERR_INPUT, "the text has %lld tokens; perplexity needs two", (long long)n_id);
    nb_window w;
    int code = nb_window_open(&w, device, kv, window, err);
    if (code == NB_OK) code = run_chunks(&w, id, n_id, progress, user, out, err);
    nb_window_close(&w);
    out->value = nb_perplexity_value(out->nll_sum, out->n_scored);
    return code;
}
