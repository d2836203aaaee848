// Element types of safetensors files that checkpoints of these families use.
#ifndef NB_DTYPE_H
#define NB_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

typedef enum nb_dtype {
    NB_DTYPE_BF16,
    NB_DTYPE_F16,
    NB_DTYPE_F32,
    NB_DTYPE_F8_E4M3,
    NB_DTYPE_U8,
    NB_DTYPE_I8,
    NB_DTYPE_I32,
    NB_DTYPE_I64,
    NB_DTYPE_F64,
    NB_DTYPE_BOOL,
    NB_DTYPE_COUNT,
} nb_dtype;

const char *nb_dtype_name(nb_dtype dtype); // as safetensors spells it
size_t nb_dtype_bytes(nb_dtype dtype);
bool nb_dtype_parse(nb_str name, nb_dtype *out); // false: not one of these

#endif
