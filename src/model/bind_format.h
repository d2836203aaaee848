// Finds out in which format a matrix lies in the checkpoint, from the tensors that are there. Internal to model/.
#ifndef NB_BIND_FORMAT_H
#define NB_BIND_FORMAT_H

#include "model/bind_internal.h"

typedef struct nb_binder {
    const nb_checkpoint *ckpt;
    nb_model *model;
    uint8_t *used;         // [count of tensors] 0: not taken, else 1 + nb_role of the row that took it
    nb_role role;          // of the row at hand
    nb_bind_report report; // NULL: the first problem ends the binding; else each is reported and binding goes on
    void *report_user;
} nb_binder;

void nb_binder_mark(nb_binder *b, const nb_tensor *tensor);
// The tensor "<module><suffix>", marked as used; NULL if there is none.
const nb_tensor *nb_binder_take(nb_binder *b, const char *module, const char *suffix);

// Both report the problem or put it into `err` (the tensor, its file, what is wrong), and return NB_ERR_INPUT.
int nb_binder_missing(nb_binder *b, const char *module, const char *suffix, nb_error *err);
int nb_binder_wrong(nb_binder *b, const nb_tensor *tensor, nb_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

int nb_binder_check_shape(nb_binder *b, const nb_tensor *tensor, const int64_t *shape, int n_dim, nb_error *err);

// Values stored as BF16, F16 or F32, widened. A scalar has the shape [] or [1] and is positive and finite; vectors go
// to the model's arena and must be finite, scales positive too.
int nb_binder_scalar(nb_binder *b, const nb_tensor *tensor, float *out, nb_error *err);
int nb_binder_widen(nb_binder *b, const nb_tensor *tensor, float **out, nb_error *err);
int nb_binder_scales(nb_binder *b, const nb_tensor *tensor, const float **out, nb_error *err);

// Binds the matrix `module` of n_out x n_in to `out`, in whatever format it is.
int nb_bind_matrix(nb_binder *b, const char *module, int64_t n_out, int64_t n_in, nb_linear *out, nb_error *err);

// Binds n_out x n_in unquantized values that start `first` elements into the tensor, whose shape is already checked.
int nb_bind_plain(nb_binder *b, const nb_tensor *tensor, int64_t first, int64_t n_out, int64_t n_in, nb_linear *out,
                  nb_error *err);

// Checks the block scales of every NVFP4 tensor that was taken.
int nb_bind_check_block_scales(nb_binder *b, nb_error *err);

#endif
