// The kernels of cpu_kernels.h but the product, over the vector layer that was included before: cpu_ops_avx2.c and
// cpu_ops_avx512.c are this file compiled twice. Sums run in VF lanes, lane i over the elements i, i + VF, ..., and the
// lanes are added once at the end.
#include <math.h>

#include "cpu/cpu_kernels_internal.h"
#include "numeric/fp8.h"

// Runs `body` over n elements: `at` is the place, `n_at` how many of the vector are there.
#define FOR_VECTORS(n) for (int64_t at = 0, n_at; n_at = (n)-at < VF ? (n)-at : VF, at < (n); at += VF)

NB_VEC vf load(const float *p, int64_t n)
{
    return n == VF ? vf_load(p) : vf_load_part(p, (int)n);
}

NB_VEC void store(float *p, vf x, int64_t n)
{
    if (n == VF)
        vf_store(p, x);
    else
        vf_store_part(p, x, (int)n);
}

// exp within 2 ulp: 2^n * p(r) with n = round(x / ln 2), |r| <= ln 2 / 2, ln 2 in two parts; p is the Taylor polynomial
// of degree 7. Below -87.3 (results under the smallest normal number) it is 0; above 88.3 it stays at exp(88.3).
NB_VEC vf vf_exp(vf x)
{
    vf in = vf_max(vf_set(-87.3f), vf_min(vf_set(88.3f), x));
    vf n = vf_round(vf_mul(in, vf_set(1.44269504088896341f)));
    vf r = vf_fma(n, vf_set(-0.693145751953125f), in);
    r = vf_fma(n, vf_set(-1.42860682030941723212e-6f), r);
    vf p = vf_set(1.0f / 5040);
    p = vf_fma(p, r, vf_set(1.0f / 720));
    p = vf_fma(p, r, vf_set(1.0f / 120));
    p = vf_fma(p, r, vf_set(1.0f / 24));
    p = vf_fma(p, r, vf_set(1.0f / 6));
    p = vf_fma(p, r, vf_set(0.5f));
    p = vf_fma(p, r, vf_set(1.0f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_zero_below(x, -87.3f, vf_mul(p, vf_power_of_2(n)));
}

NB_VEC vf vf_sigmoid(vf x)
{
    return vf_div(vf_set(1), vf_add(vf_set(1), vf_exp(vf_sub(vf_set(0), x))));
}

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
    vf sum = vf_set(0);
    FOR_VECTORS(n)
    {
        vf v = load(x + at, n_at);
        sum = vf_fma(v, v, sum);
    }
    return vf_sum(sum);
}

static void rmsnorm(const float *x, const float *weight, float eps, int64_t n, float *y)
{
    vf factor = vf_set(1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps));
    FOR_VECTORS(n) store(y + at, vf_mul(vf_mul(load(x + at, n_at), factor), load(weight + at, n_at)), n_at);
}

static void rmsnorm_gated(const float *x, const float *weight, const float *z, float eps, int64_t n, float *y)
{
    vf factor = vf_set(1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps));
    FOR_VECTORS(n)
    {
        vf gate = load(z + at, n_at), normed = vf_mul(vf_mul(load(x + at, n_at), factor), load(weight + at, n_at));
        store(y + at, vf_mul(normed, vf_mul(gate, vf_sigmoid(gate))), n_at);
    }
}

static void l2norm(const float *x, float eps, float scale, int64_t n, float *y)
{
    vf factor = vf_set(scale / sqrtf(sum_of_squares(x, n) + eps));
    FOR_VECTORS(n) store(y + at, vf_mul(load(x + at, n_at), factor), n_at);
}

static void silu(const float *x, int64_t n, float *y)
{
    FOR_VECTORS(n)
    {
        vf v = load(x + at, n_at);
        store(y + at, vf_mul(v, vf_sigmoid(v)), n_at);
    }
}

static void silu_mul(const float *gate, const float *up, int64_t n, float *y)
{
    FOR_VECTORS(n)
    {
        vf g = load(gate + at, n_at);
        store(y + at, vf_mul(vf_mul(g, vf_sigmoid(g)), load(up + at, n_at)), n_at);
    }
}

static void sigmoid_mul(const float *x, const float *gate, int64_t n, float *y)
{
    FOR_VECTORS(n) store(y + at, vf_mul(load(x + at, n_at), vf_sigmoid(load(gate + at, n_at))), n_at);
}

static void softmax(float *x, int64_t n)
{
    vf max = vf_set(-INFINITY), sum = vf_set(0);
    FOR_VECTORS(n) max = vf_max(max, vf_blend_part(load(x + at, n_at), max, (int)n_at));
    vf top = vf_set(vf_largest(max));
    FOR_VECTORS(n)
    {
        vf e = vf_blend_part(vf_exp(vf_sub(load(x + at, n_at), top)), vf_set(0), (int)n_at);
        store(x + at, e, n_at);
        sum = vf_add(sum, e);
    }
    vf total = vf_set(vf_sum(sum));
    FOR_VECTORS(n) store(x + at, vf_div(load(x + at, n_at), total), n_at);
}

