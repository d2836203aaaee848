// Shared by the tests of kernels: GPU memory that is poisoned, random values that differ from run to run, comparisons
// in which NaN, the poison, never passes.
#ifndef NB_TEST_SUPPORT_CUDA_H
#define NB_TEST_SUPPORT_CUDA_H

extern "C" {
#include "support/check.h"
}

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda/cuda_linear.h"
#include "model/synth_values.h"

enum { NB_TEST_POISON = 0xff };

static uint64_t nb_test_seed;
static nb_cuda_launch nb_test_at;

static inline void nb_test_begin(void)
{
    nb_test_seed = (uint64_t)time(NULL) << 20;
    print_message("seed %llu\n", (unsigned long long)nb_test_seed);
}

static inline bool nb_test_has_gpu(void)
{
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
    cudaDeviceGetAttribute(&nb_test_at.n_sm, cudaDevAttrMultiProcessorCount, 0);
    return true;
}

static inline void *nb_test_gpu(size_t n_byte)
{
    void *p = NULL;
    assert_int_equal(cudaMalloc(&p, n_byte), cudaSuccess);
    assert_int_equal(cudaMemset(p, NB_TEST_POISON, n_byte), cudaSuccess);
    return p;
}

static inline void *nb_test_to_gpu(const void *host, size_t n_byte)
{
    void *p = nb_test_gpu(n_byte);
    assert_int_equal(cudaMemcpy(p, host, n_byte, cudaMemcpyHostToDevice), cudaSuccess);
    return p;
}

// Uniform in (-1, 1).
static inline float nb_test_uniform(uint64_t i)
{
    return nb_synth_uniform(nb_random_philox(nb_test_seed, i, 7).v[0] & 0xffff);
}

// n random values in (-scale, scale) + offset on the GPU.
static inline float *nb_test_floats(int64_t n, float scale, float offset)
{
    float *x = (float *)malloc((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) x[i] = nb_test_uniform((uint64_t)i) * scale + offset;
    nb_test_seed++;
    float *gpu = (float *)nb_test_to_gpu(x, (size_t)n * sizeof(float));
    free(x);
    return gpu;
}

static inline uint16_t *nb_test_bf16(int64_t n, float scale)
{
    uint16_t *x = (uint16_t *)malloc((size_t)n * sizeof(uint16_t));
    for (int64_t i = 0; i < n; i++) x[i] = nb_bf16_from_f32(nb_test_uniform((uint64_t)i) * scale);
    nb_test_seed++;
    uint16_t *gpu = (uint16_t *)nb_test_to_gpu(x, (size_t)n * sizeof(uint16_t));
    free(x);
    return gpu;
}

typedef int (*nb_test_place_fn)(int column); // where a column of b is stored

// Rows of a and b differ by less than `tolerance` of their norm.
static inline void nb_test_rows_close(const char *what, const void *a_gpu, const void *b_gpu, int64_t n_row, int stride,
                                      int n_col, bool bf16, nb_test_place_fn place, double tolerance)
{
    size_t n_byte = (size_t)n_row * stride * (bf16 ? 2 : 4);
    uint8_t *a = (uint8_t *)malloc(n_byte), *b = (uint8_t *)malloc(n_byte);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    cudaMemcpy(a, a_gpu, n_byte, cudaMemcpyDeviceToHost), cudaMemcpy(b, b_gpu, n_byte, cudaMemcpyDeviceToHost);
    double sum = 0, error = 0;
    for (int64_t r = 0; r < n_row; r++)
        for (int c = 0; c < n_col; c++) {
            int64_t i = r * stride + c, j = r * stride + (place ? place(c) : c);
            double x = bf16 ? nb_bf16_to_f32(((uint16_t *)a)[i]) : ((float *)a)[i],
                   y = bf16 ? nb_bf16_to_f32(((uint16_t *)b)[j]) : ((float *)b)[j];
            sum += x * x, error += (x - y) * (x - y);
        }
    free(a), free(b);
    double relative = sqrt(error / sum);
    print_message("%s: differs by %.1e of its norm\n", what, relative);
    if (!(relative < tolerance)) fail_msg("%s differs by %.2e of its norm", what, relative);
}

#endif
