// The matrix product: the scalar kernel against the definition in binary64, vector kernels against the scalar one, and
// the promise that an output depends on its own inputs alone.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_kernels.h"
#include "numeric/bf16.h"
#include "numeric/nvfp4.h"
#include "numeric/random.h"

enum { N_OUT = 13, ROWS_MAX = 70 };

static const nb_cpu_kernels vector_sets[] = {NB_CPU_AVX2, NB_CPU_AVX512};

typedef struct weight { // a linear with its memory
    nb_linear linear;
    uint8_t *data, *scale;
    float *block_scale;
} weight;

static float uniform(uint64_t stream, uint64_t i) // in (-1, 1)
{
    return 2 * nb_random_unit(nb_random_philox(stream, i, 0).v[0]) - 1;
}

static uint8_t finite_code(uint64_t i)
{
    uint8_t code = (uint8_t)nb_random_philox(11, i, 0).v[0];
    return (code & 0x7f) == 0x7f ? 0x38 : code;
}

static weight make_weight(nb_format format, int n_in)
{
    weight w = {
        .linear = {.format = format, .n_out = N_OUT, .n_in = n_in, .scale_2 = 0.37f, .block_out = 4, .block_in = 48}};
    size_t n = (size_t)N_OUT * (size_t)n_in;
    w.data = nb_alloc(n * 4);
    w.scale = nb_alloc(n);
    w.block_scale = nb_alloc(sizeof(float) * n);
    for (size_t i = 0; i < n; i++) {
        float x = uniform(1, i);
        if (format == NB_FORMAT_F32)
            memcpy(w.data + 4 * i, &x, 4);
        else if (format == NB_FORMAT_BF16)
            ((uint16_t *)w.data)[i] = nb_bf16_from_f32(x);
        else if (format == NB_FORMAT_F16)
            ((uint16_t *)w.data)[i] = (uint16_t)(0x3000 + nb_random_philox(2, i, 0).v[0] % 0x0c00);
        else
            w.data[i] = format == NB_FORMAT_FP8 ? finite_code(i) : (uint8_t)nb_random_philox(3, i, 0).v[0];
        w.scale[i] = (uint8_t)(0x20 + nb_random_philox(4, i, 0).v[0] % 0x40);
        w.block_scale[i] = 0.01f + fabsf(uniform(5, i));
    }
    w.linear.data = w.data;
    w.linear.scale = w.scale;
    w.linear.block_scale = w.block_scale;
    return w;
}

static void drop_weight(weight *w)
{
    free(w->data);
    free(w->scale);
    free(w->block_scale);
}

static void run(nb_cpu_kernels which, const weight *w, const void *x, bool x_bf16, int n_row, float *y)
{
    const nb_cpu_kernel_set *set;
    nb_error err;
    nb_test_ok(nb_cpu_kernels_find(which, &set, &err), &err);
    nb_cpu_matmul m = {&w->linear, x, x_bf16, 1.5f, w->linear.n_in, n_row, y, N_OUT, false};
    set->matmul(&m, 0, N_OUT);
}

static bool has(nb_cpu_kernels which)
{
    const nb_cpu_kernel_set *set;
    nb_error err;
    return nb_cpu_kernels_find(which, &set, &err) == NB_OK;
}

// Sum over |w x| in binary64: what rounding errors are measured against.
static double expect(const weight *w, const float *x, int row, int out, double *magnitude)
{
    float *decoded = nb_alloc(sizeof(float) * (size_t)w->linear.n_in);
    nb_linear_decode_row(&w->linear, out, decoded);
    double sum = 0;
    *magnitude = 0;
    for (int i = 0; i < w->linear.n_in; i++) {
        double product = (double)decoded[i] * x[row * w->linear.n_in + i] * 1.5;
        sum += product;
        *magnitude += fabs(product);
    }
    free(decoded);
    return sum;
}

