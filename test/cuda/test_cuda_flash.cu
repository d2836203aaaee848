// Attention by wgmma against the portable kernel, over the same random cache and queries: both formats of the cache,
// all sizes of heads, odd numbers of new and earlier tokens. Outputs are poisoned before each run. Skipped where there
// is no Hopper GPU.
#include "support_cuda.h"

#include "cuda/cuda_flash.h"

enum { N_SEQ = 9, TILES_MAX = 2048, PAGES_MAX = 512, KV_HEADS = 2 };

typedef struct lengths {
    int n_past, n_new;
} lengths;

static const lengths mixture[N_SEQ] = {{0, 16},   {0, 63},    {1, 64},    {100, 65}, {64, 127},
                                       {0, 1000}, {3000, 17}, {511, 300}, {63, 128}};

static nb_error err;

static int fill_tiles(nb_attention_tile *tile, int group, int rows)
{
    int n = 0;
    for (int i = 0; i < N_SEQ; i++)
        for (int c = 0; c < mixture[i].n_new * group; c += rows) tile[n++] = {i, c};
    return n;
}

// Cache of n_byte: finite values of either format.
static uint8_t *random_cache(int64_t n_byte, bool fp8)
{
    uint8_t *x = (uint8_t *)malloc((size_t)n_byte);
    for (int64_t i = 0; i < n_byte / 2; i++) {
        nb_random4 r = nb_random_philox(nb_test_seed, (uint64_t)i, 9);
        float a = nb_synth_uniform(r.v[0] & 0xffff), b = nb_synth_uniform(r.v[1] & 0xffff);
        uint16_t pair = (uint16_t)(nb_e4m3_from_f32(a) | nb_e4m3_from_f32(b) << 8);
        ((uint16_t *)x)[i] = fp8 ? pair : nb_bf16_from_f32(a);
    }
    nb_test_seed++;
    uint8_t *gpu = (uint8_t *)nb_test_to_gpu(x, (size_t)n_byte);
    free(x);
    return gpu;
}

static void open_attention(nb_cuda_attention *p, int d_head, bool fp8, int group, bool gated)
{
    static nb_attention_tile tile[TILES_MAX];
    static int32_t tok_seq[4096], page[PAGES_MAX];
    nb_attention_seq seq[N_SEQ];
    int n_page = 0;
    p->n_seq = N_SEQ, p->n_head = KV_HEADS * group, p->n_kv_head = KV_HEADS, p->d_head = d_head;
    p->fp8 = fp8, p->gated = gated;
    for (int i = 0; i < N_SEQ; i++) {
        seq[i] = (nb_attention_seq){mixture[i].n_past, mixture[i].n_new, p->n_tok, n_page};
        for (int j = 0; j < mixture[i].n_new; j++) tok_seq[p->n_tok++] = i;
        for (int j = 0; j < nb_ceil_div(mixture[i].n_past + mixture[i].n_new, NB_PAGE_TOKENS); j++, n_page++)
            page[n_page] = n_page ^ 1; // not in order
    }
    p->seq = (nb_attention_seq *)nb_test_to_gpu(seq, sizeof seq),
    p->page = (int32_t *)nb_test_to_gpu(page, sizeof page);
    p->tok_seq = (int32_t *)nb_test_to_gpu(tok_seq, sizeof tok_seq);
    p->n_tile = fill_tiles(tile, group, NB_ATTENTION_COLUMNS);
    p->tile = (nb_attention_tile *)nb_test_to_gpu(tile, sizeof tile);
    p->n_flash = fill_tiles(tile, group, NB_FLASH_ROWS);
    p->flash = (nb_attention_tile *)nb_test_to_gpu(tile, sizeof tile);
    p->projected_stride = (p->n_head * (1 + gated) + 2 * KV_HEADS) * d_head;
    p->projected = nb_test_floats((int64_t)p->n_tok * p->projected_stride, 1, 0);
    p->q_norm = nb_test_floats(d_head, 0.5f, 2), p->k_norm = nb_test_floats(d_head, 0.5f, 1);
    p->n_rot = d_head / 4, p->inv_freq = nb_test_floats(p->n_rot / 2, 0.4f, 0.5f);
    p->eps = 1e-6f, p->rope_factor = 1, p->k_scale = 0.7f, p->v_scale = 1.3f, p->n_split = 1;
    if (!fp8) p->k_scale = p->v_scale = 1;
    p->page_bytes = (int64_t)2 * KV_HEADS * NB_PAGE_TOKENS * d_head * (fp8 ? 1 : 2);
    p->cache = random_cache(p->page_bytes * (n_page + 1), fp8);
    p->q = (uint16_t *)nb_test_gpu((size_t)p->n_tok * p->n_head * d_head * 2);
}

static void flash_equals_tiles(int d_head, bool fp8, int group, bool gated)
{
    nb_cuda_attention p = {};
    open_attention(&p, d_head, fp8, group, gated);
    int n_out = p.n_head * d_head;
    uint16_t *out[2];
    for (int way = 0; way < 2; way++) {
        nb_cuda_attention mine = p;
        *(way ? &mine.n_tile : &mine.n_flash) = 0;
        mine.out = out[way] = (uint16_t *)nb_test_gpu((size_t)p.n_tok * n_out * 2);
        nb_test_ok(nb_cuda_attention_run(&nb_test_at, &mine, NULL, &err), &err);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    }
    for (int i = 0, tok = 0; i < N_SEQ; tok += mixture[i++].n_new) {
        char what[96];
        snprintf(what, sizeof what, "head %d %s group %d, %d tokens after %d", d_head, fp8 ? "fp8" : "bf16", group,
                 mixture[i].n_new, mixture[i].n_past);
        nb_test_rows_close(what, out[0] + (int64_t)tok * n_out, out[1] + (int64_t)tok * n_out, mixture[i].n_new, n_out,
                           n_out, true, NULL, 4e-3);
    }
}

static void attention_equals_the_portable_kernel(void **state)
{
    (void)state;
    if (!nb_test_has_gpu() || !nb_flash_usable(256)) skip();
    flash_equals_tiles(256, true, 8, true), flash_equals_tiles(256, false, 8, true);
    flash_equals_tiles(128, true, 4, false), flash_equals_tiles(128, false, 8, false);
    flash_equals_tiles(64, true, 2, true), flash_equals_tiles(64, false, 3, false);
}

int main(void)
{
    nb_test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(attention_equals_the_portable_kernel)};
    return nb_test_run("cuda_flash", tests);
}
