// Fills the matrices of a dummy model in one block of host memory: first the size is added up, then every matrix gets
// its place and its values. The threads share out pieces of each matrix, whose values depend on their index alone.
#include <string.h>

#include "base/threads.h"
#include "model/bind_internal.h"
#include "model/synth.h"
#include "model/synth_values.h"
#include "numeric/nvfp4.h"

enum { ALIGN = 64, PIECE_BYTES = 1 << 20 };

typedef struct filler {
    nb_threads *team;
    uint8_t *block; // NULL while only the size is wanted
    size_t n_byte;  // given away so far
} filler;

typedef struct fill_job { // data or scales of one matrix
    const nb_linear *linear;
    uint8_t *out;
    size_t n_byte;
    bool is_scale;
} fill_job;

static void fill_piece(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    const fill_job *job = user;
    const nb_linear *linear = job->linear;
    size_t from = (size_t)i_task * PIECE_BYTES,
           to = from + PIECE_BYTES < job->n_byte ? from + PIECE_BYTES : job->n_byte;
    for (size_t at = from; at < to; at += 16) {
        nb_synth_bytes bytes = job->is_scale
                                   ? nb_synth_scale_16_bytes(linear->dummy_seed, at / 16)
                                   : nb_synth_16_bytes(linear->format, linear->dummy_seed, at / 16, linear->n_in);
        memcpy(job->out + at, bytes.v, to - at < 16 ? to - at : 16);
    }
}

static size_t data_bytes(const nb_linear *linear)
{
    size_t n = (size_t)linear->n_out * (size_t)linear->n_in;
    return linear->format == NB_FORMAT_BF16 ? 2 * n : linear->format == NB_FORMAT_NVFP4 ? n / 2 : n;
}

static size_t scale_bytes(const nb_linear *linear)
{
    return linear->format == NB_FORMAT_NVFP4 ? (size_t)linear->n_out * (size_t)linear->n_in / NB_NVFP4_BLOCK : 0;
}

// The next n_byte of the block, filled; NULL while only the size is wanted.
static const uint8_t *fill_part(filler *f, const nb_linear *linear, size_t n_byte, bool is_scale)
{
    uint8_t *out = f->block ? f->block + f->n_byte : NULL;
    f->n_byte += (n_byte + ALIGN - 1) / ALIGN * ALIGN;
    fill_job job = {.linear = linear, .out = out, .n_byte = n_byte, .is_scale = is_scale};
    if (out) nb_threads_run(f->team, fill_piece, &job, (int)((n_byte + PIECE_BYTES - 1) / PIECE_BYTES));
    return out;
}

static int fill_site(void *user, const nb_bind_site *site, nb_error *err)
{
    (void)err;
    if (site->row->kind != NB_BIND_MATRIX) return NB_OK;
    nb_linear *linear = site->field;
    linear->data = fill_part(user, linear, data_bytes(linear), false);
    if (linear->format == NB_FORMAT_NVFP4) linear->scale = fill_part(user, linear, scale_bytes(linear), true);
    return NB_OK;
}

int nb_synth_materialize(nb_model *model, nb_error *err)
{
    filler f = {0};
    NB_TRY(nb_bind_each(model, fill_site, &f, err));
    model->owned_bytes = f.n_byte;
    model->owned = nb_alloc_large(model->owned_bytes);
    if (!model->owned)
        return nb_error_set(err, NB_ERR_MEMORY, "%zu bytes for the dummy weights could not be allocated", f.n_byte);
    f = (filler){.team = nb_threads_open(0), .block = model->owned};
    int code = nb_bind_each(model, fill_site, &f, err);
    nb_threads_close(f.team);
    if (model->config.tie_word_embeddings) model->lm_head = model->embed_tokens;
    return code;
}
