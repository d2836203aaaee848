// Random matrices of every kind in GPU memory, for the tests of products.
#ifndef NB_TEST_SUPPORT_MATRIX_H
#define NB_TEST_SUPPORT_MATRIX_H

#include "support_cuda.h"

#include "cuda/cuda_repack.h"

static inline nb_linear nb_test_linear(int kind, int n_out, int n_in)
{
    nb_linear l = {};
    l.n_out = n_out, l.n_in = n_in, l.dummy_seed = ++nb_test_seed;
    l.format = kind == NB_KIND_BF16 ? NB_FORMAT_BF16 : kind == NB_KIND_NVFP4 ? NB_FORMAT_NVFP4 : NB_FORMAT_FP8;
    l.input_scale = kind == NB_KIND_FP8_A8 ? 0.02f : 0.0f;
    return l;
}

// `n_copy` matrices of one shape behind each other, as the experts of a layer are.
static inline nb_cuda_matrix nb_test_matrix(int kind, int n_out, int n_in, int paired, int n_copy)
{
    nb_error err;
    nb_cuda_matrix m = {};
    nb_linear l = nb_test_linear(kind, n_out, n_in);
    int64_t n_data = (int64_t)n_out * n_in *
                     (kind == NB_KIND_BF16    ? 4
                      : kind == NB_KIND_NVFP4 ? 1
                                              : 2) /
                     2,
            n_scale = (int64_t)n_out * n_in / NB_NVFP4_BLOCK;
    nb_repack_shape(&m, &l, paired);
    m.data = (const uint4 *)nb_test_gpu((size_t)(nb_repack_data_bytes(&m) * n_copy));
    if (nb_repack_scale_bytes(&m))
        m.scale = (const uint32_t *)nb_test_gpu((size_t)(nb_repack_scale_bytes(&m) * n_copy));
    m.scale_low = 0.02f, m.scale_high = paired ? 0.03f : 0.02f;
    uint8_t *data[2], *scale[2];
    for (int i = 0; i < 2; i++)
        data[i] = (uint8_t *)nb_test_gpu((size_t)n_data), scale[i] = (uint8_t *)nb_test_gpu((size_t)n_scale + 16);
    for (int e = 0; e < n_copy; e++) {
        nb_cuda_matrix mine = m;
        mine.data += e * nb_repack_data_bytes(&m) / 16, mine.scale += e * nb_repack_scale_bytes(&m) / 4;
        for (int i = 0; i < 2; i++) {
            l.dummy_seed = ++nb_test_seed;
            nb_test_ok(nb_repack_dummy(0, &l, 0, 0, n_data, data[i], &err), &err);
            if (m.scale) nb_test_ok(nb_repack_dummy(0, &l, 1, 0, n_scale, scale[i], &err), &err);
        }
        nb_repack_source s = {data[0], data[paired], scale[0], scale[paired]};
        nb_test_ok(nb_repack_run(0, &mine, &s, 0, m.n_row_tile, &err), &err);
    }
    for (int i = 0; i < 2; i++) cudaFree(data[i]), cudaFree(scale[i]);
    return m;
}

static inline void nb_test_free_matrix(const nb_cuda_matrix *m)
{
    cudaFree((void *)m->data), cudaFree((void *)m->scale);
}

#endif
