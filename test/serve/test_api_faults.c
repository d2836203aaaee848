// The API when things go wrong below or beside it: a full queue, a device that fails, clients that leave or do not
// read. And with many clients at once: each gets what it would get alone.
#include "support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/fake_server.h"
#include "support/http_client.h"

enum { WAIT_MS = 60000 };

static int post(const fake_server *s, const char *body, nb_buf *response)
{
    return client_request(s->port, "POST /v1/completions", "", nb_str_from(body), response);
}

// Sends a request whose answer is read later, or never.
static int begin(const fake_server *s, const char *path, const char *body)
{
    nb_buf request = {0};
    int fd = client_connect(s->port);
    nb_buf_printf(&request, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", path,
                  strlen(body), body);
    assert_true(client_send(fd, nb_buf_str(&request)));
    nb_buf_drop(&request);
    return fd;
}

static int end(int fd, nb_buf *response)
{
    assert_true(client_read(fd, response, WAIT_MS));
    close(fd);
    return client_status(nb_buf_str(response));
}

static nb_engine_stats stats_of(const fake_server *s)
{
    nb_engine_stats stats;
    nb_engine_stats_read(s->engine, &stats);
    return stats;
}

static void expect(const nb_buf *response, const char *part)
{
    if (!strstr(response->ptr, part)) fail_msg("no %s in\n%s", part, response->ptr);
}

// Waits until `n` requests ended for the reason.
static void wait_finished(const fake_server *s, nb_finish reason, uint64_t n)
{
    for (int i = 0; i < WAIT_MS && stats_of(s).finished[reason] < n; i++) usleep(1000);
    assert_int_equal(stats_of(s).finished[reason], n);
}

// ---- The queue

// The device holds the first step, so what is sent stays where it is: one runs, two wait.
static fake_server *open_held(void)
{
    return fake_server_open(
        &(fake_server_options){.fake = {.hold = true}, .max_num_seqs = 1, .max_waiting = 2, .max_model_len = 512});
}

static void a_full_queue_is_told(void **state)
{
    (void)state;
    fake_server *s = open_held();
    nb_buf out = {0};
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = begin(s, "/v1/completions", "{\"prompt\": \"a\", \"max_tokens\": 3}");
        nb_http_stats stats = {0};
        for (int k = 0; k < WAIT_MS && stats.n_exchange <= i; k++, usleep(1000)) nb_http_stats_read(s->http, &stats);
    }
    usleep(50000); // the third has been handed to the engine
    assert_int_equal(post(s, "{\"prompt\": \"a\"}", &out), 429);
    assert_true(client_header(nb_buf_str(&out), "Retry-After").len > 0);
    expect(&out, "\"queue_full\"");
    expect(&out, "\"rate_limit_error\"");
    assert_int_equal(post(s, "{\"prompt\": \"a\", \"stream\": true}", &out), 429);
    nb_fake_release(s->device);
    for (int i = 0; i < 3; i++) {
        nb_buf_clear(&out);
        assert_int_equal(end(fd[i], &out), 200);
        expect(&out, "\"finish_reason\":\"length\"");
    }
    assert_int_equal(post(s, "{\"prompt\": \"a\"}", &out), 200); // and there is room again
    nb_buf_drop(&out);
    fake_server_close(s);
}

// More choices than there is room for: the request is refused as a whole, before a stream begins and with nothing
// computed.
static void choices_that_do_not_fit_are_refused_together(void **state)
{
    (void)state;
    fake_server *s = open_held();
    nb_buf out = {0};
    int fd = begin(s, "/v1/completions", "{\"prompt\": \"a\", \"n\": 2, \"max_tokens\": 20}");
    for (int i = 0; i < WAIT_MS && stats_of(s).n_waiting + stats_of(s).n_running < 2; i++) usleep(1000);
    assert_int_equal(post(s, "{\"prompt\": \"a\", \"n\": 2, \"stream\": true}", &out), 429);
    assert_int_equal(post(s, "{\"prompt\": [\"a\", \"b\"], \"stream\": true}", &out), 429);
    assert_int_equal(post(s, "{\"prompt\": \"a\", \"n\": 4}", &out), 400); // would never fit
    expect(&out, "at most 3");
    nb_fake_release(s->device);
    nb_buf_clear(&out);
    assert_int_equal(end(fd, &out), 200);
    assert_int_equal(post(s, "{\"prompt\": \"a\", \"n\": 3, \"max_tokens\": 5, \"stream\": true}", &out), 200);
    wait_finished(s, NB_FINISH_LENGTH, 5);
    assert_int_equal(stats_of(s).finished[NB_FINISH_CANCELLED], 0);
    nb_buf_drop(&out);
    fake_server_close(s);
}

