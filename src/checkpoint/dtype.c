// The table of element types: one line each, in the order of the enum.
#include "checkpoint/dtype.h"

static const struct {
    const char *name;
    size_t n_byte;
} dtypes[NB_DTYPE_COUNT] = {
    [NB_DTYPE_BF16] = {"BF16", 2},       [NB_DTYPE_F16] = {"F16", 2}, [NB_DTYPE_F32] = {"F32", 4},
    [NB_DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [NB_DTYPE_U8] = {"U8", 1},   [NB_DTYPE_I8] = {"I8", 1},
    [NB_DTYPE_I32] = {"I32", 4},         [NB_DTYPE_I64] = {"I64", 8}, [NB_DTYPE_F64] = {"F64", 8},
    [NB_DTYPE_BOOL] = {"BOOL", 1},
};

const char *nb_dtype_name(nb_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t nb_dtype_bytes(nb_dtype dtype)
{
    return dtypes[dtype].n_byte;
}

bool nb_dtype_parse(nb_str name, nb_dtype *out)
{
    for (nb_dtype i = 0; i < NB_DTYPE_COUNT; i++) {
        if (!nb_str_equal_c(name, dtypes[i].name)) continue;
        *out = i;
        return true;
    }
    return false;
}
