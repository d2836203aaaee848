// Teacher forcing: known token ids run through a device, window by window, each window from a fresh state, in chunks
// that fit a batch. Perplexity, divergence and calibration are written on it.
#ifndef NB_WINDOW_H
#define NB_WINDOW_H

#include "model/device.h"

enum { NB_WINDOW_CHUNK_TOKENS = 128 }; // of one batch; bounds the memory of whole rows of logits

// Tells a progress bar how much of long work is done: tokens, bytes.
typedef void (*nb_progress_fn)(void *user, int64_t n_done, int64_t n_total);

typedef struct nb_window {
    nb_device *device;
    int64_t window; // tokens from one fresh state to the next
    int32_t *page;  // [pages of a window] 0, 1, 2, ...
    nb_row row[NB_WINDOW_CHUNK_TOKENS];
} nb_window;

// Reserves the device (one sequence of `window` tokens).
int nb_window_open(nb_window *w, nb_device *device, nb_kv_format kv, int64_t window, nb_error *err);
void nb_window_close(nb_window *w);

// A chunk: tokens [from, from + n_tok) of the text, all in one window. `n_row` of them have a successor in the same
// window, which is the target of their row; the last token of a window has none.
typedef struct nb_chunk {
    int64_t from;
    int n_tok, n_row;
} nb_chunk;

// Zero-initialise; moves to the next chunk of a text of n_id tokens. False at the end.
bool nb_window_next(const nb_window *w, int64_t n_id, nb_chunk *chunk);

// Runs one chunk; they must come in order. result->row[i] is about id[chunk->from + i + 1]. `flags` as in nb_row.
int nb_window_run(nb_window *w, const int32_t *id, const nb_chunk *chunk, int flags, nb_result *result, nb_error *err);

#endif
