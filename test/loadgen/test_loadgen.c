// loadgen: streams are read the same however they are cut, statistics are NumPy's, arrivals have the stated law, and a
// run's figures follow from its results.
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loadgen/arrival.h"
#include "loadgen/load_report.h"
#include "loadgen/sse_reader.h"

static int add_event(void *user, nb_str data, nb_error *err)
{
    (void)err;
    nb_buf_printf(user, "[%.*s]", (int)data.len, data.ptr);
    return NB_OK;
}

static const char stream[] = ": comment\r\n\r\ndata: {\"a\":1}\n\nevent: x\ndata:two\r\ndata: lines\rid: 7\n\r\n"
                             "data\n\ndatabase: no\n\ndata: \xc3\xa9\n\n\n\ndata: [DONE]\n\ndata: not ended";
static const char events[] = "[{\"a\":1}][two\nlines][][\xc3\xa9][[DONE]]";

static void a_stream_is_read_the_same_at_every_cut(void **state)
{
    (void)state;
    nb_str all = NB_STR(stream);
    for (size_t first = 0; first <= all.len; first++) {
        for (size_t second = first; second <= all.len; second += 7) {
            nb_sse_reader reader = {0};
            nb_buf got = {0};
            nb_error err;
            nb_test_ok(nb_sse_reader_feed(&reader, nb_str_slice(all, 0, first), add_event, &got, &err), &err);
            nb_test_ok(nb_sse_reader_feed(&reader, nb_str_slice(all, first, second), add_event, &got, &err), &err);
            nb_test_ok(nb_sse_reader_feed(&reader, nb_str_slice(all, second, all.len), add_event, &got, &err), &err);
            assert_string_equal(got.ptr, events);
            nb_buf_drop(&got);
            nb_sse_reader_drop(&reader);
        }
    }
}

static void a_line_without_end_is_refused(void **state)
{
    (void)state;
    nb_sse_reader reader = {0};
    nb_buf got = {0};
    nb_error err;
    char *block = nb_alloc(1 << 20);
    memset(block, 'x', 1 << 20);
    int code = NB_OK;
    for (int i = 0; i < 17 && code == NB_OK; i++)
        code = nb_sse_reader_feed(&reader, (nb_str){block, 1 << 20}, add_event, &got, &err);
    nb_test_fails(code, &err, "more than");
    nb_sse_reader_drop(&reader);
    free(block);
}

// Made with numpy.percentile, numpy.std.
static void statistics_are_numpy_s(void **state)
{
    (void)state;
    nb_series s = {0};
    assert_true(nb_series_percentile(&s, 50) == 0 && nb_series_mean(&s) == 0 && nb_series_std(&s) == 0);
    const double value[] = {7, 1, 4, 10, 2.5};
    for (int i = 0; i < 5; i++) nb_series_add(&s, value[i]);
    nb_series_sort(&s);
    assert_float_equal(nb_series_mean(&s), 4.9, 1e-12);
    assert_float_equal(nb_series_std(&s), 3.231098884280702, 1e-12);
    assert_float_equal(nb_series_percentile(&s, 0), 1, 1e-12);
    assert_float_equal(nb_series_percentile(&s, 50), 4, 1e-12);
    assert_float_equal(nb_series_percentile(&s, 90), 8.8, 1e-12);
    assert_float_equal(nb_series_percentile(&s, 99), 9.88, 1e-12);
    assert_float_equal(nb_series_percentile(&s, 100), 10, 1e-12);
    nb_series_drop(&s);
}

// Mean and variance of a gamma distribution of scale 1 are its shape; 40000 draws leave about 1 % of doubt.
static void gamma_draws_have_their_mean_and_variance(void **state)
{
    (void)state;
    enum { N = 40000 };
    static const double shape[] = {0.25, 0.9, 1, 3, 50};
    for (size_t k = 0; k < sizeof shape / sizeof shape[0]; k++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < N; i++) {
            double x = nb_arrival_gamma(5, (uint64_t)i, shape[k]);
            assert_true(x >= 0 && isfinite(x));
            sum += x;
            squares += x * x;
        }
        double mean = sum / N, variance = squares / N - mean * mean;
        if (fabs(mean / shape[k] - 1) > 0.04 || fabs(variance / shape[k] - 1) > 0.1)
            fail_msg("shape %g: mean %g, variance %g", shape[k], mean, variance);
    }
}

