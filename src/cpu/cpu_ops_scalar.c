// The reference of every kernel but the matrix product: plain loops and libm. Sums run in ascending order in binary32.
#include <math.h>
#include <string.h>

#include "cpu/cpu_kernels_internal.h"
#include "numeric/fp8.h"

static void round_bf16(const float *x, int64_t n, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = nb_bf16_from_f32(x[i]);
}

static void quantize_e4m3(const float *x, int64_t n, float scale, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = nb_bf16_from_f32(nb_e4m3_to_f32(nb_e4m3_from_f32(x[i] / scale)));
}

static float sum_of_squares(const float *x, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static void rmsnorm(const float *x, const float *weight, float eps, int64_t n, float *y)
{
    float factor = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * factor * weight[i];
}

static void rmsnorm_gated(const float *x, const float *weight, const float *z, float eps, int64_t n, float *y)
{
    float factor = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * factor * weight[i] * (z[i] * sigmoid(z[i]));
}

static void l2norm(const float *x, float eps, float scale, int64_t n, float *y)
{
    float factor = scale / sqrtf(sum_of_squares(x, n) + eps);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * factor;
}

static void silu(const float *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * sigmoid(x[i]);
}

static void silu_mul(const float *gate, const float *up, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static void sigmoid_mul(const float *x, const float *gate, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * sigmoid(gate[i]);
}

static void softmax(float *x, int64_t n)
{
    float max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmaxf(max, x[i]);
    for (int64_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    for (int64_t i = 0; i < n; i++) x[i] /= sum;
}

static float kv_value(nb_kv_format format, const void *b, int64_t i)
{
    switch (format) {
    case NB_KV_BF16: return nb_bf16_to_f32(((const uint16_t *)b)[i]);
    case NB_KV_FP8: return nb_e4m3_to_f32(((const uint8_t *)b)[i]);
    case NB_KV_F32: break;
    }
    return ((const float *)b)[i];
}

static inline float dot(nb_kv_format format, const float *a, const void *b, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * kv_value(format, b, i);
    return sum;
}

static inline void axpy(nb_kv_format format, float scale, const void *b, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] += scale * kv_value(format, b, i);
}

#include "cpu/cpu_ops_kv.h"

static void store_f32(const float *x, int64_t n, void *y)
{
    memcpy(y, x, sizeof(float) * (size_t)n);
}

// One column of the state at a time: columns do not meet.
static void delta_step(float *s, const float *q, const float *k, const float *v, float decay, float beta, int d_key,
                       int d_value, float *out)
{
    for (int j = 0; j < d_value; j++) {
        float *column = s + j, recalled = 0, sum = 0;
        for (int i = 0; i < d_key; i++) recalled += column[(int64_t)i * d_value] * decay * k[i];
        float u = beta * (v[j] - recalled);
        for (int i = 0; i < d_key; i++) {
            float *element = column + (int64_t)i * d_value;
            *element = *element * decay + k[i] * u;
            sum += *element * q[i];
        }
        out[j] = sum;
    }
}

const nb_cpu_kernel_set nb_cpu_kernels_scalar = {
    .name = "scalar",
    .matmul = nb_cpu_matmul_scalar,
    .round_bf16 = round_bf16,
    .quantize_e4m3 = quantize_e4m3,
    .rmsnorm = rmsnorm,
    .rmsnorm_gated = rmsnorm_gated,
    .l2norm = l2norm,
    .silu = silu,
    .silu_mul = silu_mul,
    .sigmoid_mul = sigmoid_mul,
    .softmax = softmax,
    .dot = {[NB_KV_BF16] = dot_bf16, [NB_KV_FP8] = dot_fp8, [NB_KV_F32] = dot_f32},
    .axpy = {[NB_KV_BF16] = axpy_bf16, [NB_KV_FP8] = axpy_fp8, [NB_KV_F32] = axpy_f32},
    .store = {[NB_KV_BF16] = store_bf16, [NB_KV_FP8] = store_fp8, [NB_KV_F32] = store_f32},
    .delta_step = delta_step,
};
