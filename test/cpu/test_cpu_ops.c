// Every kernel but the product: the scalar set against definitions in binary64 and against published operator cases,
// vector sets against the scalar one, and that an element's result does not depend on its place in the row.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_kernels.h"
#include "numeric/fp8.h"
#include "numeric/random.h"
#include "support/vllm_ops.h"

enum { N_MAX = 300 };

static const int lengths[] = {1, 7, 8, 15, 16, 17, 31, 33, 64, 128, 255, N_MAX};
enum { N_LENGTH = sizeof lengths / sizeof *lengths };

static float x[N_MAX], y[N_MAX], z[N_MAX]; // inputs: about normal, with some large values

static float uniform(uint64_t stream, uint64_t i) // in (-1, 1)
{
    return 2 * nb_random_unit(nb_random_philox(stream, i, 0).v[0]) - 1;
}

static void fill(float scale)
{
    for (uint64_t i = 0; i < N_MAX; i++) {
        x[i] = scale * uniform(1, i) * (i % 13 == 5 ? 8 : 1);
        y[i] = scale * uniform(2, i);
        z[i] = scale * uniform(3, i) * (i % 11 == 3 ? 20 : 1);
    }
}

// Calls `check` for each set that this machine has.
static void for_each_set(void (*check)(const nb_cpu_kernel_set *set))
{
    for (nb_cpu_kernels which = NB_CPU_SCALAR; which <= NB_CPU_AVX512; which++) {
        const nb_cpu_kernel_set *set;
        if (nb_cpu_kernels_find(which, &set, NULL) == NB_OK) check(set);
    }
}

// |got - exact| <= relative * |exact| + absolute
static void near(const char *what, const nb_cpu_kernel_set *set, int i, double got, double exact, double relative,
                 double absolute)
{
    if (!(fabs(got - exact) <= relative * fabs(exact) + absolute)) {
        fail_msg("%s %s [%d]: %.9g, exact %.9g", set->name, what, i, got, exact);
    }
}

static double sigmoid(double v)
{
    return 1 / (1 + exp(-v));
}

static void check_norms(const nb_cpu_kernel_set *set)
{
    float norm[N_MAX], gated[N_MAX], l2[N_MAX];
    for (int l = 0; l < N_LENGTH; l++) {
        int n = lengths[l];
        double sum = 0;
        for (int i = 0; i < n; i++) sum += (double)x[i] * x[i];
        set->rmsnorm(x, y, 1e-6f, n, norm);
        set->rmsnorm_gated(x, y, z, 1e-6f, n, gated);
        set->l2norm(x, 1e-6f, 0.25f, n, l2);
        for (int i = 0; i < n; i++) {
            double exact = x[i] / sqrt(sum / n + 1e-6) * y[i];
            near("rmsnorm", set, i, norm[i], exact, 2e-6, 0);
            near("rmsnorm_gated", set, i, gated[i], exact * z[i] * sigmoid(z[i]), 3e-6, 1e-30);
            near("l2norm", set, i, l2[i], 0.25 * x[i] / sqrt(sum + 1e-6), 2e-6, 0);
        }
    }
}

static void norms_equal_their_definitions(void **state)
{
    (void)state;
    fill(1);
    for_each_set(check_norms);
    fill(1e-4f); // eps matters
    for_each_set(check_norms);
}

static void check_gates(const nb_cpu_kernel_set *set)
{
    float silu[N_MAX], silu_mul[N_MAX], sigmoid_mul[N_MAX];
    for (int l = 0; l < N_LENGTH; l++) {
        int n = lengths[l];
        set->silu(z, n, silu);
        set->silu_mul(z, y, n, silu_mul);
        set->sigmoid_mul(y, z, n, sigmoid_mul);
        for (int i = 0; i < n; i++) {
            double gate = sigmoid(z[i]); // 4 ulp; below exp(-88) a gate may be anything from 0 to that
            near("silu", set, i, silu[i], z[i] * gate, 5e-7, 1e-35);
            near("silu_mul", set, i, silu_mul[i], z[i] * gate * y[i], 5e-7, 1e-35);
            near("sigmoid_mul", set, i, sigmoid_mul[i], y[i] * gate, 5e-7, 1e-35);
        }
    }
}

static void gates_equal_their_definitions(void **state)
{
    (void)state;
    fill(6);
    for_each_set(check_gates);
}