NB_VEC vf load_kv(nb_kv_format format, const void *b, int64_t at, int64_t n)
{
    const uint16_t *word = (const uint16_t *)b + at;
    const uint8_t *byte = (const uint8_t *)b + at;
    switch (format) {
    case NB_KV_BF16: return n == VF ? vf_load_bf16(word) : vf_load_bf16_part(word, (int)n);
    case NB_KV_FP8: return n == VF ? vf_load_e4m3(byte) : vf_load_e4m3_part(byte, (int)n);
    case NB_KV_F32: break;
    }
    return load((const float *)b + at, n);
}

// Two sums hide the latency of the multiply-add; heads are short, more would not pay.
NB_VEC float dot(nb_kv_format format, const float *a, const void *b, int64_t n)
{
    vf even = vf_set(0), odd = vf_set(0);
    int64_t i = 0;
    for (; i + 2 * VF <= n; i += 2 * VF) {
        even = vf_fma(vf_load(a + i), load_kv(format, b, i, VF), even);
        odd = vf_fma(vf_load(a + i + VF), load_kv(format, b, i + VF, VF), odd);
    }
    for (; i < n; i += VF) {
        int64_t left = n - i < VF ? n - i : VF;
        even = vf_fma(load(a + i, left), load_kv(format, b, i, left), even);
    }
    return vf_sum(vf_add(even, odd));
}

NB_VEC void axpy(nb_kv_format format, float scale, const void *b, int64_t n, float *y)
{
    vf s = vf_set(scale);
    FOR_VECTORS(n) store(y + at, vf_fma(s, load_kv(format, b, at, n_at), load(y + at, n_at)), n_at);
}

#include "cpu/cpu_ops_kv.h"

static void store_f32(const float *x, int64_t n, void *y)
{
    FOR_VECTORS(n) store((float *)y + at, load(x + at, n_at), n_at);
}

// The columns of n_vector vectors (n_at values if it is one): the state is read twice and written once.
NB_VEC void delta_columns(float *s, const float *q, const float *k, const float *v, float decay, float beta, int d_key,
                          int d_value, float *out, int n_vector, int64_t n_at)
{
    vf recalled[4], sum[4], u[4], d = vf_set(decay);
    for (int j = 0; j < n_vector; j++) recalled[j] = sum[j] = vf_set(0);
    for (int i = 0; i < d_key; i++) {
        const float *row = s + (int64_t)i * d_value;
        for (int j = 0; j < n_vector; j++) {
            recalled[j] = vf_fma(vf_mul(load(row + j * VF, n_at), d), vf_set(k[i]), recalled[j]);
        }
    }
    for (int j = 0; j < n_vector; j++) u[j] = vf_mul(vf_set(beta), vf_sub(load(v + j * VF, n_at), recalled[j]));
    for (int i = 0; i < d_key; i++) {
        float *row = s + (int64_t)i * d_value;
        for (int j = 0; j < n_vector; j++) {
            vf element = vf_fma(vf_set(k[i]), u[j], vf_mul(load(row + j * VF, n_at), d));
            store(row + j * VF, element, n_at);
            sum[j] = vf_fma(element, vf_set(q[i]), sum[j]);
        }
    }
    for (int j = 0; j < n_vector; j++) store(out + j * VF, sum[j], n_at);
}

static void delta_step(float *s, const float *q, const float *k, const float *v, float decay, float beta, int d_key,
                       int d_value, float *out)
{
    int j = 0;
    for (; j + 4 * VF <= d_value; j += 4 * VF) {
        delta_columns(s + j, q, k, v + j, decay, beta, d_key, d_value, out + j, 4, VF);
    }
    for (; j < d_value; j += VF) {
        int n_at = d_value - j < VF ? d_value - j : VF;
        delta_columns(s + j, q, k, v + j, decay, beta, d_key, d_value, out + j, 1, n_at);
    }
}

#define NB_CPU_OPS_VEC                                                                                            \
    .round_bf16 = round_bf16, .quantize_e4m3 = quantize_e4m3, .rmsnorm = rmsnorm, .rmsnorm_gated = rmsnorm_gated, \
    .l2norm = l2norm, .silu = silu, .silu_mul = silu_mul, .sigmoid_mul = sigmoid_mul, .softmax = softmax,         \
    .dot = {[NB_KV_BF16] = dot_bf16, [NB_KV_FP8] = dot_fp8, [NB_KV_F32] = dot_f32},                               \
    .axpy = {[NB_KV_BF16] = axpy_bf16, [NB_KV_FP8] = axpy_fp8, [NB_KV_F32] = axpy_f32},                           \
    .store = {[NB_KV_BF16] = store_bf16, [NB_KV_FP8] = store_fp8, [NB_KV_F32] = store_f32}, .delta_step = delta_step
