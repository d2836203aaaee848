// The arithmetic of the CPU device: matrix products straight from checkpoint formats, norms, gates, attention's inner
// loops and the delta rule, as a table of function pointers that is chosen once (scalar, AVX2, AVX-512). The scalar set
// is the oracle: plain loops over nb_linear_decode_row. No kernel allocates, keeps state or starts threads.
//
// Invariants, tested:
//  1. An output depends on its own inputs only. y[row][out] is bitwise the same whatever n_row, the range of outputs
//  and
//     the thread are; an element of an elementwise kernel is the same at every place of the row.
//  2. Vector sets equal the scalar set within the tolerance stated in test/cpu; NaN codes in FP8 weights are outside
//  it.
#ifndef NB_CPU_KERNELS_H
#define NB_CPU_KERNELS_H

#include <stdbool.h>

#include "cpu/cpu_device.h"
#include "model/linear.h"

// y[row][out] (+)= x_scale * sum_in x[row][in] * w[out][in]. Inputs are binary32, or bf16 for speed and to behave as a
// GPU: the caller rounds them with round_bf16, or with quantize_e4m3 where the linear has an input_scale.
typedef struct nb_cpu_matmul {
    const nb_linear *linear;
    const void *x; // [n_row][n_in] float, or uint16_t bf16 words if x_bf16
    bool x_bf16;
    float x_scale;    // 1; W8A8: the linear's input_scale
    int64_t x_stride; // elements from row to row
    int n_row;
    float *y; // [n_row][n_out]
    int64_t y_stride;
    bool add; // to what y holds, instead of replacing it
} nb_cpu_matmul;

// Ranges of outputs handed to threads should be multiples of this (any range is right, these are fast).
enum { NB_CPU_OUT_STEP = 4 };

typedef struct nb_cpu_kernel_set {
    const char *name; // "scalar", "avx2", "avx512"

    // Outputs [out_from, out_to) of every row.
    void (*matmul)(const nb_cpu_matmul *matmul, int out_from, int out_to);

    // y[i] = bf16(x[i]); and y[i] = bf16 word of e4m3(x[i] / scale), which is exact. x, y: [n].
    void (*round_bf16)(const float *x, int64_t n, uint16_t *y);
    void (*quantize_e4m3)(const float *x, int64_t n, float scale, uint16_t *y);

    // One row each; y may be x.
    // rmsnorm: x * rsqrt(mean(x^2) + eps) * weight, weight already includes the 1 of zero-centred norms.
    // rmsnorm_gated: rmsnorm, then * silu(z). l2norm: scale * x / sqrt(sum(x^2) + eps).
    void (*rmsnorm)(const float *x, const float *weight, float eps, int64_t n, float *y);
    void (*rmsnorm_gated)(const float *x, const float *weight, const float *z, float eps, int64_t n, float *y);
    void (*l2norm)(const float *x, float eps, float scale, int64_t n, float *y);

    // Elementwise over [n]; y may be an input. silu_mul: silu(gate) * up. sigmoid_mul: x * sigmoid(gate).
    void (*silu)(const float *x, int64_t n, float *y);
    void (*silu_mul)(const float *gate, const float *up, int64_t n, float *y);
    void (*sigmoid_mul)(const float *x, const float *gate, int64_t n, float *y);

    // exp(x - max) / sum, in place. Entries of -INFINITY become 0; at least one must be finite.
    void (*softmax)(float *x, int64_t n);

    // Attention. a: [n] float; b: [n] in the KV format. dot: sum a*b. axpy: y += scale * b.
    float (*dot[NB_KV_F32 + 1])(const float *a, const void *b, int64_t n);
    void (*axpy[NB_KV_F32 + 1])(float scale, const void *b, int64_t n, float *y);
    // Writes n values in the KV format (bf16 rounding, saturating e4m3, or a copy).
    void (*store[NB_KV_F32 + 1])(const float *x, int64_t n, void *y);

    // One token of the gated delta rule for one value head, `s` updated in place:
    //   s *= decay;  u = beta * (v - s^T k);  s += k u^T;  out = s^T q
    // s: [d_key][d_value]; q (already scaled), k: [d_key]; v, out: [d_value], out not v. d_value a multiple of 8.
    void (*delta_step)(float *s, const float *q, const float *k, const float *v, float decay, float beta, int d_key,
                       int d_value, float *out);
} nb_cpu_kernel_set;

// NB_CPU_AUTO: the best set of this machine. A set that the machine or the build has not: NB_ERR_INPUT.
int nb_cpu_kernels_find(nb_cpu_kernels which, const nb_cpu_kernel_set **out, nb_error *err);

#endif
