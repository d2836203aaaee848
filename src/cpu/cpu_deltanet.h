// Gated DeltaNet's parts that stand alone: convolution, gates, the rule token by token (kernels' delta_step) and by
// chunks. The block itself (cpu_deltanet.c) is in cpu_device_internal.h.
//
// Rule, per value head, with the state s [d_key][d_value]:
//   s = exp(g) s;  u = beta (v - s^T k);  s = s + k u^T;  out = s^T q
// (Yang et al., "Gated Delta Networks", 2024). q and k are L2-normalised, q also scaled by d_key^-1/2.
#ifndef NB_CPU_DELTANET_H
#define NB_CPU_DELTANET_H

#include "cpu/cpu_kernels.h"

enum { NB_DELTA_CHUNK = 64 }; // tokens of the chunked form, and the grid its chunks lie on

// Causal convolution along the tokens and SiLU, channels [from, to). raw, out: [n_tok][n_channel]; weight:
// [n_channel][kernel]; past: [kernel - 1][n_channel] raw inputs before the first token, oldest first.
typedef struct nb_cpu_conv {
    const float *weight;
    int n_channel, kernel;
} nb_cpu_conv;
void nb_cpu_conv_run(const nb_cpu_kernel_set *kernels, const nb_cpu_conv *conv, const float *past, const float *raw,
                     int n_tok, int from, int to, float *out);

// Moves `past` on by n_tok raw inputs.
void nb_cpu_conv_shift(const nb_cpu_conv *conv, const float *raw, int n_tok, int from, int to, float *past);

// g = -exp(A_log) softplus(a + dt_bias), beta = sigmoid(b), in place of a and b: [n_head].
void nb_cpu_delta_gates(const float *A_log, const float *dt_bias, int n_head, float *a, float *b);

// One head's inputs, token t at + t * stride.
typedef struct nb_cpu_delta_head {
    const float *q, *k, *v, *g, *beta;
    float *out;
    int64_t qkv_stride, gate_stride, out_stride;
    int d_key, d_value;
} nb_cpu_delta_head;

// Tokens [from, to) of the head, one after the other.
void nb_cpu_delta_steps(const nb_cpu_kernel_set *kernels, const nb_cpu_delta_head *head, int from, int to,
                        float *state);

// n_tok <= NB_DELTA_CHUNK tokens from `from` at once: the chunked form of the same rule, equal up to rounding.
// work: [nb_cpu_delta_chunk_floats].
int64_t nb_cpu_delta_chunk_floats(int d_key, int d_value);
void nb_cpu_delta_chunk(const nb_cpu_kernel_set *kernels, const nb_cpu_delta_head *head, int from, int n_tok,
                        float *work, float *state);

#endif