static void check_set(nb_cpu_kernels which, nb_format format, int n_in, int n_row)
{
    weight w = make_weight(format, n_in);
    int n = n_in * n_row;
    float *x = nb_alloc(sizeof(float) * (size_t)n), y[ROWS_MAX * N_OUT], y_bf16[ROWS_MAX * N_OUT];
    uint16_t *words = nb_alloc(2 * (size_t)n);
    for (int i = 0; i < n; i++) {
        words[i] = nb_bf16_from_f32(uniform(7, (uint64_t)i));
        x[i] = nb_bf16_to_f32(words[i]); // so that both kinds of input hold the same numbers
    }
    run(which, &w, x, false, n_row, y);
    run(which, &w, words, true, n_row, y_bf16);
    for (int row = 0; row < n_row; row++)
        for (int out = 0; out < N_OUT; out++) {
            double magnitude, sum = expect(&w, x, row, out, &magnitude), tolerance = 1e-6 * magnitude + 1e-30;
            if (fabs(y[row * N_OUT + out] - sum) > tolerance || fabs(y_bf16[row * N_OUT + out] - sum) > tolerance)
                fail_msg("kernels %d, %s, n_in %d, n_row %d: output [%d][%d] is %g and %g, expected %g", which,
                         nb_format_name(format), n_in, n_row, row, out, y[row * N_OUT + out], y_bf16[row * N_OUT + out],
                         sum);
        }
    free(x);
    free(words);
    drop_weight(&w);
}

static void check_shapes(nb_cpu_kernels which)
{
    static const int n_in[] = {16, 1, 7, 17, 63, 64, 65, 192, 528, 1000}, n_row[] = {1, 2, 3, 5, 9, 33};
    for (int format = 0; format < NB_FORMAT_COUNT; format++)
        for (size_t i = 0; i < sizeof n_in / sizeof *n_in; i++)
            for (size_t r = 0; r < sizeof n_row / sizeof *n_row; r++)
                if (format != NB_FORMAT_NVFP4 || n_in[i] % NB_NVFP4_BLOCK == 0)
                    check_set(which, (nb_format)format, n_in[i], n_row[r]);
}

static void scalar_kernels_equal_the_definition(void **state)
{
    (void)state;
    check_shapes(NB_CPU_SCALAR);
}

static void vector_kernels_equal_the_definition(void **state)
{
    (void)state;
    int n = 0;
    for (int i = 0; i < 2; i++)
        if (has(vector_sets[i])) check_shapes(vector_sets[i]), n++;
    if (n == 0) skip();
}

// Row r alone, in batches of other sizes, and by other ranges of outputs: the same bits.
static void check_neighbours(const nb_cpu_kernel_set *set, nb_format format, bool x_bf16)
{
    enum { N_IN = 1040 };
    static const int n_row[] = {1, 2, 3, 4, 5, 8, 9, 33};
    weight w = make_weight(format, N_IN);
    float *x = nb_alloc(sizeof(float) * ROWS_MAX * N_IN), all[ROWS_MAX * N_OUT], some[ROWS_MAX * N_OUT];
    for (int i = 0; i < ROWS_MAX * N_IN; i++) {
        if (x_bf16)
            ((uint16_t *)x)[i] = nb_bf16_from_f32(uniform(9, (uint64_t)i));
        else
            x[i] = uniform(9, (uint64_t)i);
    }
    nb_cpu_matmul m = {&w.linear, x, x_bf16, 1.5f, N_IN, ROWS_MAX, all, N_OUT, false};
    set->matmul(&m, 0, N_OUT);
    m.y = some;
    for (size_t n = 0; n < sizeof n_row / sizeof *n_row; n++) {
        m.n_row = n_row[n];
        for (int row = 0; row + m.n_row <= ROWS_MAX; row += m.n_row) {
            m.x = (const char *)x + row * N_IN * (x_bf16 ? 2 : 4);
            set->matmul(&m, 0, 3);
            set->matmul(&m, 3, 4);
            set->matmul(&m, 4, N_OUT);
            assert_memory_equal(some, all + row * N_OUT, sizeof *some * (size_t)m.n_row * N_OUT);
        }
    }
    free(x);
    drop_weight(&w);
}

static void an_output_does_not_depend_on_its_neighbours(void **state)
{
    (void)state;
    for (nb_cpu_kernels which = NB_CPU_SCALAR; which <= NB_CPU_AVX512; which++) {
        const nb_cpu_kernel_set *set;
        if (nb_cpu_kernels_find(which, &set, NULL) != NB_OK) continue;
        for (int format = 0; format < NB_FORMAT_COUNT; format++) {
            check_neighbours(set, (nb_format)format, false);
            check_neighbours(set, (nb_format)format, true);
        }
    }
}

