#include "support/vllm_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool nb_op_present(void)
{
    return nb_test_shared("golden/vllm_ops") != NULL;
}

static nb_npy open_array(const char *op_case, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "golden/vllm_ops/%s/%s.npy", op_case, name);
    const char *full = nb_test_shared(path);
    if (!full) fail_msg("%s is missing", path);
    return nb_test_npy(full);
}

float *nb_op_f32(const char *op_case, const char *name, int64_t *dim)
{
    nb_npy a = open_array(op_case, name);
    for (int i = 0; dim && i < a.n_dim; i++) dim[i] = a.dim[i];
    float *x = nb_test_npy_f32(&a);
    free(a.data);
    return x;
}

int64_t *nb_op_int(const char *op_case, const char *name, int64_t *n)
{
    nb_npy a = open_array(op_case, name);
    int64_t *x = nb_alloc(sizeof *x * (size_t)(a.n + 1));
    bool wide = strstr(a.dtype, "i8") != NULL;
    for (int64_t i = 0; i < a.n; i++) x[i] = wide ? ((const int64_t *)a.data)[i] : ((const int32_t *)a.data)[i];
    if (n) *n = a.n;
    free(a.data);
    return x;
}

void nb_op_transpose(float *x, int64_t n, int64_t rows, int64_t cols)
{
    size_t bytes = sizeof(float) * (size_t)(rows * cols);
    float *copy = nb_alloc(bytes);
    for (int64_t i = 0; i < n; i++, x += rows * cols) {
        memcpy(copy, x, bytes);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++) x[c * rows + r] = copy[r * cols + c];
    }
    free(copy);
}