// ---- A device that fails

static void a_failed_device_is_told(void **state)
{
    (void)state;
    fake_server *s = fake_server_open(&(fake_server_options){.fake = {.fail_submit = 1}});
    nb_buf out = {0};
    assert_int_equal(post(s, "{\"prompt\": \"a\", \"stream\": true}", &out), 500);
    expect(&out, "submit failed as ordered");
    assert_int_equal(post(s, "{\"prompt\": \"a\"}", &out), 503);
    assert_int_equal(client_request(s->port, "GET /health", "", (nb_str){0}, &out), 503);
    assert_int_equal(client_request(s->port, "GET /readyz", "", (nb_str){0}, &out), 503);
    assert_int_equal(client_request(s->port, "GET /v1/models", "", (nb_str){0}, &out), 200);
    nb_buf_drop(&out);
    fake_server_close(s);
}

static void a_stream_that_fails_ends_with_the_error(void **state)
{
    (void)state;
    fake_server *s = fake_server_open(&(fake_server_options){.fake = {.fail_submit = 20}});
    nb_buf out = {0};
    assert_int_equal(post(s, "{\"prompt\": \"a\", \"max_tokens\": 200, \"stream\": true}", &out), 200);
    expect(&out, "data: {\"error\":{\"message\":\"submit failed as ordered\"");
    expect(&out, "data: [DONE]");
    assert_null(strstr(out.ptr, "\"finish_reason\":\""));
    nb_buf_drop(&out);
    fake_server_close(s);
}

// Each API has its own way to say so.
static void streams_of_other_apis_fail_in_their_form(void **state)
{
    (void)state;
    nb_buf out = {0};
    fake_server *s = fake_server_open(&(fake_server_options){.fake = {.fail_submit = 20}});
    assert_int_equal(
        client_request(s->port, "POST /v1/responses", "", NB_STR("{\"input\": \"a\", \"stream\": true}"), &out), 200);
    expect(&out, "event: response.failed\ndata: {\"type\":\"response.failed\"");
    expect(&out,
           "\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"submit failed as ordered\"}");
    fake_server_close(s);
    s = fake_server_open(&(fake_server_options){.fake = {.fail_submit = 20}});
    const char *ask =
        "{\"max_tokens\": 200, \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}";
    assert_int_equal(client_request(s->port, "POST /v1/messages", "", nb_str_from(ask), &out), 200);
    expect(&out,
           "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"submit failed as "
           "ordered\"}");
    assert_null(strstr(out.ptr, "message_stop"));
    assert_int_equal(client_request(s->port, "POST /v1/messages", "", nb_str_from(ask), &out), 503); // no stream yet
    expect(&out, "\"overloaded_error\"");
    nb_buf_drop(&out);
    fake_server_close(s);
}

// ---- Clients that leave or do not read

static void an_answer_nobody_waits_for_is_cancelled(void **state)
{
    (void)state;
    fake_server *s = open_held();
    int fd = begin(s, "/v1/completions", "{\"prompt\": \"a\", \"max_tokens\": 500, \"ignore_eos\": true}");
    usleep(50000);
    close(fd);
    nb_http_stats stats = {0};
    for (int i = 0; i < WAIT_MS && stats.n_gone == 0; i++, usleep(1000)) nb_http_stats_read(s->http, &stats);
    assert_int_equal(stats.n_gone, 1);
    nb_fake_release(s->device);
    wait_finished(s, NB_FINISH_CANCELLED, 1);
    fake_server_close(s);
}