static void outputs_are_added_where_asked_and_others_are_kept(void **state)
{
    (void)state;
    enum { N_IN = 65, STRIDE = 20 };
    weight w = make_weight(NB_FORMAT_BF16, N_IN);
    float x[2 * N_IN], plain[2 * STRIDE], y[2 * STRIDE];
    for (int i = 0; i < 2 * N_IN; i++) x[i] = uniform(9, (uint64_t)i);
    for (nb_cpu_kernels which = NB_CPU_SCALAR; which <= NB_CPU_AVX512; which++) {
        const nb_cpu_kernel_set *set;
        if (nb_cpu_kernels_find(which, &set, NULL) != NB_OK) continue;
        nb_cpu_matmul m = {&w.linear, x, false, 1, N_IN, 2, plain, STRIDE, false};
        set->matmul(&m, 0, N_OUT);
        for (int i = 0; i < 2 * STRIDE; i++) y[i] = 100;
        m.y = y;
        m.add = true;
        set->matmul(&m, 2, 9);
        for (int i = 0; i < 2 * STRIDE; i++) {
            float expected = i % STRIDE >= 2 && i % STRIDE < 9 ? 100 + plain[i] : 100;
            assert_true(y[i] == expected);
        }
    }
    drop_weight(&w);
}

// A linear of one output, whose weights are read one by one with an input of one 1.
static void check_codes(const nb_cpu_kernel_set *set, const nb_linear *l, const float *expected)
{
    static float x[4096], y[2];
    static uint16_t x_bf16[4096];
    for (int i = 0; i < l->n_in; i++) {
        x[i] = 1;
        x_bf16[i] = 0x3f80;
        set->matmul(&(nb_cpu_matmul){l, x, false, 1, l->n_in, 1, &y[0], 1, false}, 0, 1);
        set->matmul(&(nb_cpu_matmul){l, x_bf16, true, 1, l->n_in, 1, &y[1], 1, false}, 0, 1);
        if (y[0] != expected[i] || y[1] != expected[i]) {
            fail_msg("%s %s weight %d is %g and %g, not %g", set->name, nb_format_name(l->format), i, (double)y[0],
                     (double)y[1], (double)expected[i]);
        }
        x[i] = 0;
        x_bf16[i] = 0;
    }
}

static void every_code_decodes_exactly(void **state)
{
    (void)state;
    enum { N_FP8 = 254, N_SCALE = 126 };
    uint8_t fp8[N_FP8], packed[N_SCALE * 8], scale[N_SCALE];
    float one = 1, expected[N_SCALE * 16];
    for (int i = 0; i < N_FP8; i++) fp8[i] = (uint8_t)(i < 127 ? i : i + 1); // all but the two NaN
    for (int i = 0; i < N_SCALE; i++) scale[i] = (uint8_t)(i + 1);
    for (int i = 0; i < N_SCALE * 8; i++) packed[i] = (uint8_t)(i * 0x22 | (i * 0x22 + 1) << 4);
    nb_linear l8 = {.format = NB_FORMAT_FP8,
                    .n_out = 1,
                    .n_in = N_FP8,
                    .data = fp8,
                    .block_scale = &one,
                    .block_out = 1,
                    .block_in = N_FP8};
    nb_linear l4 = {
        .format = NB_FORMAT_NVFP4, .n_out = 1, .n_in = N_SCALE * 16, .data = packed, .scale = scale, .scale_2 = 1};
    for (nb_cpu_kernels which = NB_CPU_SCALAR; which <= NB_CPU_AVX512; which++) {
        const nb_cpu_kernel_set *set;
        if (nb_cpu_kernels_find(which, &set, NULL) != NB_OK) continue;
        nb_linear_decode_row(&l8, 0, expected);
        check_codes(set, &l8, expected);
        nb_linear_decode_row(&l4, 0, expected);
        check_codes(set, &l4, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_kernels_equal_the_definition),
        cmocka_unit_test(vector_kernels_equal_the_definition),
        cmocka_unit_test(an_output_does_not_depend_on_its_neighbours),
        cmocka_unit_test(outputs_are_added_where_asked_and_others_are_kept),
        cmocka_unit_test(every_code_decodes_exactly),
    };
    return nb_test_run("cpu_matmul", tests);
}
