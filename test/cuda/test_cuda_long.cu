// A long product, the head, against the small one on the same random weights and inputs, for every kind and one to
// eight tokens; and what it leaves of each row: largest logit, its token, sum of exponentials. Outputs are poisoned.
// Skipped where there is no GPU.
#include "support_matrix.h"

enum {
    FEW_SMS = 3, // so that the product is long; with all SMs it is small
    ROWS = 1501, // the last row tile is not full, the last round of the warps neither
    COLUMNS = 2048,
};

#define F32_CLOSE 2e-5 // sums in another order

static nb_error err;

static nb_cuda_dense dense_of(const nb_cuda_matrix *m, const float *x, const float *weight, int n_tok)
{
    nb_cuda_dense d = {};
    d.n_tok = n_tok, d.n_matrix = 1, d.matrix[0] = *m;
    d.source.kind = NB_SOURCE_NORM, d.source.value = x, d.source.weight = weight, d.source.eps = 1e-6f,
    d.source.n_in = COLUMNS;
    d.output[0].kind = NB_OUT_F32, d.output[0].stride = ROWS;
    d.output[0].out = nb_test_gpu((size_t)n_tok * ROWS * sizeof(float));
    return d;
}

// One row's parts against its logits.
static void check_parts(const float *logits, const nb_head_part *part, int n_part)
{
    float top = -INFINITY, part_top = -INFINITY;
    int tok = -1, part_tok = -1;
    double sum = 0, part_sum = 0;
    for (int i = 0; i < ROWS; i++)
        if (logits[i] > top) top = logits[i], tok = i;
    for (int i = 0; i < ROWS; i++) sum += exp((double)logits[i] - top);
    for (int i = 0; i < n_part; i++) {
        const nb_head_part *p = &part[i];
        assert_true(p->top == p->raw_top);
        part_sum += p->raw_sum * exp((double)p->raw_top - top);
        if (p->top > part_top || (p->top == part_top && p->top_tok < part_tok))
            part_top = p->top, part_tok = p->top_tok;
    }
    assert_int_equal(part_tok, tok);
    assert_true(part_top == top);
    assert_true(fabs(part_sum / sum - 1) < 1e-4);
}

static void compare(const nb_cuda_matrix *m, int n_tok)
{
    float *x = nb_test_floats((int64_t)n_tok * COLUMNS, 3, 0), *weight = nb_test_floats(COLUMNS, 1, 0);
    nb_cuda_dense few = dense_of(m, x, weight, n_tok), all = dense_of(m, x, weight, n_tok);
    nb_cuda_launch at = nb_test_at;
    at.n_sm = FEW_SMS;
    size_t parts = (size_t)n_tok * FEW_SMS * NB_CUDA_LONG_BLOCKS * sizeof(nb_head_part),
           rows = (size_t)n_tok * ROWS * sizeof(float);
    few.part = (nb_head_part *)nb_test_gpu(parts);
    nb_test_ok(nb_cuda_dense_run(&at, &few, &err), &err);
    nb_test_ok(nb_cuda_dense_run(&nb_test_at, &all, &err), &err);
    assert_int_equal(all.n_part, 0);
    assert_in_range(few.n_part, FEW_SMS, FEW_SMS * NB_CUDA_LONG_BLOCKS);
    nb_test_rows_close("long product", few.output[0].out, all.output[0].out, n_tok, ROWS, ROWS, false, NULL, F32_CLOSE);
    nb_head_part *part = (nb_head_part *)malloc(parts);
    float *logits = (float *)malloc(rows);
    assert_int_equal(cudaMemcpy(part, few.part, parts, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_int_equal(cudaMemcpy(logits, few.output[0].out, rows, cudaMemcpyDeviceToHost), cudaSuccess);
    for (int t = 0; t < n_tok; t++) check_parts(logits + (int64_t)t * ROWS, part + t * few.n_part, few.n_part);
    free(part), free(logits);
    cudaFree(few.part), cudaFree(few.output[0].out), cudaFree(all.output[0].out), cudaFree(x), cudaFree(weight);
}

static void long_equals_small(void **state)
{
    (void)state;
    if (!nb_test_has_gpu()) skip();
    static const int kinds[] = {NB_KIND_BF16, NB_KIND_FP8_A8, NB_KIND_FP8_A16, NB_KIND_NVFP4};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        nb_cuda_matrix m = nb_test_matrix(kinds[i], ROWS, COLUMNS, 0, 1);
        for (int n_tok = 1; n_tok <= NB_CUDA_SMALL_MAX; n_tok++) compare(&m, n_tok);
        nb_test_free_matrix(&m);
    }
}

int main(void)
{
    nb_test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(long_equals_small)};
    return nb_test_run("cuda_long", tests);
}
