// Gated DeltaNet's parts against vLLM's operators and a hand-checked reference; the chunked form against the
// recurrence.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_deltanet.h"
#include "numeric/bf16.h"
#include "numeric/random.h"
#include "support/vllm_ops.h"

static const nb_cpu_kernel_set *kernel_set(nb_cpu_kernels which)
{
    nb_error err;
    const nb_cpu_kernel_set *set;
    nb_test_ok(nb_cpu_kernels_find(which, &set, &err), &err);
    return set;
}

typedef enum rule_form { STEPS, CHUNKS } rule_form;

// Heads h of tokens [from, from + n) of flat arrays q, k: [T][n_key][d_key], v, out: [T][n_value][d_value].
typedef struct rule_case {
    float *q, *k, *v, *g, *beta, *state, *out;
    int n_key, n_value, d_key, d_value;
} rule_case;

static nb_cpu_delta_head head_at(const rule_case *c, int from, int h)
{
    int key = h / (c->n_value / c->n_key);
    return (nb_cpu_delta_head){.q = c->q + (from * c->n_key + key) * c->d_key,
                               .k = c->k + (from * c->n_key + key) * c->d_key,
                               .v = c->v + (from * c->n_value + h) * c->d_value,
                               .g = c->g + from * c->n_value + h,
                               .beta = c->beta + from * c->n_value + h,
                               .out = c->out + (from * c->n_value + h) * c->d_value,
                               .gate_stride = c->n_value,
                               .out_stride = (int64_t)c->n_value * c->d_value,
                               .d_key = c->d_key,
                               .d_value = c->d_value};
}

// As the block lays them out: q, k, v of a token side by side, one stride from token to token.
static float *pack_rows(const rule_case *c, int from, int n, int h, nb_cpu_delta_head *head)
{
    int64_t stride = 2 * c->d_key + c->d_value;
    float *rows = nb_alloc(sizeof(float) * (size_t)(n * stride));
    *head = head_at(c, from, h);
    for (int t = 0; t < n; t++) {
        memcpy(rows + t * stride, head->q + t * c->n_key * c->d_key, sizeof(float) * (size_t)c->d_key);
        memcpy(rows + t * stride + c->d_key, head->k + t * c->n_key * c->d_key, sizeof(float) * (size_t)c->d_key);
        memcpy(rows + t * stride + 2 * c->d_key, head->v + t * c->n_value * c->d_value,
               sizeof(float) * (size_t)c->d_value);
    }
    head->q = rows;
    head->k = rows + c->d_key;
    head->v = rows + 2 * c->d_key;
    head->qkv_stride = stride;
    return rows;
}

static void run_rule(const nb_cpu_kernel_set *kernels, const rule_case *c, int from, int n, float *state,
                     rule_form form)
{
    float *work = nb_alloc(sizeof(float) * (size_t)nb_cpu_delta_chunk_floats(c->d_key, c->d_value));
    for (int h = 0; h < c->n_value; h++) {
        nb_cpu_delta_head head;
        float *rows = pack_rows(c, from, n, h, &head), *s = state + (int64_t)h * c->d_key * c->d_value;
        for (int t = 0; form == CHUNKS && t < n; t += NB_DELTA_CHUNK)
            nb_cpu_delta_chunk(kernels, &head, t, n - t < NB_DELTA_CHUNK ? n - t : NB_DELTA_CHUNK, work, s);
        if (form == STEPS) nb_cpu_delta_steps(kernels, &head, 0, n, s);
        free(rows);
    }
    free(work);
}

static void free_case(rule_case *c)
{
    float *const owned[] = {c->q, c->k, c->v, c->g, c->beta, c->state, c->out};
    for (int i = 0; i < 7; i++) free(owned[i]);
}