static void check_extremes(const nb_cpu_kernel_set *set)
{
    static const float in[] = {-INFINITY, -1e30f, -200, -104, -88.5f, -87.4f, 87.4f, 88.5f, 200, 1e30f, NAN};
    float out[sizeof in / sizeof *in], ones[sizeof in / sizeof *in];
    int n = sizeof in / sizeof *in;
    for (int i = 0; i < n; i++) ones[i] = 1;
    set->sigmoid_mul(ones, in, n, out);
    for (int i = 0; i < n - 1; i++) near("sigmoid", set, i, out[i], in[i] < 0 ? 0 : 1, 0, 1e-36);
    assert_true(isnan(out[n - 1]));
    set->silu(in + 1, n - 2, out);
    for (int i = 1; i < n - 1; i++) near("silu", set, i, out[i - 1], in[i] < 0 ? 0 : in[i], 1e-6, 1e-6);
}

static void gates_of_extreme_values_stay_finite_and_nan_stays_nan(void **state)
{
    (void)state;
    for_each_set(check_extremes);
}

static void check_places(const nb_cpu_kernel_set *set)
{
    float row[N_MAX], alone[1];
    set->silu_mul(z, y, N_MAX, row);
    for (int i = 0; i < N_MAX; i++) {
        set->silu_mul(z + i, y + i, 1, alone);
        assert_memory_equal(alone, row + i, sizeof alone);
    }
    memcpy(row, z, sizeof row);
    set->silu(row, N_MAX, row); // in place
    for (int i = 0; i < N_MAX; i++) {
        set->silu(z + i, 1, alone);
        assert_memory_equal(alone, row + i, sizeof alone);
    }
}

static void an_element_does_not_depend_on_its_place(void **state)
{
    (void)state;
    fill(6);
    for_each_set(check_places);
}

static void check_softmax(const nb_cpu_kernel_set *set)
{
    float p[N_MAX + 1];
    for (int l = 0; l < N_LENGTH; l++) {
        int n = lengths[l];
        double sum = 0, max = -INFINITY;
        for (int i = 0; i < n; i++) max = fmax(max, z[i]);
        for (int i = 0; i < n; i++) sum += exp(z[i] - max);
        memcpy(p, z, sizeof(float) * (size_t)n);
        p[n] = 123;
        set->softmax(p, n);
        for (int i = 0; i < n; i++) near("softmax", set, i, p[i], exp(z[i] - max) / sum, 1e-5, 1e-37); // z - max rounds
        assert_true(p[n] == 123);
    }
    float masked[20];
    for (int i = 0; i < 20; i++) masked[i] = i == 11 ? -5000 : -INFINITY;
    set->softmax(masked, 20);
    for (int i = 0; i < 20; i++) assert_true(masked[i] == (i == 11));
}

static void softmax_equals_its_definition(void **state)
{
    (void)state;
    fill(6);
    for_each_set(check_softmax);
}

static float widen(nb_kv_format format, const void *kv, int i)
{
    if (format == NB_KV_BF16) return nb_bf16_to_f32(((const uint16_t *)kv)[i]);
    return format == NB_KV_FP8 ? nb_e4m3_to_f32(((const uint8_t *)kv)[i]) : ((const float *)kv)[i];
}

static void check_stored(const nb_cpu_kernel_set *set, nb_kv_format format, const void *kv, int n)
{
    for (int i = 0; i < n; i++) {
        float expected = format == NB_KV_BF16  ? nb_bf16_to_f32(nb_bf16_from_f32(x[i]))
                         : format == NB_KV_FP8 ? nb_e4m3_to_f32(nb_e4m3_from_f32(x[i]))
                                               : x[i];
        near("store", set, i, widen(format, kv, i), expected, 0, 0);
    }
}

