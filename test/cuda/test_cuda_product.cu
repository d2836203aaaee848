// Products by wgmma against the portable tiles, on the same random weights and inputs: every kind of weight, odd
// numbers of tokens and rows, ragged experts. Outputs are poisoned before each run. Skipped where there is no Hopper
// GPU.
#include "support_matrix.h"

#include "cuda/cuda_product.h"

enum { TOKENS_MAX = 1024, IN_MAX = 2048, OUT_MAX = 2048, EXPERTS = 10, TILES_MAX = 256 };
enum {
    FEW_SMS = 3,  // a block takes many tiles, and of W8A8 the larger ones
    SOME_SMS = 8, // W8A8 in f16 has tiles of half the rows at 65 to 128 tokens; with all SMs half the tokens too
};

#define F32_CLOSE  2e-5 // sums in another order
#define BF16_CLOSE 2e-3 // one of them may round the other way
#define E4M3_CLOSE 2e-3 // products of codes are added with fewer bits

static const int token_counts[] = {1, 2, 63, 64, 65, 127, 1000};
static nb_error err;

static bool has_hopper(void)
{
    return nb_test_has_gpu() && nb_product_usable();
}

static int stride_of(const nb_cuda_matrix *m)
{
    return m->n_k_tile * NB_CUDA_K_TILE;
}

static void prepare_both(const uint16_t *x, int n_tok, const nb_cuda_matrix *m, uint16_t *tiles, uint16_t *product,
                         bool codes)
{
    nb_cuda_source s = {};
    s.kind = NB_SOURCE_BF16, s.bf16 = x, s.stride = s.n_in = m->n_in;
    bool f16 = m->kind == NB_KIND_FP8_A8;
    nb_test_ok(nb_cuda_prepare_run(&nb_test_at, &s, n_tok, m->input_scale, f16 ? tiles : NULL, f16 ? NULL : tiles,
                                   stride_of(m), &err),
               &err);
    nb_test_ok(nb_product_prepare(&nb_test_at, &s, n_tok, m->input_scale, f16 ? product : NULL, codes,
                                  f16 ? NULL : product, stride_of(m), &err),
               &err);
}

// codes: of W8A8. n_sm: the blocks' shape depends on it.
static void dense_of(int kind, bool codes, int n_sm, int n_tok, int n_in, int out_kind)
{
    static const int rows[] = {320, 34, 2, 600};
    nb_tiles_args t = {};
    nb_cuda_launch at = nb_test_at;
    at.n_sm = n_sm;
    uint16_t *x = nb_test_bf16((int64_t)n_tok * n_in, 3);
    int n_out = 0;
    for (int i = 0; i < 4; i++) t.matrix[t.n_matrix++] = nb_test_matrix(kind, rows[i], n_in, 0, 1), n_out += rows[i];
    size_t n_byte = (size_t)n_tok * stride_of(&t.matrix[0]) * 2, out_bytes = (size_t)n_tok * n_out * 4;
    uint16_t *input[2] = {(uint16_t *)nb_test_gpu(n_byte), (uint16_t *)nb_test_gpu(n_byte)};
    prepare_both(x, n_tok, &t.matrix[0], input[0], input[1], codes);
    void *out[2];
    for (int i = 0; i < 2; i++) {
        out[i] = nb_test_gpu(out_bytes);
        if (out_kind == NB_OUT_ADD) cudaMemset(out[i], 0x3c, out_bytes);
        for (int j = 0, first = 0; j < 4; first += rows[j++])
            t.output[j] = (nb_cuda_output){out_kind, out[i], n_out, first};
        t.input = input[i], t.input_stride = stride_of(&t.matrix[0]), t.n_row = n_tok;
        t.e4m3 = i && codes;
        nb_test_ok(i ? nb_product_dense(&at, &t, &err) : nb_tiles_dense(&nb_test_at, &t, &err), &err);
    }
    char what[64];
    snprintf(what, sizeof what, "kind %d%s, %d tokens, %d inputs, output %d, %d SMs", kind, codes ? " as codes" : "",
             n_tok, n_in, out_kind, n_sm);
    nb_test_rows_close(what, out[0], out[1], n_tok, n_out, n_out, out_kind == NB_OUT_BF16, NULL,
                       codes                     ? E4M3_CLOSE
                       : out_kind == NB_OUT_BF16 ? BF16_CLOSE
                                                 : F32_CLOSE);
    for (int i = 0; i < 4; i++) nb_test_free_matrix(&t.matrix[i]);
    for (int i = 0; i < 2; i++) cudaFree(out[i]), cudaFree(input[i]);
    cudaFree(x);
}

static void dense_products_equal_the_tiles(void **state)
{
    (void)state;
    if (!has_hopper()) skip();
    for (int kind = NB_KIND_BF16; kind <= NB_KIND_NVFP4; kind++)
        for (int codes = 0; codes <= (kind == NB_KIND_FP8_A8); codes++)
            for (size_t i = 0; i < sizeof token_counts / sizeof token_counts[0]; i++) {
                dense_of(kind, codes, nb_test_at.n_sm, token_counts[i], 2048, NB_OUT_F32);
                dense_of(kind, codes, FEW_SMS, token_counts[i], 2048, NB_OUT_ADD);
                dense_of(kind, codes, FEW_SMS, token_counts[i], 192, NB_OUT_BF16);
                dense_of(kind, codes, SOME_SMS, token_counts[i], 192, NB_OUT_ADD);
            }
}