static void arrivals_keep_their_rate_and_repeat_with_their_seed(void **state)
{
    (void)state;
    enum { N = 500 };
    static int64_t at[N], again[N], other[N];
    nb_arrival_times(&(nb_arrival){.rate_per_s = 50, .burstiness = 1, .seed = 1}, N, at);
    nb_arrival_times(&(nb_arrival){.rate_per_s = 50, .burstiness = 1, .seed = 1}, N, again);
    nb_arrival_times(&(nb_arrival){.rate_per_s = 50, .burstiness = 1, .seed = 2}, N, other);
    assert_memory_equal(at, again, sizeof at);
    assert_memory_not_equal(at, other, sizeof at);
    for (int i = 1; i < N; i++) assert_true(at[i] >= at[i - 1]);
    assert_float_equal((double)at[N - 1] / 1e6, N / 50.0, 1e-4);
    nb_arrival_times(&(nb_arrival){.rate_per_s = 50, .burstiness = INFINITY, .seed = 1}, N, at);
    for (int i = 0; i < N; i++) assert_true(llabs(at[i] - (i + 1) * 20000) <= 1);
    nb_arrival ramp = {.rate_per_s = 1, .end_rate_per_s = 100, .burstiness = INFINITY};
    nb_arrival_times(&ramp, N, at);
    assert_int_equal(at[0], 1000000);
    assert_true(llabs(at[N - 1] - at[N - 2] - 10000) <= 1);
    int64_t linear_us = at[N / 2] - at[N / 2 - 1];
    ramp.exponential = true;
    nb_arrival_times(&ramp, N, at);
    assert_true(llabs(at[N / 2] - at[N / 2 - 1] - 100000) < 1000); // ten a second, half-way
    assert_true(llabs(linear_us - 19800) < 100);                   // about fifty
    nb_arrival_times(&(nb_arrival){.rate_per_s = INFINITY, .burstiness = 1, .seed = 1}, N, at);
    for (int i = 0; i < N; i++) assert_int_equal(at[i], 0);
}

// Three answers, one failure, one request that was not sent. The second was due at 5 ms and sent at 20.
static int32_t gaps_a[] = {10000, 30000}, gaps_b[] = {20000};
static nb_load_result results[] = {
    {.state = NB_LOAD_OK,
     .first_us = 50000,
     .last_us = 90000,
     .gap_us = gaps_a,
     .n_gap = 2,
     .n_input = 7,
     .n_output = 5},
    {.state = NB_LOAD_OK,
     .due_us = 5000,
     .start_us = 20000,
     .first_us = 40000,
     .last_us = 60000,
     .gap_us = gaps_b,
     .n_gap = 1,
     .n_input = 8,
     .n_output = 2},
    {.state = NB_LOAD_FAILED, .start_us = 10000, .last_us = 20000, .status = 500, .error = "HTTP 500: <b>broken</b>"},
    {.state = NB_LOAD_OK,
     .due_us = 90000,
     .start_us = 90000,
     .first_us = 190000,
     .last_us = 190000,
     .n_input = 9,
     .n_output = 1},
    {.state = NB_LOAD_UNSENT},
};
enum { N_RESULT = sizeof results / sizeof results[0] };
static const nb_load_goal goals[] = {{NB_LOAD_TTFT, 60}, {NB_LOAD_TPOT, 15}};