static void check_attention(const nb_cpu_kernel_set *set)
{
    float kv[N_MAX + 1], out[N_MAX + 1];
    for (nb_kv_format format = NB_KV_BF16; format <= NB_KV_F32; format++) {
        for (int l = 0; l < N_LENGTH; l++) {
            int n = lengths[l];
            set->store[format](x, n, kv);
            check_stored(set, format, kv, n);
            double dot = 0, size = 0;
            for (int i = 0; i < n; i++) {
                dot += (double)y[i] * widen(format, kv, i);
                size += fabs((double)y[i] * widen(format, kv, i));
            }
            near("dot", set, n, set->dot[format](y, kv, n), dot, 0, 1e-6 * size);
            memcpy(out, y, sizeof out - sizeof *out);
            out[n] = 123;
            set->axpy[format](0.3f, kv, n, out);
            for (int i = 0; i < n; i++) near("axpy", set, i, out[i], y[i] + 0.3f * widen(format, kv, i), 1e-6, 1e-6);
            assert_true(out[n] == 123);
        }
    }
}

static void attention_loops_take_every_kv_format(void **state)
{
    (void)state;
    fill(2);
    x[3] = 0x1p-9f; // subnormal in FP8
    x[4] = 1000;    // saturates there
    for_each_set(check_attention);
}

static void check_rounding(const nb_cpu_kernel_set *set)
{
    uint16_t bf16[N_MAX + 1], e4m3[N_MAX + 1];
    for (int l = 0; l < N_LENGTH; l++) {
        int n = lengths[l];
        bf16[n] = e4m3[n] = 77;
        set->round_bf16(z, n, bf16);
        set->quantize_e4m3(z, n, 0.037f, e4m3);
        for (int i = 0; i < n; i++) {
            assert_int_equal(bf16[i], nb_bf16_from_f32(z[i]));
            float value = nb_e4m3_to_f32(nb_e4m3_from_f32(z[i] / 0.037f));
            assert_true(nb_bf16_to_f32(e4m3[i]) == value);
        }
        assert_true(bf16[n] == 77 && e4m3[n] == 77);
    }
}

static void inputs_are_rounded_as_the_formats_say(void **state)
{
    (void)state;
    for (float scale = 1e-4f; scale < 20; scale *= 10) {
        fill(scale);
        for_each_set(check_rounding);
    }
}

enum { D_KEY = 24, D_VALUE_MAX = 136 };

static float delta_state[D_KEY * D_VALUE_MAX];

static void check_delta(const nb_cpu_kernel_set *set)
{
    static const int d_values[] = {8, 16, 24, 64, 72, 128, D_VALUE_MAX};
    static float s[D_KEY * D_VALUE_MAX], out[D_VALUE_MAX];
    for (size_t l = 0; l < sizeof d_values / sizeof *d_values; l++) {
        int d_value = d_values[l];
        memcpy(s, delta_state, sizeof s);
        set->delta_step(s, x, y, z, 0.9f, 0.7f, D_KEY, d_value, out);
        for (int j = 0; j < d_value; j++) {
            double recalled = 0, o = 0;
            for (int i = 0; i < D_KEY; i++) recalled += 0.9f * (double)delta_state[i * d_value + j] * y[i];
            double u = 0.7f * (z[j] - recalled);
            for (int i = 0; i < D_KEY; i++) {
                double element = 0.9f * (double)delta_state[i * d_value + j] + y[i] * u;
                o += element * x[i];
                near("state", set, i, s[i * d_value + j], element, 1e-5, 1e-5);
            }
            near("delta out", set, j, out[j], o, 1e-5, 5e-5);
        }
    }
}

static void the_delta_rule_equals_its_definition(void **state)
{
    (void)state;
    fill(1);
    for (uint64_t i = 0; i < D_KEY * D_VALUE_MAX; i++) delta_state[i] = uniform(9, i);
    for_each_set(check_delta);
}

// A published case, row by row; `gate` NULL, "silu" or "sigmoid".
typedef struct norm_case {
    const char *name, *gate;
    double tolerance;
    bool zero_centred, l2;
} norm_case;

static const norm_case norm_cases[] = {
    {"rmsnorm_f32_8x128", NULL, 1e-5, false, false},
    {"rmsnorm_bf16_8x128", NULL, 8e-3, false, false},
    {"rmsnorm_gemma_bf16_8x128", NULL, 8e-3, true, false},
    {"rmsnorm_gated_f32_small_silu", "silu", 1e-5, false, false},
    {"rmsnorm_gated_f32_realdims_silu", "silu", 1e-5, false, false},
    {"rmsnorm_gated_f32_realdims_sigmoid", "sigmoid", 1e-5, false, false},
    {"l2norm_f32_small", NULL, 1e-5, false, true},
    {"l2norm_f32_realdims", NULL, 1e-5, false, true},
};

