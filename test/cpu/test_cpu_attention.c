// Rotary embedding and the attention block between its projections, against vLLM's operators and a hand-checked
// reference.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_device_internal.h"
#include "support/vllm_ops.h"

// A device that is only what the inner functions need: kernels, team, a model that is a configuration, scratch, cache.
typedef struct bench {
    nb_cpu cpu;
    nb_model model;
    nb_layer layer;
    int32_t page[1];
} bench;

static nb_rope plain_rope(double theta, int n_rot)
{
    return (nb_rope){.rope_theta = theta, .n_rot = n_rot, .attention_factor = 1};
}

static bench *open_bench(nb_cpu_kernels kernels, nb_kv_format kv, int n_head, int n_kv_head, int d_head, bool gated,
                         nb_rope rope)
{
    nb_error err;
    bench *b = nb_alloc(sizeof *b);
    nb_config *c = &b->model.config;
    *c = (nb_config){.hidden_size = 8,
                     .vocab_size = 8,
                     .rms_norm_eps = 1e-6,
                     .num_attention_heads = n_head,
                     .num_key_value_heads = n_kv_head,
                     .head_dim = d_head,
                     .attn_output_gate = gated,
                     .rope = rope,
                     .num_experts = 1,
                     .num_experts_per_tok = 1};
    b->model.n_attention = 1;
    b->layer.attention.k_scale = 0.02f;
    b->layer.attention.v_scale = 0.01f;
    b->cpu.model = &b->model;
    b->cpu.team = nb_threads_open(2);
    b->cpu.limits = (nb_reserve){.kv = kv, .n_slot = 1, .n_page = 2, .max_tok = 16, .max_seq = 1, .max_row = 1};
    b->cpu.inv_freq = nb_alloc(sizeof(float) * (size_t)rope.n_rot);
    b->page[0] = 1;
    nb_cpu_rope_inv_freq(&rope, b->cpu.inv_freq);
    nb_test_ok(nb_cpu_kernels_find(kernels, &b->cpu.kernels, &err), &err);
    nb_test_ok(nb_cpu_scratch_open(&b->cpu, &err), &err);
    nb_test_ok(nb_cpu_cache_open(&b->cpu.cache, &b->model, kv, 2, 1, &err), &err);
    return b;
}

static void close_bench(bench *b)
{
    nb_cpu_cache_close(&b->cpu.cache);
    nb_cpu_scratch_close(&b->cpu);
    nb_threads_close(b->cpu.team);
    free(b->cpu.inv_freq);
    free(b);
}

// Rows [from, from + n) of the case, the first at `position`, through the block's middle, as a step would run them.
static void attend_rows(bench *b, const float *q, const float *gate, const float *k, const float *v, int from, int n,
                        int64_t position)
{
    const nb_config *c = &b->model.config;
    int d = c->head_dim, n_query = c->num_attention_heads, n_kv = c->num_key_value_heads * d;
    nb_cpu_pass *pass = &b->cpu.pass;
    pass->n_row = n;
    pass->n_span = 1;
    pass->span[0] = (nb_cpu_span){
        .n_row = n, .position = position, .index = from, .view = {.page = b->page, .n_paged = NB_PAGE_TOKENS}};
    nb_cpu_pass_begin(&b->cpu, pass);
    int stride = c->attn_output_gate ? 2 * d : d;
    for (int i = 0; i < n * n_query; i++) {
        float *to = b->cpu.scratch.attention.query + i * stride;
        memcpy(to, q + (from * n_query + i) * d, sizeof(float) * (size_t)d);
        if (c->attn_output_gate) memcpy(to + d, gate + (from * n_query + i) * d, sizeof(float) * (size_t)d);
    }
    memcpy(b->cpu.scratch.attention.key, k + from * n_kv, sizeof(float) * (size_t)(n * n_kv));
    memcpy(b->cpu.scratch.attention.value, v + from * n_kv, sizeof(float) * (size_t)(n * n_kv));
    nb_cpu_attention_core(&b->cpu, pass, &b->layer);
}