static void a_reader_that_never_reads_is_cancelled(void **state)
{
    (void)state;
    fake_server *s =
        fake_server_open(&(fake_server_options){.max_model_len = 200000, .stream_buffer_max_bytes = 64 << 10});
    int fd =
        begin(s, "/v1/completions",
              "{\"prompt\": \"a\", \"max_tokens\": 199000, \"ignore_eos\": true, \"stream\": true, \"logprobs\": 5}");
    wait_finished(s, NB_FINISH_CANCELLED, 1);
    nb_http_stats stats;
    nb_http_stats_read(s->http, &stats);
    assert_int_equal(stats.n_slow, 1);
    close(fd);
    fake_server_close(s);
}

static void stopping_the_engine_ends_all_answers(void **state)
{
    (void)state;
    fake_server *s = open_held();
    nb_buf out = {0};
    int whole = begin(s, "/v1/completions", "{\"prompt\": \"a\", \"max_tokens\": 400}");
    usleep(50000);
    int stream = begin(s, "/v1/chat/completions",
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"stream\": true}");
    usleep(50000);
    nb_fake_release(s->device);
    nb_engine_close(s->engine, false);
    s->engine = NULL;
    int status = end(whole, &out);
    assert_true(status == 200 || status == 503); // it may have been faster
    nb_buf_clear(&out);
    status = end(stream, &out);
    assert_true(status == 200 || status == 503);
    nb_buf_drop(&out);
    fake_server_close(s);
}

// ---- Many clients