// Small BF16 matrices in the launch of a larger product; placed: their inputs are in its order.
static void beside_of(int kind, bool placed, int n_sm, int n_tok)
{
    enum { MATRICES = 4, SIDE = 2, INPUTS = 2048 };
    static const int rows[MATRICES] = {320, 600, 34, 2};
    nb_tiles_args t = {};
    nb_cuda_launch at = nb_test_at;
    at.n_sm = n_sm;
    uint16_t *x = nb_test_bf16((int64_t)n_tok * INPUTS, 3), *input[2], *side[2];
    int n_out = 0;
    for (int i = 0; i < MATRICES; i++, t.n_matrix++)
        t.matrix[i] = nb_test_matrix(i < MATRICES - SIDE ? kind : NB_KIND_BF16, rows[i], INPUTS, 0, 1),
        n_out += rows[i];
    for (int i = 0; i < 2; i++) {
        input[i] = (uint16_t *)nb_test_gpu((size_t)n_tok * INPUTS * 2);
        side[i] = (uint16_t *)nb_test_gpu((size_t)n_tok * INPUTS * 2);
    }
    prepare_both(x, n_tok, &t.matrix[0], input[0], input[1], false);
    prepare_both(x, n_tok, &t.matrix[MATRICES - 1], side[0], side[1], false);
    void *out[2];
    t.n_side = SIDE, t.input_stride = INPUTS, t.n_row = n_tok;
    for (int i = 0; i < 2; i++) {
        out[i] = nb_test_gpu((size_t)n_tok * n_out * 4);
        for (int j = 0, first = 0; j < MATRICES; first += rows[j++])
            t.output[j] = (nb_cuda_output){NB_OUT_F32, out[i], n_out, first};
        t.input = input[i], t.side_input = side[i && placed], t.side_placed = i && placed;
        nb_test_ok(i ? nb_product_dense(&at, &t, &err) : nb_tiles_dense(&nb_test_at, &t, &err), &err);
    }
    char what[64];
    snprintf(what, sizeof what, "kind %d, BF16 beside it, %d tokens, %d SMs", kind, n_tok, n_sm);
    nb_test_rows_close(what, out[0], out[1], n_tok, n_out, n_out, false, NULL, F32_CLOSE);
    for (int i = 0; i < MATRICES; i++) nb_test_free_matrix(&t.matrix[i]);
    for (int i = 0; i < 2; i++) cudaFree(out[i]), cudaFree(input[i]), cudaFree(side[i]);
    cudaFree(x);
}

static void small_matrices_go_beside_a_product(void **state)
{
    (void)state;
    if (!has_hopper()) skip();
    static const int counts[] = {65, 128, 200, 256};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int few = 0; few < 2; few++) {
            int n_sm = few ? (int)FEW_SMS : nb_test_at.n_sm;
            beside_of(NB_KIND_FP8_A8, false, n_sm, counts[i]);
            beside_of(NB_KIND_FP8_A16, true, n_sm, counts[i]);
            beside_of(NB_KIND_NVFP4, true, n_sm, counts[i]);
        }
}

typedef struct groups { // pairs of ragged experts, and the shared expert's tokens
    int32_t *pair_token, *n_tile;
    nb_cuda_tile *tile;
    int n_pair;
} groups;

// Tiles of at most `columns` pairs. even: in equal shares.
static int fill_tiles(nb_cuda_tile *tile, int n, int expert, int first, int count, int columns, bool even)
{
    int parts = nb_ceil_div(count, columns),
        each = even && parts ? nb_ceil_div(nb_ceil_div(count, parts), 8) * 8 : columns;
    for (int i = 0; i < count; i += each)
        tile[n++] = (nb_cuda_tile){expert, first + i, count - i < each ? count - i : each};
    return n;
}

static groups make_groups(int n_tok, int columns, bool even, int32_t *tokens)
{
    static const int counts[EXPERTS] = {63, 0, 1, 300, 2, 128, 65, 127, 129, 7};
    nb_cuda_tile tile[TILES_MAX];
    groups g = {};
    int n_tile = 0;
    for (int e = 0; e < EXPERTS; e++) {
        n_tile = fill_tiles(tile, n_tile, e, g.n_pair, counts[e], columns, even);
        g.n_pair += counts[e];
    }
    n_tile = fill_tiles(tile, n_tile, EXPERTS, 0, n_tok, columns, even);
    for (int i = 0; i < g.n_pair; i++)
        tokens[i] = (int32_t)(nb_random_philox(11, (uint64_t)i, 3).v[0] % (uint32_t)n_tok);
    g.pair_token = (int32_t *)nb_test_to_gpu(tokens, (size_t)g.n_pair * 4);
    g.n_tile = (int32_t *)nb_test_to_gpu(&n_tile, 4),
    g.tile = (nb_cuda_tile *)nb_test_to_gpu(tile, (size_t)n_tile * sizeof tile[0]);
    return g;
}