static void figures_follow_from_the_results(void **state)
{
    (void)state;
    nb_load_summary s;
    nb_load_summary_make(results, N_RESULT, 2000000, goals, 2, &s);
    assert_int_equal(s.n_completed, 3);
    assert_int_equal(s.n_failed, 1);
    assert_int_equal(s.n_unsent, 1);
    assert_int_equal(s.n_good, 1); // the second has 20 ms a token, the third waits for 100 ms
    assert_int_equal(s.n_input, 24);
    assert_int_equal(s.n_output, 8);
    assert_float_equal(s.request_rate, 1.5, 1e-9);
    assert_float_equal(s.good_rate, 0.5, 1e-9);
    assert_float_equal(s.output_rate, 4, 1e-9);
    assert_float_equal(s.token_rate, 16, 1e-9);
    assert_int_equal(s.max_concurrent, 2); // the third begins when the first ends
    assert_float_equal(nb_series_percentile(&s.metric[NB_LOAD_TTFT], 50), 50, 1e-9);
    assert_int_equal(s.metric[NB_LOAD_TPOT].n, 2);
    assert_float_equal(nb_series_mean(&s.metric[NB_LOAD_TPOT]), 15, 1e-9);
    assert_int_equal(s.metric[NB_LOAD_ITL].n, 3);
    assert_float_equal(nb_series_mean(&s.metric[NB_LOAD_ITL]), 20, 1e-9);
    assert_float_equal(nb_series_percentile(&s.metric[NB_LOAD_E2EL], 100), 100, 1e-9);
    assert_float_equal(nb_series_percentile(&s.metric[NB_LOAD_QUEUE], 100), 15, 1e-9);
    assert_float_equal(s.tokens_by_second.value[0], 6, 0);
    nb_load_summary_drop(&s);
}

static nb_load_report make_report(nb_load_summary *s)
{
    nb_load_summary_make(results, N_RESULT, 2000000, goals, 2, s);
    nb_load_report r = {.summary = s,
                        .result = results,
                        .n = N_RESULT,
                        .backend = "openai",
                        .model = "org/<model>",
                        .url = "http://h:1",
                        .dataset = "random",
                        .date = "now",
                        .rate_per_s = INFINITY,
                        .burstiness = 1,
                        .goal = goals,
                        .n_goal = 2,
                        .percentile = {99, 99.9},
                        .n_percentile = 2};
    for (int m = 0; m <= NB_LOAD_E2EL; m++) r.shows[m] = true;
    return r;
}

static void the_json_has_the_keys_of_vllm(void **state)
{
    (void)state;
    static const char *const keys[] = {"date",
                                       "endpoint_type",
                                       "backend",
                                       "label",
                                       "model_id",
                                       "tokenizer_id",
                                       "num_prompts",
                                       "request_rate",
                                       "burstiness",
                                       "max_concurrency",
                                       "duration",
                                       "completed",
                                       "failed",
                                       "total_input_tokens",
                                       "request_goodput",
                                       "total_output_tokens",
                                       "input_lens",
                                       "request_throughput",
                                       "output_lens",
                                       "output_throughput",
                                       "ttfts",
                                       "itls",
                                       "latencies",
                                       "total_token_throughput",
                                       "start_times",
                                       "generated_texts",
                                       "queue_times",
                                       "max_output_tokens_per_s",
                                       "errors",
                                       "mean_ttft_ms",
                                       "median_ttft_ms",
                                       "max_concurrent_requests",
                                       "std_ttft_ms",
                                       "p99_ttft_ms",
                                       "p99.9_tpot_ms",
                                       "mean_itl_ms",
                                       "median_e2el_ms",
                                       "p99_e2el_ms"};
    nb_load_summary s;
    nb_load_report r = make_report(&s);
    nb_buf text = {0};
    nb_error err;
    json_t *json;
    nb_load_report_json(&r, true, &text);
    nb_test_ok(nb_json_parse(nb_buf_str(&text), "report", &json, &err), &err);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!json_object_get(json, keys[i])) fail_msg("no key %s", keys[i]);
    }
    assert_int_equal(json_array_size(json_object_get(json, "errors")), N_RESULT);
    assert_int_equal(json_array_size(json_array_get(json_object_get(json, "itls"), 0)), 2);
    json_decref(json);
    nb_buf_drop(&text);
    nb_load_summary_drop(&s);
}

