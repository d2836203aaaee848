// The router of larger batches, one launch, against norm, product and routing apart: logits and the experts' input are
// the same up to roundings, each token has the experts of its own largest logits, and every pair has one place, in a
// tile of its expert. Outputs are poisoned. Skipped where there is no GPU.
#include "support_cuda.h"

#include "cuda/cuda_repack.h"
#include "cuda/cuda_router.h"

enum { TOKENS_MAX = 256, EXPERTS = 72, TOP_K = 6, COLUMNS = 16, PAIRS_MAX = TOKENS_MAX * TOP_K, TILES_MAX = 512 };

#define BF16_CLOSE 2e-3 // sums in another order: roundings of the norm may fall the other way

static nb_error err;

static nb_cuda_matrix bf16_matrix(int n_out, int n_in)
{
    nb_cuda_matrix m = {};
    nb_linear l = {};
    int64_t n_byte = (int64_t)n_out * n_in * 2;
    l.n_out = n_out, l.n_in = n_in, l.format = NB_FORMAT_BF16, l.dummy_seed = ++nb_test_seed;
    nb_repack_shape(&m, &l, 0);
    m.data = (const uint4 *)nb_test_gpu((size_t)nb_repack_data_bytes(&m));
    uint8_t *rows = (uint8_t *)nb_test_gpu((size_t)n_byte);
    nb_test_ok(nb_repack_dummy(0, &l, 0, 0, n_byte, rows, &err), &err);
    nb_repack_source s = {rows, rows, NULL, NULL};
    nb_test_ok(nb_repack_run(0, &m, &s, 0, m.n_row_tile, &err), &err);
    m.scale_low = m.scale_high = 1;
    cudaFree(rows);
    return m;
}

static nb_cuda_route route_of(int n_tok, bool shared)
{
    nb_cuda_route r = {};
    r.n_tok = n_tok, r.n_expert = EXPERTS, r.top_k = TOP_K, r.has_shared = r.tile_shared = shared, r.normalise = 1;
    r.tile_columns = COLUMNS;
    r.logits = (float *)nb_test_gpu((size_t)n_tok * (EXPERTS + 1) * 4);
    r.top_index = (int32_t *)nb_test_gpu(PAIRS_MAX * 4), r.top_weight = (float *)nb_test_gpu(PAIRS_MAX * 4);
    r.shared_weight = (float *)nb_test_gpu(TOKENS_MAX * 4);
    r.counter = (unsigned *)nb_test_gpu(4), r.counters = (unsigned *)nb_test_gpu(TOKENS_MAX * 4);
    cudaMemset(r.counter, 0, 4), cudaMemset(r.counters, 0, TOKENS_MAX * 4);
    r.pair_token = (int32_t *)nb_test_gpu(PAIRS_MAX * 4), r.pair_at = (int32_t *)nb_test_gpu(PAIRS_MAX * 4);
    r.n_tile = (int32_t *)nb_test_gpu(4), r.tile = (nb_cuda_tile *)nb_test_gpu(TILES_MAX * sizeof(nb_cuda_tile));
    return r;
}

static void free_route(const nb_cuda_route *r)
{
    void *all[] = {r->logits,   r->top_index,  r->top_weight, r->shared_weight, r->counter,
                   r->counters, r->pair_token, r->pair_at,    r->n_tile,        r->tile};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) cudaFree(all[i]);
}

static void fetch(void *to, const void *gpu, size_t n_byte)
{
    assert_int_equal(cudaMemcpy(to, gpu, n_byte, cudaMemcpyDeviceToHost), cudaSuccess);
}

// The k-th expert of a token has k larger logits, or as large ones of lower experts.
static void check_choice(const nb_cuda_route *r, const int32_t *index)
{
    static float logits[TOKENS_MAX * (EXPERTS + 1)];
    fetch(logits, r->logits, (size_t)r->n_tok * (EXPERTS + 1) * 4);
    for (int i = 0; i < r->n_tok * TOP_K; i++) {
        const float *z = logits + i / TOP_K * (EXPERTS + 1);
        int rank = 0;
        assert_in_range(index[i], 0, EXPERTS - 1);
        for (int e = 0; e < EXPERTS; e++) rank += z[e] > z[index[i]] || (z[e] == z[index[i]] && e < index[i]);
        assert_int_equal(rank, i % TOP_K);
    }
}

