// Attention's kernels for each KV format, made from the including file's own dot, axpy and round_bf16: the rows of dot,
// axpy and store.
#ifndef NB_CPU_OPS_KV_H
#define NB_CPU_OPS_KV_H

static float dot_bf16(const float *a, const void *b, int64_t n)
{
    return dot(NB_KV_BF16, a, b, n);
}
static float dot_fp8(const float *a, const void *b, int64_t n)
{
    return dot(NB_KV_FP8, a, b, n);
}
static float dot_f32(const float *a, const void *b, int64_t n)
{
    return dot(NB_KV_F32, a, b, n);
}
static void axpy_bf16(float scale, const void *b, int64_t n, float *y)
{
    axpy(NB_KV_BF16, scale, b, n, y);
}
static void axpy_fp8(float scale, const void *b, int64_t n, float *y)
{
    axpy(NB_KV_FP8, scale, b, n, y);
}
static void axpy_f32(float scale, const void *b, int64_t n, float *y)
{
    axpy(NB_KV_F32, scale, b, n, y);
}

static void store_bf16(const float *x, int64_t n, void *y)
{
    round_bf16(x, n, y);
}

static void store_fp8(const float *x, int64_t n, void *y)
{
    for (int64_t i = 0; i < n; i++) ((uint8_t *)y)[i] = nb_e4m3_from_f32(x[i]);
}

#endif
