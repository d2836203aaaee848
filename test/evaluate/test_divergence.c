// Divergence of two rows of logits against values worked out by hand.
#include "support/check.h"

#include <math.h>

#include "evaluate/divergence.h"

static void equal_rows_have_none(void **state)
{
    (void)state;
    float a[4] = {1, 2, 3, -50}, shifted[4] = {101, 102, 103, 50};
    bool same;
    assert_true(nb_divergence_row(a, a, 4, &same) == 0 && same);
    assert_true(nb_divergence_row(a, shifted, 4, &same) < 1e-9 && same);
}

// p = (1/2, 1/2), q = (1/4, 3/4): sum p ln(p/q) = ln 2 - ln 3 / 2.
static void two_outcomes_give_the_known_value(void **state)
{
    (void)state;
    float p[2] = {0, 0}, q[2] = {0, logf(3)};
    bool same;
    assert_true(fabs(nb_divergence_row(p, q, 2, &same) - (log(2) - 0.5 * log(3))) < 1e-6);
    assert_false(same);
}

static void perplexity_is_the_exponential_of_the_mean(void **state)
{
    (void)state;
    assert_true(fabs(nb_perplexity_value(10 * log(7), 10) - 7) < 1e-9);
    assert_true(isnan(nb_perplexity_value(0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_rows_have_none),
        cmocka_unit_test(two_outcomes_give_the_known_value),
        cmocka_unit_test(perplexity_is_the_exponential_of_the_mean),
    };
    return nb_test_run("divergence", tests);
}
