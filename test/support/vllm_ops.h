// Arrays of a published operator case (golden/vllm_ops, golden/README.md says what they are).
#ifndef NB_TEST_VLLM_OPS_H
#define NB_TEST_VLLM_OPS_H

#include <stdbool.h>

#include "support/check.h"

bool nb_op_present(void); // else the test should skip()

// Array `name` of `op_case` as binary32 (bf16 widened); free() it. dim: its shape, or NULL.
float *nb_op_f32(const char *op_case, const char *name, int64_t *dim);
int64_t *nb_op_int(const char *op_case, const char *name, int64_t *n); // int32 or int64

// [n][rows][cols] to [n][cols][rows], in place.
void nb_op_transpose(float *x, int64_t n, int64_t rows, int64_t cols);

#endif