// vLLM's q is not scaled yet, its state is [value][key].
static rule_case open_prefill(const char *op)
{
    int64_t qd[3], vd[3], sd[4];
    rule_case c = {.q = nb_op_f32(op, "q", qd), .v = nb_op_f32(op, "v", vd), .state = nb_op_f32(op, "state_in", sd)};
    c.k = nb_op_f32(op, "k", NULL);
    c.g = nb_op_f32(op, "g", NULL);
    c.beta = nb_op_f32(op, "beta", NULL);
    c.n_key = (int)qd[1], c.d_key = (int)qd[2], c.n_value = (int)vd[1], c.d_value = (int)vd[2];
    c.out = nb_alloc(sizeof(float) * (size_t)(vd[0] * vd[1] * vd[2]));
    for (int64_t i = 0; i < qd[0] * qd[1] * qd[2]; i++) c.q[i] /= sqrtf((float)c.d_key);
    nb_op_transpose(c.state, sd[0] * c.n_value, c.d_value, c.d_key);
    return c;
}

static void check_prefill(const char *op, nb_cpu_kernels which, rule_form form, double tolerance)
{
    rule_case c = open_prefill(op);
    int64_t n_start, *start = nb_op_int(op, "query_start_loc", &n_start), n_seq = n_start - 1;
    int64_t state_n = (int64_t)c.n_value * c.d_key * c.d_value;
    float *want = nb_op_f32(op, "out", NULL), *want_state = nb_op_f32(op, "state_out", NULL);
    nb_op_transpose(want_state, n_seq * c.n_value, c.d_value, c.d_key);
    for (int s = 0; s < n_seq; s++)
        run_rule(kernel_set(which), &c, (int)start[s], (int)(start[s + 1] - start[s]), c.state + s * state_n, form);
    nb_test_close(op, c.out, want, start[n_seq] * c.n_value * c.d_value, tolerance);
    nb_test_close(op, c.state, want_state, n_seq * state_n, tolerance);
    free_case(&c);
    free(want);
    free(want_state);
    free(start);
}

static void test_the_rule_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    const nb_cpu_kernels kernels[] = {NB_CPU_SCALAR, NB_CPU_AUTO};
    for (int i = 0; i < 2; i++) {
        for (rule_form f = STEPS; f <= CHUNKS; f++) {
            check_prefill("gdn_prefill_f32_small", kernels[i], f, 1e-5);
            check_prefill("gdn_prefill_f32_small_noinit", kernels[i], f, 1e-5);
            check_prefill("gdn_prefill_f32_realdims", kernels[i], f, 1e-5);
            check_prefill("gdn_prefill_bf16_realdims", kernels[i], f, 5e-3);
        }
    }
}

// q, k, a, b come as the projections give them: the product's norms, and gates in place of a and b.
static void prepare_decode(const char *op, const nb_cpu_kernel_set *kernels, rule_case *c, int n_seq)
{
    float *A_log = nb_op_f32(op, "A_log", NULL), *dt_bias = nb_op_f32(op, "dt_bias", NULL);
    for (int i = 0; i < n_seq * c->n_key; i++) {
        float *q = c->q + i * c->d_key, *k = c->k + i * c->d_key;
        kernels->l2norm(q, 1e-6f, 1 / sqrtf((float)c->d_key), c->d_key, q);
        kernels->l2norm(k, 1e-6f, 1, c->d_key, k);
    }
    for (int s = 0; s < n_seq; s++)
        nb_cpu_delta_gates(A_log, dt_bias, c->n_value, c->g + s * c->n_value, c->beta + s * c->n_value);
    float *want_g = nb_op_f32(op, "g", NULL);
    nb_test_close(op, c->g, want_g, n_seq * c->n_value, 1e-6);
    free(want_g);
    free(A_log);
    free(dt_bias);
}

static rule_case open_decode(const char *op, int *n_seq)
{
    int64_t qd[3], vd[3], sd[4];
    rule_case c = {.q = nb_op_f32(op, "q", qd), .v = nb_op_f32(op, "v", vd), .state = nb_op_f32(op, "state_in", sd)};
    c.k = nb_op_f32(op, "k", NULL);
    c.g = nb_op_f32(op, "a", NULL);
    c.beta = nb_op_f32(op, "b", NULL);
    c.n_key = (int)qd[1], c.d_key = (int)qd[2], c.n_value = (int)vd[1], c.d_value = (int)vd[2];
    c.out = nb_alloc(sizeof(float) * (size_t)(vd[0] * vd[1] * vd[2]));
    nb_op_transpose(c.state, sd[0] * c.n_value, c.d_value, c.d_key);
    *n_seq = (int)qd[0];
    return c;
}

