// serve/metrics: the text is what Prometheus reads, names and boundaries are vLLM's, and the numbers add up.
#include "support/check.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "serve/metrics.h"

static const nb_engine_stats stats = {.n_running = 3,
                                      .n_waiting = 2,
                                      .n_page = 100,
                                      .n_slot = 10,
                                      .n_slot_free = 1,
                                      .n_slot_saved = 6,
                                      .n_slot_saved_most = 7,
                                      .n_page_free = 40,
                                      .n_page_indexed = 35,
                                      .n_prompt_tok = 1234,
                                      .n_cached_tok = 234,
                                      .n_step_tok = 1007,
                                      .step_by_tok = {[0] = 2, [1] = 1, [3] = 4, [15] = 1},
                                      .prefix_caching = true,
                                      .n_output_tok = 567,
                                      .n_preempted = 4,
                                      .prefix_queries_tok = 1000,
                                      .prefix_hits_tok = 250};

static nb_buf text_of(nb_metrics *m)
{
    nb_buf out = {0};
    nb_metrics_write(m, &stats, &(nb_http_stats){.n_slow = 9}, &out);
    return out;
}

static void expect_line(const nb_buf *text, const char *line)
{
    if (!strstr(text->ptr, line)) fail_msg("no line \"%s\" in\n%s", line, text->ptr);
}

static void the_engine_s_numbers_are_shown(void **state)
{
    (void)state;
    nb_metrics *m = nb_metrics_open("org/\"name\"", 4096);
    nb_buf text = text_of(m);
    expect_line(&text, "vllm:num_requests_running{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 3\n");
    expect_line(&text, "\nvllm:num_requests_waiting{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 2\n");
    expect_line(&text, "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 0.25\n");
    expect_line(&text, "vllm:prompt_tokens_total{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 1234\n");
    expect_line(&text, "vllm:generation_tokens_total{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 567\n");
    expect_line(&text, "# TYPE vllm:num_preemptions_total counter\n");
    expect_line(&text, "block_size=\"64\",num_gpu_blocks=\"100\",enable_prefix_caching=\"True\"} 1\n");
    expect_line(&text, "vllm:prompt_tokens_cached_total{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 234\n");
    expect_line(&text, "source=\"local_compute\"} 1000\n");
    expect_line(&text, "nibble:state_slots{engine=\"0\",model_name=\"org/\\\"name\\\"\",state=\"running\"} 3\n");
    expect_line(&text, "nibble:saved_states_limit{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 7\n");
    expect_line(&text, "source=\"local_cache_hit\"} 234\n");
    expect_line(&text, "nibble:http_slow_readers_total{engine=\"0\",model_name=\"org/\\\"name\\\"\"} 9\n");
    nb_buf_drop(&text);
    nb_metrics_close(m);
}

static void steps_are_counted_by_their_tokens(void **state)
{
    (void)state;
    nb_metrics *m = nb_metrics_open("m", 4096);
    nb_buf text = text_of(m);
    expect_line(&text, "# TYPE vllm:iteration_tokens_total histogram\n");
    expect_line(&text, "vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"m\",le=\"1.0\"} 2\n");
    expect_line(&text, "vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"m\",le=\"8.0\"} 7\n");
    expect_line(&text, "vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"m\",le=\"16384.0\"} 7\n");
    expect_line(&text, "vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"m\",le=\"+Inf\"} 8\n");
    expect_line(&text, "vllm:iteration_tokens_total_sum{engine=\"0\",model_name=\"m\"} 1007\n");
    nb_buf_drop(&text);
    nb_metrics_close(m);
}

static void drafts_are_counted_where_there_are_any(void **state)
{
    (void)state;
    nb_metrics *m = nb_metrics_open("m", 4096);
    nb_buf text = text_of(m), speculating = {0};
    assert_null(strstr(text.ptr, "spec_decode"));
    nb_engine_stats drafting = {.n_draft = 2, .n_draft_step = 10, .n_draft_tok = 19, .n_accepted = {7, 3}};
    nb_metrics_write(m, &drafting, NULL, &speculating);
    expect_line(&speculating, "vllm:spec_decode_num_drafts_total{engine=\"0\",model_name=\"m\"} 10\n");
    expect_line(&speculating, "vllm:spec_decode_num_draft_tokens_total{engine=\"0\",model_name=\"m\"} 19\n");
    expect_line(&speculating, "vllm:spec_decode_num_accepted_tokens_total{engine=\"0\",model_name=\"m\"} 10\n");
    expect_line(&speculating, "model_name=\"m\",position=\"1\"} 3\n");
    nb_buf_drop(&speculating);
    nb_buf_drop(&text);
    nb_metrics_close(m);
}

static double value_of(const nb_buf *text, const char *name)
{
    const char *at = strstr(text->ptr, name);
    if (!at) fail_msg("no %s in\n%s", name, text->ptr);
    return strtod(at + strlen(name), NULL);
}