static void norm_row(const nb_cpu_kernel_set *set, const norm_case *c, const float *in, const float *weight,
                     const float *gate, int64_t n, float *out)
{
    if (c->l2) {
        set->l2norm(in, 1e-6f, 1, n, out);
    } else if (c->gate && !strcmp(c->gate, "silu")) {
        set->rmsnorm_gated(in, weight, gate, 1e-6f, n, out);
    } else {
        set->rmsnorm(in, weight, 1e-6f, n, out);
        if (c->gate) set->sigmoid_mul(out, gate, n, out);
    }
}

static void check_norm_case(const nb_cpu_kernel_set *set, const norm_case *c)
{
    int64_t dim[8];
    float *in = nb_op_f32(c->name, "x", dim), *expected = nb_op_f32(c->name, "out", NULL);
    float *weight = c->l2 ? NULL : nb_op_f32(c->name, "weight", NULL);
    float *gate = c->gate ? nb_op_f32(c->name, "gate", NULL) : NULL;
    int64_t n = dim[1];
    assert_true(n <= N_MAX);
    if (c->zero_centred) {
        for (int64_t i = 0; i < n; i++) weight[i] += 1;
    }
    for (int64_t row = 0; row < dim[0]; row++) {
        float out[N_MAX];
        norm_row(set, c, in + row * n, weight, gate ? gate + row * n : NULL, n, out);
        for (int i = 0; i < n; i++) {
            near(c->name, set, i, out[i], expected[row * n + i], c->tolerance, c->tolerance);
        }
    }
    free(in);
    free(expected);
    free(weight);
    free(gate);
}

static void check_norm_cases(const nb_cpu_kernel_set *set)
{
    for (size_t i = 0; i < sizeof norm_cases / sizeof *norm_cases; i++) check_norm_case(set, &norm_cases[i]);
}

static void norms_equal_the_published_cases(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    for_each_set(check_norm_cases);
}

static void check_residual_and_silu_cases(const nb_cpu_kernel_set *set)
{
    static const char fused[] = "rmsnorm_fused_residual_f32_8x128", silu[] = "silu_and_mul_bf16_8x256";
    int64_t dim[8];
    float *in = nb_op_f32(fused, "x", dim), *residual = nb_op_f32(fused, "residual_in", NULL);
    float *weight = nb_op_f32(fused, "weight", NULL), *expected = nb_op_f32(fused, "out", NULL), out[N_MAX];
    for (int64_t row = 0; row < dim[0]; row++) {
        float *r = residual + row * dim[1];
        set->axpy[NB_KV_F32](1, in + row * dim[1], dim[1], r);
        set->rmsnorm(r, weight, 1e-6f, dim[1], out);
        for (int i = 0; i < dim[1]; i++) near(fused, set, i, out[i], expected[row * dim[1] + i], 1e-5, 1e-5);
    }
    free(in);
    free(residual);
    free(weight);
    free(expected);
    in = nb_op_f32(silu, "x", dim);
    expected = nb_op_f32(silu, "out", NULL);
    int64_t n = dim[1] / 2;
    for (int64_t row = 0; row < dim[0]; row++) {
        set->silu_mul(in + row * 2 * n, in + row * 2 * n + n, n, out);
        for (int i = 0; i < n; i++) near(silu, set, i, out[i], expected[row * n + i], 8e-3, 8e-3);
    }
    free(in);
    free(expected);
}

static void residual_norm_and_silu_equal_the_published_cases(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    for_each_set(check_residual_and_silu_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_equal_their_definitions),
        cmocka_unit_test(gates_equal_their_definitions),
        cmocka_unit_test(gates_of_extreme_values_stay_finite_and_nan_stays_nan),
        cmocka_unit_test(an_element_does_not_depend_on_its_place),
        cmocka_unit_test(softmax_equals_its_definition),
        cmocka_unit_test(attention_loops_take_every_kv_format),
        cmocka_unit_test(inputs_are_rounded_as_the_formats_say),
        cmocka_unit_test(the_delta_rule_equals_its_definition),
        cmocka_unit_test(norms_equal_the_published_cases),
        cmocka_unit_test(residual_norm_and_silu_equal_the_published_cases),
    };
    return nb_test_run("cpu_ops", tests);
}