static void check_dense(const char *op, bool gated, double theta, int n_rot, nb_cpu_kernels kernels, nb_kv_format kv,
                        double tolerance)
{
    int64_t dim[3], kv_dim[3];
    float *q = nb_op_f32(op, "q", dim), *gate = nb_op_f32(op, "gate", NULL), *k = nb_op_f32(op, "k", kv_dim);
    float *v = nb_op_f32(op, "v", NULL), *out = nb_op_f32(op, gated ? "out" : "attn", NULL);
    float *q_norm = nb_op_f32(op, "q_norm_weight", NULL), *k_norm = nb_op_f32(op, "k_norm_weight", NULL);
    bench *b = open_bench(kernels, kv, (int)dim[1], (int)kv_dim[1], (int)dim[2], gated, plain_rope(theta, n_rot));
    for (int i = 0; i < dim[2]; i++) q_norm[i] += 1, k_norm[i] += 1; // stored zero-centred
    b->layer.attention.q_norm = q_norm;
    b->layer.attention.k_norm = k_norm;
    int n_tok = (int)dim[0], width = (int)(dim[1] * dim[2]);
    attend_rows(b, q, gate, k, v, 0, n_tok - 2, 0);
    nb_test_close(op, b->cpu.scratch.attention.out, out, (n_tok - 2) * width, tolerance);
    attend_rows(b, q, gate, k, v, n_tok - 2, 2, n_tok - 2); // the rest as a later step
    nb_test_close(op, b->cpu.scratch.attention.out, out + (n_tok - 2) * width, 2 * width, tolerance);
    close_bench(b);
    float *const owned[] = {q, gate, k, v, out, q_norm, k_norm};
    for (int i = 0; i < 7; i++) free(owned[i]);
}

static void test_gated_attention_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    const nb_cpu_kernels kernels[] = {NB_CPU_SCALAR, NB_CPU_AUTO};
    for (int i = 0; i < 2; i++) {
        check_dense("dense_attention_f32_small", true, 1e4, 4, kernels[i], NB_KV_F32, 1e-5);
        check_dense("dense_attention_f32_realdims", true, 1e7, 64, kernels[i], NB_KV_F32, 1e-5);
    }
}

static void test_plain_attention_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    check_dense("dense_attention_f32_small", false, 1e4, 4, NB_CPU_AUTO, NB_KV_F32, 1e-5);
    check_dense("dense_attention_f32_realdims", false, 1e7, 64, NB_CPU_AUTO, NB_KV_F32, 1e-5);
}

// What a cache of fewer bits costs; fp8 with scales of its own, so that a scale left out would show.
static void test_attention_over_rounded_caches_stays_near(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    check_dense("dense_attention_f32_realdims", true, 1e7, 64, NB_CPU_AUTO, NB_KV_BF16, 0.02);
    check_dense("dense_attention_f32_realdims", true, 1e7, 64, NB_CPU_AUTO, NB_KV_FP8, 0.2);
    check_dense("dense_attention_f32_realdims", true, 1e7, 64, NB_CPU_SCALAR, NB_KV_FP8, 0.2);
}

static float *numbers(const json_t *object, const char *key)
{
    json_t *list = json_object_get(object, key), *item;
    float *x = nb_alloc(sizeof(float) * json_array_size(list));
    size_t i;
    assert_non_null(list);
    json_array_foreach(list, i, item) x[i] = (float)json_number_value(item);
    return x;
}

static void test_gated_attention_equals_the_small_reference(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/ds4/qwen36_attention_golden.json");
    if (!path) skip();
    json_t *g = nb_test_json(path);
    float *q = numbers(g, "query"), *gate = numbers(g, "gate"), *k = numbers(g, "key"), *v = numbers(g, "value");
    float *gated = numbers(g, "gated"), *q_norm = numbers(g, "q_weight"), *k_norm = numbers(g, "k_weight");
    bench *b = open_bench(NB_CPU_SCALAR, NB_KV_F32, 4, 2, 6, true, plain_rope(1e7, 4));
    b->layer.attention.q_norm = q_norm;
    b->layer.attention.k_norm = k_norm;
    for (int i = 0; i < 3; i++) { // positions with gaps: a row a step
        int64_t position = json_integer_value(json_array_get(json_object_get(g, "position"), (size_t)i));
        attend_rows(b, q, gate, k, v, i, 1, position);
        nb_test_close("gated", b->cpu.scratch.attention.out, gated + i * 24, 24, 1e-6);
    }
    close_bench(b);
    float *const owned[] = {q, gate, k, v, gated, q_norm, k_norm};
    for (int i = 0; i < 7; i++) free(owned[i]);
    json_decref(g);
}