// The texts of all choices, in the order of their indices, whatever the form of the answer.
static void add_texts(nb_buf *text, nb_str body, int n)
{
    for (int i = 0; i < n; i++) {
        char head[40];
        snprintf(head, sizeof(head), "\"index\":%d,\"text\":", i);
        for (int64_t at = 0; (at = nb_str_find(body, nb_str_from(head), (size_t)at)) >= 0;) {
            json_error_t error;
            at += (int64_t)strlen(head);
            json_t *piece = json_loadb(body.ptr + at, body.len - (size_t)at,
                                       JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
            assert_true(json_is_string(piece));
            nb_buf_add(text, json_string_value(piece), json_string_length(piece));
            json_decref(piece);
        }
        nb_buf_add_char(text, '\n');
    }
}

// The body without the sizes of its chunks.
static nb_buf decoded(const nb_buf *response)
{
    nb_buf out = {0};
    nb_str body = client_body(nb_buf_str(response));
    nb_str encoding = client_header(nb_buf_str(response), "Transfer-Encoding");
    if (!nb_str_equal_c(encoding, "chunked")) {
        nb_buf_add_str(&out, body);
        return out;
    }
    for (size_t at = 0; at < body.len;) {
        char *stop;
        size_t n = strtoul(body.ptr + at, &stop, 16), from = (size_t)(stop - body.ptr) + 2;
        nb_buf_add_str(&out, nb_str_slice(body, from, from + n));
        at = from + n + 2;
        if (n == 0) break;
    }
    return out;
}

static void each_of_many_gets_what_it_gets_alone(void **state)
{
    (void)state;
    enum { N = 48 };
    fake_server *s =
        fake_server_open(&(fake_server_options){.fake = {.verify = true}, .max_num_seqs = 32, .max_waiting = 256});
    nb_buf alone[N] = {{0}}, out = {0};
    char body[N][200];
    int fd[N];
    for (int i = 0; i < N; i++) {
        snprintf(body[i], sizeof(body[i]),
                 "{\"prompt\": [\"prompt %d\", \"b\"], \"n\": 2, \"seed\": %d, \"temperature\": 1, \"max_tokens\": 40, "
                 "\"stream\": %s}",
                 i, i, i % 2 ? "true" : "false");
        char plain[200];
        snprintf(plain, sizeof(plain),
                 "{\"prompt\": [\"prompt %d\", \"b\"], \"n\": 2, \"seed\": %d, \"temperature\": 1, \"max_tokens\": 40}",
                 i, i);
        assert_int_equal(post(s, plain, &out), 200);
        add_texts(&alone[i], client_body(nb_buf_str(&out)), 4);
    }
    for (int i = 0; i < N; i++) fd[i] = begin(s, "/v1/completions", body[i]);
    for (int i = 0; i < N; i++) {
        nb_buf texts = {0};
        nb_buf_clear(&out);
        assert_int_equal(end(fd[i], &out), 200);
        nb_buf plain = decoded(&out);
        add_texts(&texts, nb_buf_str(&plain), 4);
        assert_true(nb_str_equal(nb_buf_str(&texts), nb_buf_str(&alone[i])));
        nb_buf_drop(&texts);
        nb_buf_drop(&plain);
        nb_buf_drop(&alone[i]);
    }
    nb_buf_drop(&out);
    fake_server_close(s);
}

static void a_seed_draws_the_same_alone_and_among_other_prompts(void **state)
{
    (void)state;
    fake_server *s = fake_server_open(&(fake_server_options){0});
    nb_buf one = {0}, two = {0}, a = {0}, b = {0};
    assert_int_equal(post(s, "{\"prompt\": \"x\", \"seed\": 5, \"temperature\": 1}", &one), 200);
    assert_int_equal(post(s, "{\"prompt\": [\"y\", \"x\"], \"seed\": 5, \"temperature\": 1}", &two), 200);
    add_texts(&a, client_body(nb_buf_str(&one)), 1);
    add_texts(&b, client_body(nb_buf_str(&two)), 2);
    assert_true(nb_str_ends(nb_buf_str(&b), nb_buf_str(&a)));
    assert_true(a.len > 1);
    nb_buf_drop(&one);
    nb_buf_drop(&two);
    nb_buf_drop(&a);
    nb_buf_drop(&b);
    fake_server_close(s);
}

// The engine is told to cancel at a stop string; for the client and the dashboard that is a stop.
static void a_stop_string_counts_as_a_stop(void **state)
{
    (void)state;
    fake_server *s = fake_server_open(&(fake_server_options){0});
    nb_buf out = {0};
    json_t *reply = NULL;
    nb_error err;
    assert_int_equal(post(s, "{\"prompt\": \"q\", \"max_tokens\": 60, \"temperature\": 0}", &out), 200);
    nb_test_ok(nb_json_parse(client_body(nb_buf_str(&out)), "reply", &reply, &err), &err);
    const char *text = json_string_value(json_object_get(json_array_get(json_object_get(reply, "choices"), 0), "text"));
    const char *letter = text + strcspn(text, "abcdefghijklmnopqrstuvwxyz");
    assert_true(*letter);
    char body[200];
    snprintf(body, sizeof(body), "{\"prompt\": \"q\", \"max_tokens\": 60, \"temperature\": 0, \"stop\": \"%c\"}",
             *letter);
    assert_int_equal(post(s, body, &out), 200);
    expect(&out, "\"finish_reason\":\"stop\"");
    wait_finished(s, NB_FINISH_CANCELLED, 1);
    for (int i = 0; i < WAIT_MS; i++, usleep(1000)) { // the count follows the answer
        client_request(s->port, "GET /metrics", "", (nb_str){0}, &out);
        if (strstr(out.ptr, "finished_reason=\"stop\"} 1\n")) break;
    }
    expect(&out, "finished_reason=\"stop\"} 1\n");
    expect(&out, "finished_reason=\"length\"} 1\n");
    expect(&out, "finished_reason=\"abort\"} 0\n");
    json_decref(reply);
    nb_buf_drop(&out);
    fake_server_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_is_told),
        cmocka_unit_test(choices_that_do_not_fit_are_refused_together),
        cmocka_unit_test(a_failed_device_is_told),
        cmocka_unit_test(a_stream_that_fails_ends_with_the_error),
        cmocka_unit_test(streams_of_other_apis_fail_in_their_form),
        cmocka_unit_test(an_answer_nobody_waits_for_is_cancelled),
        cmocka_unit_test(a_reader_that_never_reads_is_cancelled),
        cmocka_unit_test(stopping_the_engine_ends_all_answers),
        cmocka_unit_test(each_of_many_gets_what_it_gets_alone),
        cmocka_unit_test(a_seed_draws_the_same_alone_and_among_other_prompts),
        cmocka_unit_test(a_stop_string_counts_as_a_stop),
    };
    return nb_test_run("serve/api_faults", tests);
}