static void check_decode(const char *op, nb_cpu_kernels which)
{
    int n_seq;
    rule_case c = open_decode(op, &n_seq);
    int64_t state_n = (int64_t)c.n_value * c.d_key * c.d_value;
    float *want = nb_op_f32(op, "out", NULL), *want_state = nb_op_f32(op, "state_out", NULL);
    float *want_beta = nb_op_f32(op, "beta", NULL);
    nb_op_transpose(want_state, n_seq * c.n_value, c.d_value, c.d_key);
    prepare_decode(op, kernel_set(which), &c, n_seq);
    nb_test_close(op, c.beta, want_beta, n_seq * c.n_value, 1e-6);
    for (int s = 0; s < n_seq; s++) run_rule(kernel_set(which), &c, s, 1, c.state + s * state_n, STEPS);
    nb_test_close(op, c.out, want, n_seq * c.n_value * c.d_value, 1e-5);
    nb_test_close(op, c.state, want_state, n_seq * state_n, 1e-5);
    free_case(&c);
    free(want);
    free(want_state);
    free(want_beta);
}

static void test_one_token_with_gates_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    check_decode("gdn_decode_f32_small", NB_CPU_SCALAR);
    check_decode("gdn_decode_f32_small", NB_CPU_AUTO);
    check_decode("gdn_decode_f32_realdims", NB_CPU_SCALAR);
    check_decode("gdn_decode_f32_realdims", NB_CPU_AUTO);
}

// vLLM's packed decode kernel in bf16: beta rounded to bf16, state and output stored in bf16, state slots by index.
static void test_packed_decode_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    const char *op = "gdn-packed-decode-oracle";
    int n_seq;
    rule_case c = open_decode(op, &n_seq);
    int64_t state_n = (int64_t)c.n_value * c.d_key * c.d_value, *slot = nb_op_int(op, "state_indices", NULL);
    float *want = nb_op_f32(op, "out", NULL), *want_state = nb_op_f32(op, "state_out", NULL);
    float *rounded = nb_op_f32(op, "beta_packed_f32", NULL), *exact = nb_op_f32(op, "beta_full_f32", NULL);
    nb_op_transpose(want_state, 3 * c.n_value, c.d_value, c.d_key);
    prepare_decode(op, kernel_set(NB_CPU_AUTO), &c, n_seq);
    nb_test_close("beta", c.beta, exact, n_seq * c.n_value, 1e-6);
    memcpy(c.beta, rounded, sizeof(float) * (size_t)(n_seq * c.n_value));
    for (int s = 0; s < n_seq; s++) run_rule(kernel_set(NB_CPU_AUTO), &c, s, 1, c.state + slot[s] * state_n, STEPS);
    for (int64_t i = 0; i < n_seq * c.n_value * c.d_value; i++) c.out[i] = nb_bf16_to_f32(nb_bf16_from_f32(c.out[i]));
    nb_test_close(op, c.out, want, n_seq * c.n_value * c.d_value, 2.5e-4);
    nb_test_close(op, c.state, want_state, 3 * state_n, 8e-3); // half a step of bf16 at the largest values
    free_case(&c);
    float *const owned[] = {want, want_state, rounded, exact};
    for (int i = 0; i < 4; i++) free(owned[i]);
    free(slot);
}