// Gate and up of all experts, then down of the results, by both.
static void experts_of(int kind, int n_tok, int d_model, int d_ff)
{
    int32_t tokens[TOKENS_MAX];
    nb_cuda_matrix gate_up = nb_test_matrix(kind, d_ff, d_model, 1, EXPERTS),
                   down = nb_test_matrix(kind, d_model, d_ff, 0, EXPERTS),
                   shared_gate_up = nb_test_matrix(kind, d_ff, d_model, 1, 1),
                   shared_down = nb_test_matrix(kind, d_model, d_ff, 0, 1);
    float multiplier[EXPERTS];
    for (int e = 0; e < EXPERTS; e++) multiplier[e] = 0.01f * (float)(e + 1);
    float *multipliers = (float *)nb_test_to_gpu(multiplier, sizeof multiplier);
    uint16_t *x = nb_test_bf16((int64_t)n_tok * d_model, 3), *input[2], *inter[2];
    void *out[2];
    int n_row = 0;
    for (int i = 0; i < 2; i++) input[i] = (uint16_t *)nb_test_gpu((size_t)n_tok * stride_of(&gate_up) * 2);
    prepare_both(x, n_tok, &gate_up, input[0], input[1], false);
    for (int i = 0; i < 2; i++) {
        groups g = make_groups(n_tok, i ? (int)NB_PRODUCT_COLUMNS : 64, i, tokens);
        n_row = g.n_pair + n_tok;
        inter[i] = (uint16_t *)nb_test_gpu((size_t)n_row * stride_of(&down) * 2),
        out[i] = nb_test_gpu((size_t)n_row * d_model * 2);
        if (d_ff < stride_of(&down)) cudaMemset(inter[i], 0, (size_t)n_row * stride_of(&down) * 2);
        nb_tiles_args t = {};
        t.n_matrix = 1, t.n_tile = g.n_tile, t.tile = g.tile, t.n_expert = EXPERTS, t.n_pair = g.n_pair;
        t.n_row = n_tok;
        t.matrix[0] = gate_up, t.shared = shared_gate_up, t.multiplier_low = t.multiplier_high = multipliers;
        t.data_stride = nb_repack_data_bytes(&gate_up) / 16, t.scale_stride = nb_repack_scale_bytes(&gate_up) / 4;
        t.input = input[i], t.input_stride = stride_of(&gate_up), t.pair_token = g.pair_token;
        t.output[0] = (nb_cuda_output){NB_OUT_BF16, inter[i], stride_of(&down), 0};
        t.inter_f16 = kind == NB_KIND_FP8_A8, t.inter_inverse = 1 / 0.02f;
        nb_test_ok(i ? nb_product_grouped(&nb_test_at, &t, TILES_MAX, &err)
                     : nb_tiles_grouped(&nb_test_at, &t, 64, TILES_MAX, &err),
                   &err);
        t.matrix[0] = down, t.shared = shared_down, t.input = inter[i], t.input_stride = stride_of(&down);
        t.data_stride = nb_repack_data_bytes(&down) / 16, t.scale_stride = nb_repack_scale_bytes(&down) / 4;
        t.pair_token = NULL, t.output[0] = (nb_cuda_output){NB_OUT_BF16, out[i], d_model, 0};
        nb_test_ok(i ? nb_product_grouped(&nb_test_at, &t, TILES_MAX, &err)
                     : nb_tiles_grouped(&nb_test_at, &t, 64, TILES_MAX, &err),
                   &err);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        cudaFree(g.pair_token), cudaFree(g.n_tile), cudaFree(g.tile);
    }
    if (kind != NB_KIND_FP8_A8)
        nb_test_rows_close("gate and up", inter[0], inter[1], n_row, stride_of(&down), d_ff, true, nb_product_place,
                           BF16_CLOSE);
    nb_test_rows_close("down", out[0], out[1], n_row, d_model, d_model, true, NULL, BF16_CLOSE);
    for (int i = 0; i < 2; i++) cudaFree(input[i]), cudaFree(inter[i]), cudaFree(out[i]);
    nb_test_free_matrix(&gate_up), nb_test_free_matrix(&down), nb_test_free_matrix(&shared_gate_up),
        nb_test_free_matrix(&shared_down);
    cudaFree(x), cudaFree(multipliers);
}

static void expert_products_equal_the_tiles(void **state)
{
    (void)state;
    if (!has_hopper()) skip();
    experts_of(NB_KIND_NVFP4, 1000, 2048, 512);
    experts_of(NB_KIND_NVFP4, 65, 256, 96);
    experts_of(NB_KIND_FP8_A16, 127, 256, 128);
    experts_of(NB_KIND_BF16, 64, 256, 128);
}

int main(void)
{
    nb_test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(dense_products_equal_the_tiles),
                                       cmocka_unit_test(small_matrices_go_beside_a_product),
                                       cmocka_unit_test(expert_products_equal_the_tiles)};
    return nb_test_run("cuda_product", tests);
}
