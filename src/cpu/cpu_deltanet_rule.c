// Convolution, gates, and the delta rule token by token.
#include <math.h>

#include "cpu/cpu_deltanet.h"

void nb_cpu_conv_run(const nb_cpu_kernel_set *kernels, const nb_cpu_conv *conv, const float *past, const float *raw,
                     int n_tok, int from, int to, float *out)
{
    int64_t n_channel = conv->n_channel;
    for (int t = 0; t < n_tok; t++) {
        float *y = out + t * n_channel;
        for (int c = from; c < to; c++) y[c] = 0;
        for (int j = 0; j < conv->kernel; j++) {
            int at = t - (conv->kernel - 1) + j;
            const float *x = at < 0 ? past + (conv->kernel - 1 + at) * n_channel : raw + at * n_channel;
            for (int c = from; c < to; c++) y[c] += conv->weight[c * conv->kernel + j] * x[c];
        }
        kernels->silu(y + from, to - from, y + from);
    }
}

void nb_cpu_conv_shift(const nb_cpu_conv *conv, const float *raw, int n_tok, int from, int to, float *past)
{
    int64_t n_channel = conv->n_channel;
    int n_past = conv->kernel - 1;
    for (int i = 0; i < n_past; i++) {
        int at = i + n_tok; // in the old past, and behind its end in raw
        const float *x = at < n_past ? past + at * n_channel : raw + (at - n_past) * n_channel;
        for (int c = from; c < to; c++) past[i * n_channel + c] = x[c];
    }
}

static float softplus(float x)
{
    return x > 20 ? x : log1pf(expf(x));
}

void nb_cpu_delta_gates(const float *A_log, const float *dt_bias, int n_head, float *a, float *b)
{
    for (int h = 0; h < n_head; h++) {
        a[h] = -expf(A_log[h]) * softplus(a[h] + dt_bias[h]);
        b[h] = 1 / (1 + expf(-b[h]));
    }
}

void nb_cpu_delta_steps(const nb_cpu_kernel_set *kernels, const nb_cpu_delta_head *head, int from, int to, float *state)
{
    for (int t = from; t < to; t++)
        kernels->delta_step(state, head->q + t * head->qkv_stride, head->k + t * head->qkv_stride,
                            head->v + t * head->qkv_stride, expf(head->g[t * head->gate_stride]),
                            head->beta[t * head->gate_stride], head->d_key, head->d_value,
                            head->out + t * head->out_stride);
}