// x: [T][channel] of one sequence; state: [channel][3] in the files, [3][channel] here.
static void check_conv(const char *op, bool update)
{
    int64_t dim[2], n_start = 0, *start = NULL, *has_state = NULL;
    float *x = nb_op_f32(op, "x", dim), *weight = nb_op_f32(op, "weight", NULL), *out = nb_op_f32(op, "out", NULL);
    float *past = nb_op_f32(op, "conv_state_in", NULL), *want = nb_op_f32(op, "conv_state_out", NULL);
    if (!update) {
        start = nb_op_int(op, "query_start_loc", &n_start);
        has_state = nb_op_int(op, "has_initial_state", NULL);
    }
    int n_seq = update ? (int)dim[0] : (int)n_start - 1, n_channel = (int)dim[1];
    nb_cpu_conv conv = {weight, n_channel, 4};
    float *y = nb_alloc(sizeof(float) * (size_t)(dim[0] * n_channel));
    nb_op_transpose(past, n_seq, n_channel, 3);
    nb_op_transpose(want, n_seq, n_channel, 3);
    for (int s = 0; s < n_seq; s++) {
        int from = update ? s : (int)start[s], n = update ? 1 : (int)(start[s + 1] - start[s]), middle = n_channel / 3;
        float *p = past + s * 3 * n_channel, *in = x + from * n_channel, *to = y + from * n_channel;
        if (has_state && !has_state[s]) memset(p, 0, sizeof(float) * (size_t)(3 * n_channel));
        nb_cpu_conv_run(kernel_set(NB_CPU_AUTO), &conv, p, in, n, 0, middle, to);
        nb_cpu_conv_run(kernel_set(NB_CPU_AUTO), &conv, p, in, n, middle, n_channel, to);
        nb_cpu_conv_shift(&conv, in, n, 0, n_channel, p);
    }
    nb_test_close(op, y, out, dim[0] * n_channel, 1e-5);
    nb_test_close(op, past, want, n_seq * 3 * n_channel, 0);
    float *const owned[] = {x, weight, out, past, want, y};
    for (int i = 0; i < 6; i++) free(owned[i]);
    free(start);
    free(has_state);
}

static void test_the_convolution_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    check_conv("causal_conv1d_fwd_f32_small", false);
    check_conv("causal_conv1d_fwd_f32_realdims", false);
    check_conv("causal_conv1d_update_f32_small", true);
    check_conv("causal_conv1d_update_f32_realdims", true);
}

static float *numbers(const json_t *object, const char *key)
{
    json_t *list = json_object_get(object, key), *item;
    float *x = nb_alloc(sizeof(float) * (json_array_size(list) + 1));
    size_t i;
    assert_non_null(list);
    json_array_foreach(list, i, item) x[i] = (float)json_number_value(item);
    return x;
}

static void check_small_conv(const json_t *g)
{
    float *x = numbers(g, "conv_input"), *w = numbers(g, "conv_weight"), *out = numbers(g, "conv_output");
    float *want = numbers(g, "conv_state"), past[12] = {0}, y[16];
    nb_cpu_conv conv = {w, 4, 4};
    nb_cpu_conv_run(kernel_set(NB_CPU_SCALAR), &conv, past, x, 4, 0, 4, y);
    nb_cpu_conv_shift(&conv, x, 4, 0, 4, past);
    nb_op_transpose(want, 1, 4, 3);
    nb_test_close("conv", y, out, 16, 1e-6);
    nb_test_close("conv state", past, want, 12, 0);
    float *const owned[] = {x, w, out, want};
    for (int i = 0; i < 4; i++) free(owned[i]);
}

