// The sampler against its rules, each alone and together, and against the probabilities it should draw with.
#include "support/check.h"

#include <math.h>
#include <string.h>

#include "cpu/cpu_sample.h"

enum { VOCAB = 40 };

static float logits[VOCAB];
static nb_history history[4];
static nb_bias bias[4];
static uint32_t mask[2];
static nb_batch batch = {.history = history, .bias = bias, .mask = mask};

static nb_row plain_row(void)
{
    return (nb_row){.flags = NB_ROW_SAMPLE,
                    .target = -1,
                    .mask_first = -1,
                    .sampling = {.temperature = 1, .top_p = 1, .repetition_penalty = 1}};
}

static nb_row_result sample(const nb_row *row, int64_t position, int n_extra, const int32_t *extra)
{
    nb_sample_candidate scratch[VOCAB];
    nb_row_result out = {0};
    nb_sample_input in = {logits, VOCAB, &batch, row, position, extra, n_extra};
    nb_cpu_sample_row(&in, scratch, &out);
    return out;
}

static void fill_logits(void) // token 7 is the likeliest, 30 the second
{
    for (int i = 0; i < VOCAB; i++) logits[i] = -(float)(i % 10) * 0.1f;
    logits[7] = 3;
    logits[30] = 2;
}

static void zero_temperature_takes_the_largest_and_the_lowest_id_on_ties(void **state)
{
    (void)state;
    fill_logits();
    nb_row row = plain_row();
    row.sampling.temperature = 0;
    assert_int_equal(sample(&row, 1, 0, NULL).tok, 7);
    logits[3] = 3;
    assert_int_equal(sample(&row, 1, 0, NULL).tok, 3);
}

static void draws_follow_the_probabilities(void **state)
{
    (void)state;
    fill_logits();
    nb_row row = plain_row();
    double p[VOCAB], sum = 0, chi_2 = 0;
    int n_draw = 20000, count[VOCAB] = {0};
    for (int i = 0; i < VOCAB; i++) sum += p[i] = exp(logits[i]);
    for (int i = 0; i < n_draw; i++) count[sample(&row, i, 0, NULL).tok]++;
    for (int i = 0; i < VOCAB; i++) {
        double expected = n_draw * p[i] / sum;
        chi_2 += (count[i] - expected) * (count[i] - expected) / expected;
    }
    assert_true(chi_2 < 72.1); // 39 degrees of freedom, 0.1 %
}

static void top_k_top_p_and_min_p_leave_the_stated_tokens(void **state)
{
    (void)state;
    fill_logits();
    nb_row k = plain_row(), p = plain_row(), min = plain_row();
    k.sampling.top_k = 2;
    p.sampling.top_p = 0.01f;
    min.sampling.min_p = expf(-1.01f); // lets 30 through, nothing else
    bool seen_30 = false;
    for (int i = 0; i < 500; i++) {
        int32_t tok = sample(&k, i, 0, NULL).tok, tok_min = sample(&min, i, 0, NULL).tok;
        assert_true((tok == 7 || tok == 30) && (tok_min == 7 || tok_min == 30));
        seen_30 = seen_30 || tok_min == 30;
        assert_int_equal(sample(&p, i, 0, NULL).tok, 7);
    }
    assert_true(seen_30);
}

static void a_draw_depends_on_seed_and_position_alone(void **state)
{
    (void)state;
    memset(logits, 0, sizeof logits);
    nb_row row = plain_row(), other = plain_row();
    other.sampling.seed = 1;
    int differ = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(sample(&row, i, 0, NULL).tok, sample(&row, i, 0, NULL).tok);
        differ += sample(&row, i, 0, NULL).tok != sample(&other, i, 0, NULL).tok;
    }
    assert_true(differ > 80);
}

static void penalties_count_the_output_and_the_token_not_yet_in_the_history(void **state)
{
    (void)state;
    fill_logits();
    nb_row row = plain_row();
    row.sampling.temperature = 0;
    history[0] = (nb_history){7, 0};
    row.n_history = 1;
    row.sampling.repetition_penalty = 2; // 3 / 2 < 2: prompt tokens count
    assert_int_equal(sample(&row, 1, 0, NULL).tok, 30);
    row.sampling.repetition_penalty = 1;
    row.sampling.presence_penalty = 1.5f; // over the output only
    assert_int_equal(sample(&row, 1, 0, NULL).tok, 7);
    int32_t extra[1] = {7};
    assert_int_equal(sample(&row, 1, 1, extra).tok, 30);
    row.sampling.presence_penalty = 0;
    row.sampling.frequency_penalty = 0.6f;
    assert_int_equal(sample(&row, 1, 1, extra).tok, 7);
    history[0].n_output = 1;
    assert_int_equal(sample(&row, 1, 1, extra).tok, 30);
}

static void bias_and_mask_decide(void **state)
{
    (void)state;
    fill_logits();
    nb_row row = plain_row();
    row.sampling.temperature = 0;
    bias[0] = (nb_bias){12, 50};
    row.n_bias = 1;
    assert_int_equal(sample(&row, 1, 0, NULL).tok, 12);
    mask[0] = 1u << 5;
    mask[1] = 0;
    row.mask_first = 0;
    assert_int_equal(sample(&row, 1, 0, NULL).tok, 5);
    mask[0] = 0;
    assert_int_equal(sample(&row, 1, 0, NULL).tok, -1);
}

static void log_probabilities_are_of_the_raw_logits(void **state)
{
    (void)state;
    fill_logits();
    nb_row row = plain_row();
    row.sampling.temperature = 0;
    row.target = 30;
    row.n_top = 3;
    bias[0] = (nb_bias){12, 50};
    row.n_bias = 1;
    double sum = 0;
    for (int i = 0; i < VOCAB; i++) sum += exp(logits[i]);
    nb_row_result out = sample(&row, 1, 0, NULL);
    assert_true(fabs(out.logprob - (logits[12] - log(sum))) < 1e-5);
    assert_true(fabs(out.target_logprob - (2 - log(sum))) < 1e-5);
    assert_int_equal(out.target_rank, 2);
    assert_int_equal(out.n_top, 3);
    assert_int_equal(out.top_tok[0], 7);
    assert_int_equal(out.top_tok[1], 30);
    assert_int_equal(out.top_tok[2], 0); // ties by id
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_temperature_takes_the_largest_and_the_lowest_id_on_ties),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(top_k_top_p_and_min_p_leave_the_stated_tokens),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_alone),
        cmocka_unit_test(penalties_count_the_output_and_the_token_not_yet_in_the_history),
        cmocka_unit_test(bias_and_mask_decide),
        cmocka_unit_test(log_probabilities_are_of_the_raw_logits),
    };
    return nb_test_run("cpu_sample", tests);
}