// q_in, k_in: [n_tok][heads * d_head]; positions: [n_tok] or [3][n_tok].
static void check_rope(const char *op, const nb_rope *rope, int d_head, double tolerance)
{
    int64_t n_position, n_tok, *position = nb_op_int(op, "positions", &n_position);
    float inv_freq[64], cos[64], sin[64];
    nb_cpu_rope_inv_freq(rope, inv_freq);
    for (int part = 0; part < 2; part++) {
        int64_t dim[2];
        float *x = nb_op_f32(op, part ? "k_in" : "q_in", dim), *want = nb_op_f32(op, part ? "k_out" : "q_out", NULL);
        n_tok = dim[0];
        for (int64_t t = 0; t < n_tok; t++) {
            int64_t axis = n_position == 3 * n_tok ? n_tok : 0;
            const int64_t p[3] = {position[t], position[t + axis], position[t + 2 * axis]};
            nb_cpu_rope_angles(rope, inv_freq, p, cos, sin);
            for (int64_t at = 0; at < dim[1]; at += d_head)
                nb_cpu_rope_rotate(cos, sin, rope->n_rot, x + t * dim[1] + at);
        }
        nb_test_close(op, x, want, n_tok * dim[1], tolerance);
        free(x);
        free(want);
    }
    free(position);
}

static nb_rope yarn_rope(double attn_factor)
{
    return (nb_rope){.rope_theta = 1e4,
                     .n_rot = 8,
                     .yarn = true,
                     .yarn_factor = 4,
                     .yarn_beta_fast = 32,
                     .yarn_beta_slow = 1,
                     .original_max_position_embeddings = 32,
                     .attention_factor = (0.1 * log(4) + 1) * attn_factor};
}

static void test_rope_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    nb_rope plain = plain_rope(1e4, 32);
    check_rope("rope_f32_pos_short", &plain, 64, 1e-5);
    check_rope("rope_f32_pos_131k", &plain, 64, 0.02);
}

static void test_yarn_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    nb_rope yarn = yarn_rope(1), scaled = yarn_rope(1.1);
    check_rope("long_rope_yarn_neox_f32_truncate", &yarn, 16, 1e-5);
    check_rope("long_rope_yarn_neox_bf16", &scaled, 16, 0.02);
}

static void test_mrope_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    nb_rope rope = yarn_rope(1);
    // vLLM's class for MRoPE takes four times the original context for YaRN's correction range. The official
    // implementation does not, nor do we: here it is what the vectors need.
    rope.original_max_position_embeddings *= 4;
    rope.mrope_section[0] = rope.mrope_section[1] = 1;
    rope.mrope_section[2] = 2;
    check_rope("long_rope_yarn_mrope_f32_contiguous", &rope, 16, 1e-5);
    rope.mrope_interleaved = true;
    check_rope("long_rope_yarn_mrope_bf16_interleaved", &rope, 16, 0.02);
    check_rope("long_rope_yarn_mrope_f32_text_1d", &rope, 16, 1e-5);
}

// The frequencies of Qwen3.6's YaRN for a million tokens, of notes on the model: kept up to 14, a quarter from 22 on.
static void test_yarn_of_the_published_override(void **state)
{
    (void)state;
    nb_rope plain = plain_rope(1e7, 64), yarn = yarn_rope(1);
    float kept[32], scaled[32];
    yarn.rope_theta = 1e7;
    yarn.n_rot = 64;
    yarn.original_max_position_embeddings = 262144;
    nb_cpu_rope_inv_freq(&plain, kept);
    nb_cpu_rope_inv_freq(&yarn, scaled);
    for (int i = 0; i < 32; i++) {
        if (i <= 14)
            assert_true(scaled[i] == kept[i]);
        else if (i >= 22)
            assert_true(scaled[i] == kept[i] / 4);
        else
            assert_true(scaled[i] < kept[i] && scaled[i] > kept[i] / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gated_attention_equals_vllm),
        cmocka_unit_test(test_plain_attention_equals_vllm),
        cmocka_unit_test(test_attention_over_rounded_caches_stays_near),
        cmocka_unit_test(test_gated_attention_equals_the_small_reference),
        cmocka_unit_test(test_rope_equals_vllm),
        cmocka_unit_test(test_yarn_equals_vllm),
        cmocka_unit_test(test_mrope_equals_vllm),
        cmocka_unit_test(test_yarn_of_the_published_override),
    };
    return nb_test_run("cpu_attention", tests);
}