static void the_page_stands_alone_and_shows_names_as_text(void **state)
{
    (void)state;
    nb_load_summary s;
    nb_load_report r = make_report(&s);
    nb_buf page = {0};
    nb_load_report_html(&r, &page);
    assert_non_null(strstr(page.ptr, "org/&lt;model&gt;"));
    assert_non_null(strstr(page.ptr, "HTTP 500: &lt;b&gt;broken"));
    assert_null(strstr(page.ptr, "<b>broken"));
    assert_null(strstr(page.ptr, "<script"));
    assert_null(strstr(page.ptr, "src="));
    assert_null(strstr(page.ptr, "href="));
    assert_null(strstr(page.ptr, "nan"));
    nb_buf_drop(&page);
    nb_load_summary_drop(&s);
}

static void speculation_is_counted_between_two_readings(void **state)
{
    (void)state;
    nb_spec_decode before, after;
    nb_spec_decode_parse(
        NB_STR("# HELP vllm:spec_decode_num_drafts_total x\nvllm:spec_decode_num_drafts_total{e=\"0\"} 10\n"
               "vllm:spec_decode_num_draft_tokens_total{e=\"0\"} 20\n"),
        &before);
    nb_spec_decode_parse(
        NB_STR("vllm:spec_decode_num_drafts_total{e=\"0\"} 25\nvllm:spec_decode_num_drafts_total{e=\"1\"} 5\n"
               "vllm:spec_decode_num_draft_tokens_total{e=\"0\"} 60\nnonsense\n\n"
               "vllm:spec_decode_num_accepted_tokens_total{e=\"0\"} 30\n"
               "vllm:spec_decode_num_accepted_tokens_per_pos_total{e=\"0\",position=\"0\"} 18\n"
               "vllm:spec_decode_num_accepted_tokens_per_pos_total{e=\"0\",position=\"1\"} 12\n"
               "vllm:spec_decode_num_accepted_tokens_per_pos_total{e=\"0\",position=\"99\"} 1"),
        &after);
    nb_spec_decode s = nb_spec_decode_since(&before, &after);
    assert_true(s.known);
    assert_int_equal(s.n_position, 2);
    assert_float_equal(nb_spec_decode_rate(&s), 75, 1e-9);
    assert_float_equal(nb_spec_decode_length(&s), 2.5, 1e-9);
    assert_float_equal(s.accepted_at[0], 18, 0);
    assert_false(nb_spec_decode_since(&after, &after).known); // nothing was drafted
}

static void a_run_without_any_answer_has_a_report(void **state)
{
    (void)state;
    nb_load_summary s;
    nb_load_result none[2] = {{.state = NB_LOAD_CANCELLED}, {.state = NB_LOAD_UNSENT}};
    nb_load_summary_make(none, 2, 0, NULL, 0, &s);
    nb_load_report r = {.summary = &s,
                        .result = none,
                        .n = 2,
                        .backend = "openai",
                        .model = "m",
                        .url = "u",
                        .dataset = "random",
                        .date = "now",
                        .rate_per_s = 1,
                        .burstiness = INFINITY};
    nb_buf text = {0};
    nb_load_report_text(&r, &text);
    assert_non_null(strstr(text.ptr, "Interrupted requests:                    1"));
    nb_load_report_json(&r, true, &text);
    nb_load_report_html(&r, &text);
    assert_null(strstr(text.ptr, "nan"));
    nb_buf_drop(&text);
    nb_load_summary_drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_read_the_same_at_every_cut),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(statistics_are_numpy_s),
        cmocka_unit_test(gamma_draws_have_their_mean_and_variance),
        cmocka_unit_test(arrivals_keep_their_rate_and_repeat_with_their_seed),
        cmocka_unit_test(figures_follow_from_the_results),
        cmocka_unit_test(the_json_has_the_keys_of_vllm),
        cmocka_unit_test(the_page_stands_alone_and_shows_names_as_text),
        cmocka_unit_test(speculation_is_counted_between_two_readings),
        cmocka_unit_test(a_run_without_any_answer_has_a_report),
    };
    return nb_test_run("loadgen", tests);
}
