// The watched linears are a table sorted by address, so that the tap of a step finds its row by binary search. See
// calibrate.h.
#include "quantize/calibrate.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"

typedef struct watched {
    const nb_linear *linear;
    float amax;
} watched;

struct nb_calibration {
    watched *row; // [n] sorted by address
    size_t n, cap;
    const nb_recipe *recipe;
};

static int watch(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    nb_calibration *c = user;
    if (!bound->linear || c->recipe->target[bound->role] != NB_TARGET_FP8) return NB_OK;
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 256;
        c->row = nb_realloc(c->row, c->cap * sizeof *c->row);
    }
    c->row[c->n++] = (watched){.linear = bound->linear};
    return NB_OK;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const watched *)a)->linear, y = (uintptr_t)((const watched *)b)->linear;
    return (x > y) - (x < y);
}

static watched *find(const nb_calibration *c, const nb_linear *linear)
{
    watched key = {.linear = linear};
    return c->n ? bsearch(&key, c->row, c->n, sizeof *c->row, by_address) : NULL;
}

static void see(void *user, const nb_tap *tap)
{
    if (tap->site != NB_TAP_LINEAR_INPUT) return;
    watched *row = find(user, tap->linear);
    if (!row) return;
    for (int64_t i = 0; i < tap->n_row * tap->n_col; i++) row->amax = fmaxf(row->amax, fabsf(tap->data[i]));
}

static int run_text(nb_window *w, const int32_t *id, int64_t n_id, nb_progress_fn progress, void *user, nb_error *err)
{
    nb_result result;
    for (nb_chunk chunk = {0}; nb_window_next(w, n_id, &chunk);) {
        NB_TRY(nb_window_run(w, id, &chunk, 0, &result, err));
        if (progress) progress(user, chunk.from + chunk.n_tok, n_id);
    }
    return NB_OK;
}

int nb_calibrate(nb_device *device, const nb_model *model, const nb_recipe *recipe, const int32_t *id, int64_t n_id,
                 int64_t window, nb_progress_fn progress, void *user, nb_calibration **out, nb_error *err)
{
    nb_calibration *c = nb_alloc(sizeof *c);
    c->recipe = recipe;
    nb_window w = {0};
    int code = nb_model_walk(model, watch, c, err);
    if (code == NB_OK && c->n) qsort(c->row, c->n, sizeof *c->row, by_address);
    if (code == NB_OK) code = nb_window_open(&w, device, NB_KV_BF16, window, err);
    if (code == NB_OK) {
        device->ops->tap(device, see, c);
        code = run_text(&w, id, n_id, progress, user, err);
        device->ops->tap(device, NULL, NULL);
    }
    nb_window_close(&w);
    if (code == NB_OK)
        *out = c;
    else
        nb_calibration_close(c);
    return code;
}

void nb_calibration_close(nb_calibration *c)
{
    if (!c) return;
    free(c->row);
    free(c);
}

float nb_calibration_amax(const nb_calibration *c, const nb_linear *linear)
{
    const watched *row = find(c, linear);
    return row ? row->amax : 0.0f;
}