static void check_places(const nb_cuda_route *r, const int32_t *index)
{
    static int32_t at[PAIRS_MAX], token[PAIRS_MAX], pair[PAIRS_MAX];
    static nb_cuda_tile tile[TILES_MAX];
    int n_pair = r->n_tok * TOP_K, n_seen = 0, n_shared = 0;
    int32_t n_tile;
    fetch(at, r->pair_at, sizeof at), fetch(token, r->pair_token, sizeof token), fetch(tile, r->tile, sizeof tile);
    fetch(&n_tile, r->n_tile, 4);
    assert_in_range(n_tile, 1, TILES_MAX);
    memset(pair, 0xff, sizeof pair);
    for (int i = 0; i < n_pair; i++) {
        assert_in_range(at[i], 0, n_pair - 1);
        assert_int_equal(pair[at[i]], -1);
        pair[at[i]] = i;
    }
    for (int t = 0; t < n_tile; t++) {
        assert_in_range(tile[t].count, 1, COLUMNS);
        if (tile[t].expert == EXPERTS) n_shared += tile[t].count;
        for (int i = tile[t].first; tile[t].expert < EXPERTS && i < tile[t].first + tile[t].count; i++, n_seen++) {
            assert_int_equal(index[pair[i]], tile[t].expert);
            assert_int_equal(token[i], pair[i] / TOP_K);
        }
    }
    assert_int_equal(n_seen, n_pair);
    assert_int_equal(n_shared, r->has_shared ? r->n_tok : 0);
}

static void router_of(int n_tok, int d_model, bool shared)
{
    nb_cuda_matrix router = bf16_matrix(EXPERTS, d_model), gate = bf16_matrix(1, d_model);
    int stride = router.n_k_tile * NB_CUDA_K_TILE;
    size_t n_byte = (size_t)n_tok * stride * 2;
    nb_cuda_source s = {};
    s.kind = NB_SOURCE_NORM, s.n_in = d_model, s.eps = 1e-6f;
    s.value = nb_test_floats((int64_t)n_tok * d_model, 3, 0), s.weight = nb_test_floats(d_model, 1, 1);
    nb_cuda_router whole = {s, router, gate, route_of(n_tok, shared), 0, (uint16_t *)nb_test_gpu(n_byte)};
    nb_cuda_dense apart = {};
    nb_cuda_route other = route_of(n_tok, shared);
    apart.n_tok = n_tok, apart.source = s, apart.keep = (uint16_t *)nb_test_gpu(n_byte);
    apart.n_matrix = shared ? 2 : 1, apart.matrix[0] = router, apart.matrix[1] = gate;
    for (int i = 0; i < 2; i++)
        apart.output[i] = (nb_cuda_output){NB_OUT_F32, other.logits, EXPERTS + 1, i ? EXPERTS : 0};
    assert_true(nb_cuda_router_serves(&whole));
    nb_test_ok(nb_cuda_dense_run(&nb_test_at, &apart, &err), &err);
    for (int again = 0; again < 2; again++) { // the counters are back at 0
        static int32_t index[PAIRS_MAX];
        nb_test_ok(nb_cuda_router_run(&nb_test_at, &whole, &err), &err);
        nb_test_rows_close("the experts' input", apart.keep, whole.hidden, n_tok, stride, stride, true, NULL,
                           BF16_CLOSE);
        nb_test_rows_close("logits", other.logits, whole.route.logits, n_tok, EXPERTS + 1, EXPERTS + shared, false,
                           NULL, BF16_CLOSE);
        fetch(index, whole.route.top_index, sizeof index);
        check_choice(&whole.route, index);
        check_places(&whole.route, index);
    }
    free_route(&whole.route), free_route(&other);
    cudaFree((void *)router.data), cudaFree((void *)gate.data), cudaFree((void *)s.value), cudaFree((void *)s.weight);
    cudaFree(whole.hidden), cudaFree(apart.keep);
}

static void one_launch_equals_many(void **state)
{
    (void)state;
    if (!nb_test_has_gpu()) skip();
    static const int n_tok[] = {9, 16, 17, 100, 256};
    for (size_t i = 0; i < sizeof n_tok / sizeof n_tok[0]; i++) {
        router_of(n_tok[i], 2048, true);
        router_of(n_tok[i], 192, i % 2);
    }
}

int main(void)
{
    nb_test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_launch_equals_many)};
    return nb_test_run("cuda_router", tests);
}
