// The reference product: weights decoded by nb_linear_decode_part, inputs added in ascending order.
#include "cpu/cpu_kernels_internal.h"
#include "numeric/bf16.h"

enum { CHUNK = 256, GROUP = 16 }; // inputs decoded at a time; rows that use them before the next are decoded

static float input(const nb_cpu_matmul *m, int row, int64_t i)
{
    int64_t at = row * m->x_stride + i;
    return m->x_bf16 ? nb_bf16_to_f32(((const uint16_t *)m->x)[at]) : ((const float *)m->x)[at];
}

static void rows_of_output(const nb_cpu_matmul *m, int out, int row_from, int n_row)
{
    float w[CHUNK], sum[GROUP] = {0};
    for (int from = 0; from < m->linear->n_in; from += CHUNK) {
        int n = m->linear->n_in - from < CHUNK ? m->linear->n_in - from : CHUNK;
        nb_linear_decode_part(m->linear, out, from, n, w);
        for (int r = 0; r < n_row; r++) {
            for (int i = 0; i < n; i++) sum[r] += w[i] * input(m, row_from + r, from + i);
        }
    }
    for (int r = 0; r < n_row; r++) {
        float *y = m->y + (row_from + r) * m->y_stride + out;
        *y = (m->add ? *y : 0) + sum[r] * m->x_scale;
    }
}

void nb_cpu_matmul_scalar(const nb_cpu_matmul *m, int out_from, int out_to)
{
    for (int out = out_from; out < out_to; out++) {
        for (int row = 0; row < m->n_row; row += GROUP) {
            rows_of_output(m, out, row, m->n_row - row < GROUP ? m->n_row - row : GROUP);
        }
    }
}