static void the_process_is_described(void **state)
{
    (void)state;
    nb_metrics *m = nb_metrics_open("m", 4096);
    nb_buf text = text_of(m);
    double resident = value_of(&text, "\nprocess_resident_memory_bytes ");
    assert_true(resident > 100e3 && resident <= value_of(&text, "\nprocess_virtual_memory_bytes "));
    assert_true(value_of(&text, "\nprocess_open_fds ") >= 3);
    double age_s = (double)time(NULL) - value_of(&text, "\nprocess_start_time_seconds ");
    assert_true(age_s > -5 && age_s < 24 * 3600);
    assert_true(value_of(&text, "\nprocess_cpu_seconds_total ") >= 0);
    nb_buf_drop(&text);
    nb_metrics_close(m);
}

static void histograms_count_up_to_and_including_their_boundary(void **state)
{
    (void)state;
    nb_metrics *m = nb_metrics_open("m", 4096);
    nb_metrics_first_token(m, 1000);    // exactly 0.001 s
    nb_metrics_first_token(m, 2000000); // 2 s
    nb_metrics_first_token(m, 9000000000);
    nb_buf text = text_of(m);
    expect_line(&text, "# TYPE vllm:time_to_first_token_seconds histogram\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"0.001\"} 1\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"1.0\"} 1\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"2.5\"} 2\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"2560.0\"} 2\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\",le=\"+Inf\"} 3\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"m\"} 3\n");
    expect_line(&text, "vllm:time_to_first_token_seconds_sum{engine=\"0\",model_name=\"m\"} 9002.00");
    nb_buf_drop(&text);
    nb_metrics_close(m);
}

static void a_request_s_end_fills_only_what_happened(void **state)
{
    (void)state;
    nb_metrics *m = nb_metrics_open("m", 1000);
    nb_metrics_finish(m, &(nb_metrics_request){.n_prompt = 10,
                                               .n_cached = 4,
                                               .n_output = 5,
                                               .max_new = 1000,
                                               .finish = NB_FINISH_LENGTH,
                                               .queued_us = 1000000,
                                               .scheduled_us = 1500000,
                                               .first_us = 2000000,
                                               .now_us = 4000000});
    nb_metrics_finish(
        m, &(nb_metrics_request){
               .n_prompt = 20, .finish = NB_FINISH_CANCELLED, .queued_us = 1000000, .now_us = 3000000}); // never ran
    nb_metrics_prompt(m, 2, 5);
    nb_buf text = text_of(m);
    expect_line(&text, "finished_reason=\"length\"} 1\n");
    expect_line(&text, "finished_reason=\"abort\"} 1\n");
    expect_line(&text, "finished_reason=\"stop\"} 0\n");
    expect_line(&text, "vllm:e2e_request_latency_seconds_sum{engine=\"0\",model_name=\"m\"} 5\n");
    expect_line(&text, "vllm:e2e_request_latency_seconds_count{engine=\"0\",model_name=\"m\"} 2\n");
    expect_line(&text, "vllm:request_queue_time_seconds_sum{engine=\"0\",model_name=\"m\"} 0.5\n");
    expect_line(&text, "vllm:request_queue_time_seconds_count{engine=\"0\",model_name=\"m\"} 1\n");
    expect_line(&text, "vllm:request_prefill_time_seconds_sum{engine=\"0\",model_name=\"m\"} 0.5\n");
    expect_line(&text, "vllm:request_decode_time_seconds_sum{engine=\"0\",model_name=\"m\"} 2\n");
    expect_line(&text, "vllm:request_time_per_output_token_seconds_sum{engine=\"0\",model_name=\"m\"} 0.5\n");
    expect_line(&text, "vllm:request_prompt_tokens_bucket{engine=\"0\",model_name=\"m\",le=\"10.0\"} 1\n");
    expect_line(&text, "vllm:request_prompt_tokens_bucket{engine=\"0\",model_name=\"m\",le=\"1000.0\"} 2\n");
    assert_null(strstr(text.ptr, "le=\"2000.0\""));
    expect_line(&text, "vllm:request_prefill_kv_computed_tokens_sum{engine=\"0\",model_name=\"m\"} 6\n");
    expect_line(&text, "vllm:request_prefill_kv_computed_tokens_count{engine=\"0\",model_name=\"m\"} 1\n");
    expect_line(&text, "vllm:request_max_num_generation_tokens_sum{engine=\"0\",model_name=\"m\"} 5\n");
    expect_line(&text, "vllm:request_params_n_sum{engine=\"0\",model_name=\"m\"} 2\n");
    nb_buf_drop(&text);
    nb_metrics_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_engine_s_numbers_are_shown),
        cmocka_unit_test(steps_are_counted_by_their_tokens),
        cmocka_unit_test(drafts_are_counted_where_there_are_any),
        cmocka_unit_test(the_process_is_described),
        cmocka_unit_test(histograms_count_up_to_and_including_their_boundary),
        cmocka_unit_test(a_request_s_end_fills_only_what_happened),
    };
    return nb_test_run("serve/metrics", tests);
}
