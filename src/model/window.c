// Windows of known text as batches of one sequence. See window.h.
#include "model/window.h"

#include <stdlib.h>

#include "base/arena.h"

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int nb_window_open(nb_window *w, nb_device *device, nb_kv_format kv, int64_t window, nb_error *err)
{
    int n_page = (int)((window + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS);
    *w = (nb_window){.device = device, .window = window};
    w->page = nb_alloc(sizeof *w->page * (size_t)n_page);
    for (int i = 0; i < n_page; i++) w->page[i] = i;
    nb_reserve reserve = {.kv = kv,
                          .n_slot = 1,
                          .n_page = n_page,
                          .max_tok = NB_WINDOW_CHUNK_TOKENS,
                          .max_seq = 1,
                          .max_row = NB_WINDOW_CHUNK_TOKENS};
    return device->ops->reserve(device, &reserve, err);
}

void nb_window_close(nb_window *w)
{
    free(w->page);
    w->page = NULL;
}

bool nb_window_next(const nb_window *w, int64_t n_id, nb_chunk *chunk)
{
    chunk->from += chunk->n_tok;
    if (chunk->from >= n_id) return false;
    int64_t window_end = min_i64(n_id, (chunk->from / w->window + 1) * w->window);
    chunk->n_tok = (int)min_i64(NB_WINDOW_CHUNK_TOKENS, window_end - chunk->from);
    chunk->n_row = (int)min_i64(chunk->n_tok, window_end - 1 - chunk->from);
    return true;
}

int nb_window_run(nb_window *w, const int32_t *id, const nb_chunk *chunk, int flags, nb_result *result, nb_error *err)
{
    int32_t n_past = (int32_t)(chunk->from % w->window);
    nb_seq seq = {.n_past = n_past, .n_new = chunk->n_tok};
    seq.n_page = (n_past + chunk->n_tok + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS;
    for (int i = 0; i < chunk->n_row; i++)
        w->row[i] = (nb_row){.tok = i, .flags = flags, .target = id[chunk->from + i + 1], .mask_first = -1};
    nb_batch batch = {.n_tok = chunk->n_tok,
                      .n_seq = 1,
                      .n_page = seq.n_page,
                      .n_row = chunk->n_row,
                      .tok = id + chunk->from,
                      .seq = &seq,
                      .page = w->page,
                      .row = w->row};
    NB_TRY(w->device->ops->submit(w->device, &batch, err));
    return w->device->ops->wait(w->device, result, err);
}