// Its value head h uses key head h % 2 (the order of GGUF files): the heads are put in our order, two by two.
static void test_the_parts_equal_the_small_reference(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/ds4/qwen36_gdn_golden.json");
    if (!path) skip();
    enum { T = 4, H = 4, D = 2 };
    static const int theirs[H] = {0, 2, 1, 3};
    const nb_cpu_kernel_set *kernels = kernel_set(NB_CPU_SCALAR);
    json_t *g = nb_test_json(path);
    check_small_conv(g);
    float *v = numbers(g, "value"), *a = numbers(g, "alpha_logit"), *b = numbers(g, "beta_logit");
    float *A = numbers(g, "ssm_a"), *dt_bias = numbers(g, "dt_bias"), *decay = numbers(g, "log_decay");
    float *beta = numbers(g, "beta"), *s0 = numbers(g, "initial_state"), *out = numbers(g, "delta_output");
    float *s1 = numbers(g, "delta_state"), *z = numbers(g, "gate"), *norm = numbers(g, "norm_weight");
    float *gated = numbers(g, "gated_output");
    for (int h = 0; h < H; h++) A[h] = logf(-A[h]);
    for (int t = 0; t < T; t++) nb_cpu_delta_gates(A, dt_bias, H, a + t * H, b + t * H);
    nb_test_close("log decay", a, decay, T * H, 2e-6);
    nb_test_close("beta", b, beta, T * H, 1e-6);
    rule_case c = {
        .q = numbers(g, "query"), .k = numbers(g, "key"), .n_key = 2, .n_value = H, .d_key = D, .d_value = D};
    float vp[T * H * D], gp[T * H], bp[T * H], op[T * H * D], sp[H * D * D];
    for (int i = 0; i < T * 2; i++) {
        kernels->l2norm(c.q + i * D, 1e-6f, 1 / sqrtf(D), D, c.q + i * D);
        kernels->l2norm(c.k + i * D, 1e-6f, 1, D, c.k + i * D);
    }
    for (int i = 0; i < T * H; i++) {
        int from = i / H * H + theirs[i % H];
        memcpy(vp + i * D, v + from * D, sizeof(float) * D);
        gp[i] = a[from];
        bp[i] = b[from];
    }
    nb_op_transpose(s0, H, D, D);
    nb_op_transpose(s1, H, D, D);
    for (int h = 0; h < H; h++) memcpy(sp + h * D * D, s0 + theirs[h] * D * D, sizeof(float) * D * D);
    c.v = vp, c.g = gp, c.beta = bp, c.out = op;
    run_rule(kernels, &c, 0, T, sp, STEPS);
    for (int h = 0; h < H; h++) nb_test_close("delta state", sp + h * D * D, s1 + theirs[h] * D * D, D * D, 1e-6);
    for (int i = 0; i < T * H; i++) {
        int at = (i / H * H + theirs[i % H]) * D;
        nb_test_close("delta output", op + i * D, out + at, D, 1e-6);
        kernels->rmsnorm_gated(op + i * D, norm, z + at, 1e-6f, D, op + i * D);
        nb_test_close("gated output", op + i * D, gated + at, D, 2e-6);
    }
    float *const owned[] = {v, a, b, A, dt_bias, decay, beta, s0, out, s1, z, norm, gated, c.q, c.k};
    for (int i = 0; i < 15; i++) free(owned[i]);
    json_decref(g);
}

static float unit(uint64_t i)
{
    return 2 * nb_random_unit(nb_random_philox(11, i, 0).v[0]) - 1;
}

// Strong decays included: exp(-G) alone would overflow.
static void test_chunks_equal_the_recurrence(void **state)
{
    (void)state;
    enum { T = 2 * NB_DELTA_CHUNK + 5, D = 32 };
    static float q[T * D], k[T * D], v[T * D], g[T], beta[T], out[2][T * D], s[2][D * D];
    const nb_cpu_kernel_set *kernels = kernel_set(NB_CPU_AUTO);
    for (int i = 0; i < T * D; i++)
        q[i] = unit((uint64_t)i), k[i] = unit(10000u + (uint64_t)i), v[i] = unit(20000u + (uint64_t)i);
    for (int t = 0; t < T; t++) {
        kernels->l2norm(q + t * D, 1e-6f, 1 / sqrtf(D), D, q + t * D);
        kernels->l2norm(k + t * D, 1e-6f, 1, D, k + t * D);
        g[t] = t % 7 == 3 ? -40 : 0.3f * (unit(30000u + (uint64_t)t) - 1);
        beta[t] = 0.5f + 0.49f * unit(40000u + (uint64_t)t);
    }
    for (int i = 0; i < D * D; i++) s[0][i] = s[1][i] = unit(50000u + (uint64_t)i);
    for (rule_form f = STEPS; f <= CHUNKS; f++) {
        rule_case c = {.q = q,
                       .k = k,
                       .v = v,
                       .g = g,
                       .beta = beta,
                       .out = out[f],
                       .n_key = 1,
                       .n_value = 1,
                       .d_key = D,
                       .d_value = D};
        run_rule(kernels, &c, 0, T, s[f], f);
    }
    nb_test_close("out", out[CHUNKS], out[STEPS], T * D, 2e-6);
    nb_test_close("state", s[CHUNKS], s[STEPS], D * D, 2e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_rule_equals_vllm),
        cmocka_unit_test(test_one_token_with_gates_equals_vllm),
        cmocka_unit_test(test_packed_decode_equals_vllm),
        cmocka_unit_test(test_the_convolution_equals_vllm),
        cmocka_unit_test(test_the_parts_equal_the_small_reference),
        cmocka_unit_test(test_chunks_equal_the_recurrence),
    };
    return nb_test_run("cpu_deltanet", tests);
}
