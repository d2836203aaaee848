// One tensor at a time: taking it, checking its shape and reading small values; and how problems are told.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/bind_format.h"
#include "numeric/bf16.h"

void nb_binder_mark(nb_binder *b, const nb_tensor *tensor)
{
    b->used[tensor - nb_checkpoint_at(b->ckpt, 0)] = (uint8_t)(1 + b->role);
}

const nb_tensor *nb_binder_take(nb_binder *b, const char *module, const char *suffix)
{
    char name[NB_BIND_NAME_MAX];
    int n = snprintf(name, sizeof name, "%s%s", module, suffix);
    const nb_tensor *tensor = nb_checkpoint_find(b->ckpt, (nb_str){name, (size_t)n});
    if (tensor) nb_binder_mark(b, tensor);
    return tensor;
}

int nb_binder_missing(nb_binder *b, const char *module, const char *suffix, nb_error *err)
{
    char name[NB_BIND_NAME_MAX];
    int n = snprintf(name, sizeof name, "%s%s", module, suffix);
    if (b->report) {
        nb_bind_note note = {NB_NOTE_MISSING, {name, (size_t)n}, NULL, b->role, "config.json asks for it"};
        b->report(b->report_user, &note);
        return NB_ERR_INPUT;
    }
    return nb_error_set(err, NB_ERR_INPUT, "%s: tensor \"%s\" is missing, though config.json asks for it",
                        nb_checkpoint_folder(b->ckpt), name);
}

int nb_binder_wrong(nb_binder *b, const nb_tensor *tensor, nb_error *err, const char *format, ...)
{
    char detail[256];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    if (b->report) {
        nb_bind_note note = {NB_NOTE_WRONG, tensor->name, tensor, b->role, detail};
        b->report(b->report_user, &note);
        return NB_ERR_INPUT;
    }
    return nb_error_set(err, NB_ERR_INPUT, "%s/%s: tensor \"%s\" %s", nb_checkpoint_folder(b->ckpt),
                        nb_checkpoint_shard_name(b->ckpt, tensor->shard), tensor->name.ptr, detail);
}

static void write_shape(const int64_t *shape, int n_dim, char out[128])
{
    size_t n = (size_t)snprintf(out, 128, "[");
    for (int i = 0; i < n_dim; i++)
        n += (size_t)snprintf(out + n, 128 - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(out + n, 128 - n, "]");
}

int nb_binder_check_shape(nb_binder *b, const nb_tensor *tensor, const int64_t *shape, int n_dim, nb_error *err)
{
    if (tensor->n_dim == n_dim && !memcmp(tensor->dim, shape, (size_t)n_dim * sizeof *shape)) return NB_OK;
    char is[128], wanted[128];
    write_shape(tensor->dim, tensor->n_dim, is);
    write_shape(shape, n_dim, wanted);
    return nb_binder_wrong(b, tensor, err, "has the shape %s where config.json asks for %s", is, wanted);
}

static float read_value(const nb_tensor *tensor, int64_t i)
{
    const uint8_t *at = tensor->data + (size_t)i * nb_dtype_bytes(tensor->dtype);
    float wide;
    uint16_t half;
    memcpy(&half, at, sizeof half);
    if (tensor->dtype == NB_DTYPE_BF16) return nb_bf16_to_f32(half);
    if (tensor->dtype == NB_DTYPE_F16) return nb_f16_to_f32(half);
    memcpy(&wide, at, sizeof wide);
    return wide;
}

static int check_float(nb_binder *b, const nb_tensor *tensor, nb_error *err)
{
    if (tensor->dtype == NB_DTYPE_BF16 || tensor->dtype == NB_DTYPE_F16 || tensor->dtype == NB_DTYPE_F32) return NB_OK;
    return nb_binder_wrong(b, tensor, err, "is %s; it must be BF16, F16 or F32", nb_dtype_name(tensor->dtype));
}

int nb_binder_scalar(nb_binder *b, const nb_tensor *tensor, float *out, nb_error *err)
{
    NB_TRY(check_float(b, tensor, err));
    if (tensor->n_dim > 1 || (tensor->n_dim == 1 && tensor->dim[0] != 1))
        return nb_binder_wrong(b, tensor, err, "must be a scalar");
    float value = read_value(tensor, 0);
    if (!isfinite(value) || value <= 0)
        return nb_binder_wrong(b, tensor, err, "is a scale of %g; scales must be finite and positive", (double)value);
    *out = value;
    return NB_OK;
}

int nb_binder_widen(nb_binder *b, const nb_tensor *tensor, float **out, nb_error *err)
{
    NB_TRY(check_float(b, tensor, err));
    int64_t n = (int64_t)(tensor->n_byte / nb_dtype_bytes(tensor->dtype));
    float *value = NB_ARENA_ARRAY(b->model->arena, float, n);
    for (int64_t i = 0; i < n; i++) {
        value[i] = read_value(tensor, i);
        if (!isfinite(value[i]))
            return nb_binder_wrong(b, tensor, err, "is %g at element %lld; all values must be finite", (double)value[i],
                                   (long long)i);
    }
    *out = value;
    return NB_OK;
}

int nb_binder_scales(nb_binder *b, const nb_tensor *tensor, const float **out, nb_error *err)
{
    float *value;
    NB_TRY(nb_binder_widen(b, tensor, &value, err));
    int64_t n = (int64_t)(tensor->n_byte / nb_dtype_bytes(tensor->dtype));
    for (int64_t i = 0; i < n; i++)
        if (value[i] <= 0)
            return nb_binder_wrong(b, tensor, err, "is %g at element %lld; scales must be finite and positive",
                                   (double)value[i], (long long)i);
    *out = value;
    return NB_OK;
}
