// serve/http: what a client gets for good and bad requests, at once, later and in pieces; and what the server does
// about clients that leave, dawdle, flood it or never read.
#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/sse.h"
#include "support/http_client.h"

enum { MANY = 400 };

typedef struct house {
    nb_http *http;
    int port;
    nb_auth *auth;
    atomic_int n_gone, n_thread, n_cancelled;
    atomic_bool release; // lets /hold answer
} house;

// One exchange that a thread of its own answers.
typedef struct job {
    house *house;
    nb_http_exchange *exchange;
    atomic_bool gone;
} job;

static void echo(void *user, nb_http_exchange *e)
{
    (void)user;
    nb_http_set_header(e, "X-Path-Rest", nb_http_path_rest(e).len ? "yes" : "no");
    nb_http_reply(e, 200, "text/plain", nb_http_body(e));
}

static void on_gone(void *user)
{
    job *j = user;
    j->gone = true;
    j->house->n_gone++;
}

static void start_job(house *h, nb_http_exchange *e, void *(*run)(void *))
{
    job *j = nb_alloc(sizeof *j);
    j->house = h;
    j->exchange = e;
    h->n_thread++;
    nb_http_on_gone(e, on_gone, j);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, j), 0);
    pthread_detach(thread);
}

static void end_job(job *j)
{
    j->house->n_thread--;
    free(j);
}

static void *run_hold(void *user)
{
    job *j = user;
    while (!j->gone && !j->house->release) usleep(1000);
    nb_http_reply(j->exchange, 200, "text/plain", NB_STR("late"));
    end_job(j);
    return NULL;
}

static void hold(void *user, nb_http_exchange *e)
{
    start_job(user, e, run_hold);
}

static void block(void *user, nb_http_exchange *e)
{
    house *h = user;
    h->n_thread++;
    while (!h->release) usleep(1000);
    h->n_thread--;
    echo(user, e);
}

static void *run_count(void *user)
{
    job *j = user;
    nb_sse_open(j->exchange);
    for (int i = 0; i < 200; i++) {
        char text[32];
        snprintf(text, sizeof text, "{\"i\":%d}", i);
        nb_sse_send(j->exchange, NULL, nb_str_from(text));
        if (i % 16 == 0) usleep(500);
    }
    nb_sse_send(j->exchange, NULL, NB_STR("[DONE]"));
    nb_http_stream_end(j->exchange);
    end_job(j);
    return NULL;
}

static void count(void *user, nb_http_exchange *e)
{
    start_job(user, e, run_count);
}

// Sends until it is told to stop.
static void *run_flood(void *user)
{
    job *j = user;
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    nb_http_stream_open(j->exchange, "text/plain");
    while (nb_http_stream_send(j->exchange, (nb_str){piece, sizeof piece}) == NB_OK) usleep(10);
    j->house->n_cancelled++;
    nb_http_stream_end(j->exchange);
    end_job(j);
    return NULL;
}

static void flood(void *user, nb_http_exchange *e)
{
    start_job(user, e, run_flood);
}

static void open_house(house *h, nb_http_options options)
{
    nb_error err = {0};
    memset(h, 0, sizeof *h);
    const nb_http_route route[] = {
        {"GET", "/open", echo, h, NB_HTTP_ALWAYS, NB_HTTP_OPENAI},
        {"POST", "/echo", echo, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/models", echo, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/models/*", echo, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/hold", hold, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/hold", hold, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/count", count, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"GET", "/flood", flood, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/block", block, h, NB_HTTP_KEYED, NB_HTTP_OPENAI},
        {"POST", "/messages", echo, h, NB_HTTP_KEYED, NB_HTTP_ANTHROPIC},
    };
    options.host = "127.0.0.1";
    options.route = route;
    options.n_route = (int)(sizeof route / sizeof *route);
    nb_test_ok(nb_http_open(&options, &h->http, &err), &err);
    h->port = nb_http_port(h->http);
}

static void wait_for(house *h, bool (*done)(house *h))
{
    for (int i = 0; i < 10000 && !done(h); i++) usleep(1000);
    assert_true(done(h));
}

static bool is_idle(house *h)
{
    nb_http_stats stats;
    nb_http_stats_read(h->http, &stats);
    return stats.n_exchange == 0 && h->n_thread == 0;
}

static bool has_no_link(house *h)
{
    nb_http_stats stats;
    nb_http_stats_read(h->http, &stats);
    return stats.n_connection == 0 && stats.n_exchange == 0;
}

static void close_house(house *h)
{
    wait_for(h, is_idle);
    nb_http_close(h->http);
    nb_auth_close(h->auth);
}

static void expect_error(nb_str response, int status, const char *code)
{
    nb_error err = {0};
    json_t *root = NULL;
    assert_int_equal(client_status(response), status);
    nb_test_ok(nb_json_parse(client_body(response), "response", &root, &err), &err);
    const json_t *error = json_object_get(root, "error");
    assert_true(json_is_string(json_object_get(error, "message")));
    assert_true(json_is_string(json_object_get(error, "type")));
    assert_non_null(json_object_get(error, "param"));
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    json_decref(root);
}

static void a_body_comes_back_with_the_request_id(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    open_house(&h, (nb_http_options){0});
    assert_int_equal(client_request(h.port, "POST /echo", "X-Request-Id: abc-1\r\n", NB_STR("hello"), &r), 200);
    assert_true(nb_str_equal_c(client_body(nb_buf_str(&r)), "hello"));
    assert_true(nb_str_equal_c(client_header(nb_buf_str(&r), "x-request-id"), "abc-1"));
    assert_int_equal(client_request(h.port, "POST /echo", "X-Request-Id: a b\r\n", NB_STR("x"), &r), 200);
    assert_int_equal(client_header(nb_buf_str(&r), "X-Request-Id").len, 32);
    nb_buf_drop(&r);
    close_house(&h);
}

static void routes_match_exactly_or_by_their_star(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    open_house(&h, (nb_http_options){.root_path = "/api"});
    assert_int_equal(client_request(h.port, "GET /models", "", (nb_str){0}, &r), 200);
    assert_true(nb_str_equal_c(client_header(nb_buf_str(&r), "X-Path-Rest"), "no"));
    assert_int_equal(client_request(h.port, "GET /api/models/org/name", "", (nb_str){0}, &r), 200);
    assert_true(nb_str_equal_c(client_header(nb_buf_str(&r), "X-Path-Rest"), "yes"));
    assert_int_equal(client_request(h.port, "HEAD /models", "", (nb_str){0}, &r), 200);
    client_request(h.port, "GET /nothing", "", (nb_str){0}, &r);
    expect_error(nb_buf_str(&r), 404, "not_found");
    client_request(h.port, "GET /apimodels", "", (nb_str){0}, &r);
    expect_error(nb_buf_str(&r), 404, "not_found");
    client_request(h.port, "GET /models/", "", (nb_str){0}, &r);
    expect_error(nb_buf_str(&r), 404, "not_found");
    client_request(h.port, "GET /echo", "", (nb_str){0}, &r);
    expect_error(nb_buf_str(&r), 405, "method_not_allowed");
    assert_true(nb_str_equal_c(client_header(nb_buf_str(&r), "Allow"), "POST"));
    nb_buf_drop(&r);
    close_house(&h);
}

static void keys_are_asked_for_except_on_open_routes(void **state)
{
    (void)state;
    house h;
    nb_error err = {0};
    nb_buf r = {0};
    nb_auth *auth;
    nb_test_ok(nb_auth_open((const char *const[]){"first", "second"}, 2, NULL, &auth, &err), &err);
    open_house(&h, (nb_http_options){.auth = auth});
    h.auth = auth;
    assert_int_equal(client_request(h.port, "GET /open", "", (nb_str){0}, &r), 200);
    assert_int_equal(client_request(h.port, "GET /models", "Authorization: Bearer second\r\n", (nb_str){0}, &r), 200);
    assert_int_equal(client_request(h.port, "GET /models", "x-api-key: second\r\n", (nb_str){0}, &r), 200);
    assert_int_equal(client_request(h.port, "GET /models", "x-api-key: secon\r\n", (nb_str){0}, &r), 401);
    client_request(h.port, "GET /models", "", (nb_str){0}, &r);
    expect_error(nb_buf_str(&r), 401, "invalid_api_key");
    static const char *const wrong[] = {"Bearer firs", "Bearer firstfirst", "Bearer ", "Basic first", "first"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char header[64];
        snprintf(header, sizeof header, "Authorization: %s\r\n", wrong[i]);
        assert_int_equal(client_request(h.port, "GET /models", header, (nb_str){0}, &r), 401);
    }
    nb_buf_drop(&r);
    close_house(&h);
}

static void errors_have_the_form_of_their_path(void **state)
{
    (void)state;
    house h;
    nb_error err = {0};
    nb_buf r = {0};
    nb_auth *auth;
    nb_test_ok(nb_auth_open((const char *const[]){"first"}, 1, NULL, &auth, &err), &err);
    open_house(&h, (nb_http_options){.auth = auth, .body_max_bytes = 10});
    h.auth = auth;
    assert_int_equal(client_request(h.port, "POST /messages", "X-Request-Id: me\r\n", (nb_str){0}, &r), 401);
    assert_true(nb_str_starts(client_body(nb_buf_str(&r)),
                              NB_STR("{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":")));
    assert_true(nb_str_ends(nb_buf_str(&r),
                            NB_STR("\"details\":{\"error_code\":\"invalid_api_key\"}},\"request_id\":\"me\"}")));
    assert_true(nb_str_equal_c(client_header(nb_buf_str(&r), "request-id"), "me"));
    client_request(h.port, "POST /messages", "x-api-key: first\r\n", NB_STR("more than ten bytes"), &r);
    assert_true(nb_str_find(nb_buf_str(&r), NB_STR("\"request_too_large\""), 0) > 0);
    client_request(h.port, "POST /echo", "x-api-key: first\r\n", NB_STR("more than ten bytes"), &r);
    expect_error(nb_buf_str(&r), 413, "request_too_large");
    nb_buf_drop(&r);
    close_house(&h);
}

static void origins_are_told_what_they_may(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    open_house(&h,
               (nb_http_options){.allowed_origin = (const char *const[]){"https://a.example"}, .n_allowed_origin = 1});
    assert_int_equal(client_request(h.port, "GET /models", "Origin: https://a.example\r\n", (nb_str){0}, &r), 200);
    assert_true(nb_str_equal_c(client_header(nb_buf_str(&r), "Access-Control-Allow-Origin"), "https://a.example"));
    assert_int_equal(client_request(h.port, "GET /models", "Origin: https://b.example\r\n", (nb_str){0}, &r), 200);
    assert_int_equal(client_header(nb_buf_str(&r), "Access-Control-Allow-Origin").len, 0);
    const char *ask = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    assert_int_equal(client_request(h.port, "OPTIONS /echo", ask, (nb_str){0}, &r), 204);
    assert_true(client_header(nb_buf_str(&r), "Access-Control-Allow-Methods").len > 0);
    nb_buf_drop(&r);
    close_house(&h);
}

static void too_long_bodies_get_413(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0}, body = {0};
    open_house(&h, (nb_http_options){.body_max_bytes = 1 << 20});
    nb_buf_reserve(&body, 100 << 20);
    memset(body.ptr, 'a', 100 << 20);
    assert_int_equal(client_request(h.port, "POST /echo", "", (nb_str){body.ptr, 1 << 20}, &r), 200);
    assert_int_equal(client_body(nb_buf_str(&r)).len, 1 << 20);
    client_request(h.port, "POST /echo", "", (nb_str){body.ptr, (1 << 20) + 1}, &r);
    expect_error(nb_buf_str(&r), 413, "request_too_large");
    client_request(h.port, "POST /echo", "", (nb_str){body.ptr, 100 << 20}, &r);
    expect_error(nb_buf_str(&r), 413, "request_too_large");
    // Announced and never sent, with the question whether to send it.
    int fd = client_connect(h.port);
    client_send(
        fd, NB_STR("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"));
    nb_buf_clear(&r);
    assert_true(client_read_until(fd, &r, "request_too_large", 5000));
    assert_int_equal(client_status(nb_buf_str(&r)), 413);
    close(fd);
    // In chunks, without saying how much.
    fd = client_connect(h.port);
    client_send(
        fd,
        NB_STR("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n"));
    client_send(fd, (nb_str){body.ptr, 0x200000});
    client_send(fd, NB_STR("\r\n0\r\n\r\n"));
    nb_buf_clear(&r);
    client_read(fd, &r, 5000);
    expect_error(nb_buf_str(&r), 413, "request_too_large");
    close(fd);
    nb_buf_drop(&body);
    nb_buf_drop(&r);
    close_house(&h);
}

static void wrong_requests_get_4xx_and_the_server_lives(void **state)
{
    (void)state;
    static const char *const request[] = {
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET /open\r\n\r\n",
        "GET /open HTTP/9.9\r\n\r\n",
        "GET /open HTTP/1.1\r\n\r\n", // without a Host
        "\x00\x01\x02\xff\xfe\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5x\r\n\r\nabcde",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "GET /%ff%00%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "BREW /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /open HTTP/1.1\r\nHost x\r\nA\r\n: b\r\n\r\n",
    };
    house h;
    nb_buf r = {0};
    open_house(&h, (nb_http_options){.receive_timeout_s = 1});
    int fd[sizeof request / sizeof *request];
    for (size_t i = 0; i < sizeof request / sizeof *request; i++) {
        fd[i] = client_connect(h.port);
        client_send(fd[i], nb_str_from(request[i]));
    }
    for (size_t i = 0; i < sizeof request / sizeof *request; i++) {
        nb_buf_clear(&r);
        assert_true(client_read(fd[i], &r, 10000)); // answered or not, the connection ends
        int status = client_status(nb_buf_str(&r));
        if (r.len > 0 && !(status >= 400 && status <= 505)) fail_msg("request %zu got %.80s", i, r.ptr);
        close(fd[i]);
    }
    nb_buf head = {0};
    nb_buf_add_c(&head, "A: ");
    for (int i = 0; i < NB_HTTP_HEAD_MAX; i++) nb_buf_add_char(&head, 'a');
    nb_buf_add_c(&head, "\r\n");
    int status = client_request(h.port, "GET /open", head.ptr, (nb_str){0}, &r);
    assert_true(status == 431 || status == 0);
    assert_int_equal(client_request(h.port, "GET /open", "", (nb_str){0}, &r), 200);
    nb_buf_drop(&head);
    nb_buf_drop(&r);
    close_house(&h);
}

static void a_stream_arrives_whole_and_in_order(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0}, want = {0};
    open_house(&h, (nb_http_options){0});
    int fd = client_connect(h.port);
    client_send(fd, NB_STR("GET /count HTTP/1.0\r\n\r\n")); // 1.0: no chunks to take apart
    assert_true(client_read(fd, &r, 10000));
    close(fd);
    for (int i = 0; i < 200; i++) nb_buf_printf(&want, "data: {\"i\":%d}\n\n", i);
    nb_buf_add_c(&want, "data: [DONE]\n\n");
    assert_true(nb_str_equal(client_body(nb_buf_str(&r)), nb_buf_str(&want)));
    assert_true(nb_str_starts(client_header(nb_buf_str(&r), "Content-Type"), NB_STR("text/event-stream")));
    nb_buf_drop(&want);
    nb_buf_drop(&r);
    close_house(&h);
}

static void one_connection_serves_many_requests(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    open_house(&h, (nb_http_options){0});
    int fd = client_connect(h.port);
    for (int i = 0; i < 50; i++) {
        nb_buf_clear(&r);
        client_send(fd, NB_STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nend!"));
        assert_true(client_read_until(fd, &r, "end!", 5000));
        nb_buf_clear(&r);
        client_send(fd, NB_STR("GET /count HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_true(client_read_until(fd, &r, "[DONE]\n\n\r\n0\r\n\r\n", 5000));
    }
    close(fd);
    nb_buf_drop(&r);
    close_house(&h);
}

static bool all_gone(house *h)
{
    return h->n_gone == MANY && h->n_thread == 0;
}

static void clients_that_vanish_are_noticed_while_nothing_is_sent(void **state)
{
    (void)state;
    house h;
    open_house(&h, (nb_http_options){0});
    int fd[MANY];
    for (int i = 0; i < MANY; i++) {
        fd[i] = client_connect(h.port);
        client_send(fd[i], i % 2 ? NB_STR("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
                                 : NB_STR("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"));
        if (i % 3 == 0) close(fd[i]); // at once, perhaps before the server has seen it
    }
    for (int i = 0; i < 10000 && h.n_thread + h.n_gone < MANY * 2 / 3; i++) usleep(1000);
    for (int i = 0; i < MANY; i++) {
        if (i % 3) close(fd[i]);
    }
    wait_for(&h, is_idle);
    // A reset before the request was read leaves no exchange to be told.
    assert_true(all_gone(&h) || (h.n_gone >= MANY * 2 / 3 && h.n_thread == 0));
    wait_for(&h, has_no_link);
    close_house(&h);
}

static bool flood_is_cancelled(house *h)
{
    return h->n_cancelled == 1 && h->n_thread == 0;
}

static void a_reader_that_never_reads_is_cancelled(void **state)
{
    (void)state;
    house h;
    nb_http_stats stats;
    open_house(&h, (nb_http_options){.stream_buffer_max_bytes = 1 << 16});
    int fd = client_connect(h.port);
    client_send(fd, NB_STR("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n"));
    wait_for(&h, flood_is_cancelled);
    wait_for(&h, has_no_link);
    nb_http_stats_read(h.http, &stats);
    assert_int_equal(stats.n_slow, 1);
    close(fd);
    close_house(&h);
}

static void a_client_that_leaves_a_stream_is_noticed(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    open_house(&h, (nb_http_options){.stream_buffer_max_bytes = 1 << 30});
    int fd = client_connect(h.port);
    client_send(fd, NB_STR("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(client_read_until(fd, &r, "xxxx", 5000));
    close(fd);
    wait_for(&h, flood_is_cancelled);
    assert_int_equal(h.n_gone, 1);
    nb_buf_drop(&r);
    close_house(&h);
}

static void a_request_that_dribbles_in_is_ended(void **state)
{
    (void)state;
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\naaaaaaaaaaaaaaaaaaaaaaaa";
    house h;
    nb_buf r = {0};
    open_house(&h, (nb_http_options){.receive_timeout_s = 1});
    int fd = client_connect(h.port);
    int64_t begin_us = nb_clock_us();
    for (size_t i = 0; i < sizeof text - 1 && client_send(fd, (nb_str){text + i, 1}); i++) usleep(50000);
    assert_true(client_read(fd, &r, 5000));
    assert_true(nb_clock_us() - begin_us > 900000);
    close(fd);
    wait_for(&h, has_no_link);
    nb_buf_drop(&r);
    close_house(&h);
}

// Bodies of requests that are under way share a limit; those without a key are not kept at all.
static void bodies_share_a_limit(void **state)
{
    (void)state;
    house h;
    nb_error err = {0};
    nb_auth *auth;
    nb_buf r = {0}, request = {0}, body = {0};
    const char *const key[] = {"key"};
    nb_test_ok(nb_auth_open(key, 1, NULL, &auth, &err), &err);
    open_house(&h, (nb_http_options){.bodies_max_bytes = 5000, .auth = auth});
    h.auth = auth;
    for (int i = 0; i < 3000; i++) nb_buf_add_char(&body, 'a');
    nb_buf_printf(&request,
                  "POST /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer key\r\n"
                  "Content-Length: 3000\r\n\r\n%s",
                  body.ptr);
    int held = client_connect(h.port);
    client_send(held, nb_buf_str(&request));
    for (int i = 0; i < 10000 && h.n_thread == 0; i++) usleep(1000);
    client_request(h.port, "POST /echo", "Authorization: Bearer key\r\n", nb_buf_str(&body), &r);
    expect_error(nb_buf_str(&r), 503, "too_many_bytes");
    assert_true(client_header(nb_buf_str(&r), "Retry-After").len > 0);
    client_request(h.port, "POST /echo", "", nb_buf_str(&body), &r);
    expect_error(nb_buf_str(&r), 401, "invalid_api_key");
    assert_int_equal(client_request(h.port, "POST /echo", "Authorization: Bearer key\r\n", NB_STR("b"), &r), 200);
    h.release = true;
    assert_true(client_read(held, &r, 10000));
    close(held);
    wait_for(&h, is_idle);
    assert_int_equal(client_request(h.port, "POST /echo", "Authorization: Bearer key\r\n", nb_buf_str(&body), &r), 200);
    nb_buf_drop(&r);
    nb_buf_drop(&body);
    nb_buf_drop(&request);
    close_house(&h);
}

// A key is asked for before the body comes.
static void a_client_that_asks_first_learns_that_it_has_no_key(void **state)
{
    (void)state;
    house h;
    nb_error err = {0};
    nb_auth *auth;
    nb_buf r = {0};
    const char *const key[] = {"key"};
    nb_test_ok(nb_auth_open(key, 1, NULL, &auth, &err), &err);
    open_house(&h, (nb_http_options){.auth = auth});
    h.auth = auth;
    int fd = client_connect(h.port);
    client_send(fd, NB_STR("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"));
    assert_true(client_read_until(fd, &r, "invalid_api_key", 5000));
    assert_int_equal(client_status(nb_buf_str(&r)), 401);
    close(fd);
    nb_buf_drop(&r);
    wait_for(&h, has_no_link);
    close_house(&h);
}

// One HTTP thread, and handlers that are busy with large bodies: small requests are served meanwhile.
static void large_bodies_stall_nobody(void **state)
{
    (void)state;
    enum { N = 3, N_BYTE = NB_HTTP_INLINE_BODY_MAX + 1 };
    house h;
    nb_buf r = {0}, body = {0};
    int fd[N];
    open_house(&h, (nb_http_options){.n_thread = 1});
    nb_buf_printf(&body, "POST /block HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", N_BYTE);
    for (int i = 0; i < N_BYTE; i++) nb_buf_add_char(&body, 'a');
    for (int i = 0; i < N; i++) {
        fd[i] = client_connect(h.port);
        client_send(fd[i], nb_buf_str(&body));
    }
    for (int i = 0; i < 10000 && h.n_thread == 0; i++) usleep(1000);
    assert_int_equal(client_request(h.port, "GET /open", "", (nb_str){0}, &r), 200);
    assert_int_equal(client_request(h.port, "POST /echo", "", NB_STR("small"), &r), 200);
    close(fd[N - 1]); // left while its request still waits
    h.release = true;
    for (int i = 0; i < N - 1; i++) {
        nb_buf_clear(&r);
        assert_true(client_read(fd[i], &r, 10000));
        assert_int_equal(client_status(nb_buf_str(&r)), 200);
        assert_int_equal(client_body(nb_buf_str(&r)).len, N_BYTE);
        close(fd[i]);
    }
    nb_buf_drop(&r);
    nb_buf_drop(&body);
    close_house(&h);
}

// Also where libmicrohttpd does not look: blank lines before a request, then nothing.
static void a_client_that_hangs_up_before_it_asks_is_forgotten(void **state)
{
    (void)state;
    static const char *const request[] = {"\r\n\r\n", "", "GET /op", "GET /open HTTP/1.1\r\nHost: x\r\n"};
    house h;
    open_house(&h, (nb_http_options){0});
    for (size_t i = 0; i < sizeof request / sizeof *request; i++) {
        int fd = client_connect(h.port);
        client_send(fd, nb_str_from(request[i]));
        close(fd);
    }
    wait_for(&h, has_no_link); // ten seconds at most; a request has sixty
    close_house(&h);
}

// Half a request and then silence: the client learns why its connection ends, wherever it stopped. One that has not
// begun to ask is only closed.
static void a_request_that_stops_half_way_gets_408(void **state)
{
    (void)state;
    static const char *const request[] = {
        "GET /open HTTP/1.1\r\nHost: x\r\nA: ",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "",
        "GET /open HTTP/1.1\r\nHost: x\r\n\r\n", // answered; nothing follows on the same connection
    };
    enum { N = sizeof request / sizeof *request, N_HALF = 3 };
    house h;
    int fd[N];
    open_house(&h, (nb_http_options){.receive_timeout_s = 1});
    for (int i = 0; i < N; i++) {
        fd[i] = client_connect(h.port);
        client_send(fd[i], nb_str_from(request[i]));
    }
    for (int i = 0; i < N; i++) {
        nb_buf r = {0};
        assert_true(client_read(fd[i], &r, 10000));
        if (i < N_HALF) expect_error(nb_buf_str(&r), 408, "request_timeout");
        if (i >= N_HALF) assert_true(!r.ptr || !strstr(r.ptr, "408"));
        nb_buf_drop(&r);
        close(fd[i]);
    }
    wait_for(&h, has_no_link);
    close_house(&h);
}

static void connections_above_the_limit_get_503(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    int fd[8];
    open_house(&h, (nb_http_options){.n_connection_max = 8});
    for (int i = 0; i < 8; i++) {
        fd[i] = client_connect(h.port);
        client_send(fd[i], NB_STR("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    for (int i = 0; i < 10000 && h.n_thread < 8; i++) usleep(1000);
    client_request(h.port, "GET /models", "", (nb_str){0}, &r);
    expect_error(nb_buf_str(&r), 503, "too_many_connections");
    assert_true(client_header(nb_buf_str(&r), "Retry-After").len > 0);
    for (int i = 0; i < 8; i++) close(fd[i]);
    wait_for(&h, has_no_link);
    assert_int_equal(client_request(h.port, "GET /models", "", (nb_str){0}, &r), 200);
    nb_buf_drop(&r);
    close_house(&h);
}

static void two_thousand_connections_are_served(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0};
    static int fd[2000];
    open_house(&h, (nb_http_options){0});
    for (int i = 0; i < 2000; i++) fd[i] = client_connect(h.port);
    for (int i = 0; i < 2000; i++)
        client_send(fd[i], NB_STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nend!"));
    for (int i = 0; i < 2000; i++) {
        nb_buf_clear(&r);
        int64_t begin_us = nb_clock_us();
        if (!client_read_until(fd[i], &r, "end!", 10000))
            fail_msg("connection %d: after %lld ms \"%.*s\"", i, (long long)(nb_clock_us() - begin_us) / 1000,
                     (int)r.len, r.len ? r.ptr : "");
        assert_int_equal(client_status(nb_buf_str(&r)), 200);
    }
    for (int i = 0; i < 2000; i++) close(fd[i]);
    wait_for(&h, has_no_link);
    nb_buf_drop(&r);
    close_house(&h);
}

static void draining_finishes_what_runs_and_refuses_the_rest(void **state)
{
    (void)state;
    house h;
    nb_buf r = {0}, old = {0};
    open_house(&h, (nb_http_options){0});
    int running = client_connect(h.port), idle = client_connect(h.port), probe = client_connect(h.port);
    client_send(running, NB_STR("GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    client_send(idle, NB_STR("GET /models HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(client_read_until(idle, &old, "\r\n\r\n", 5000));
    client_send(probe, NB_STR("GET /open HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(client_read_until(probe, &r, "\r\n\r\n", 5000));
    for (int i = 0; i < 10000 && h.n_thread < 1; i++) usleep(1000);
    assert_false(nb_http_drain(h.http, 1));
    assert_true(nb_http_is_draining(h.http));
    nb_buf_clear(&old);
    client_send(idle, NB_STR("GET /models HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(client_read(idle, &old, 5000));
    expect_error(nb_buf_str(&old), 503, "shutting_down");
    nb_buf_clear(&r);
    client_send(probe, NB_STR("GET /open HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_true(client_read_until(probe, &r, "\r\n\r\n", 5000));
    assert_int_equal(client_status(nb_buf_str(&r)), 200);
    h.release = true;
    nb_buf_clear(&r);
    assert_true(client_read(running, &r, 5000));
    assert_true(nb_str_equal_c(client_body(nb_buf_str(&r)), "late"));
    assert_true(nb_http_drain(h.http, 5));
    close(running);
    close(idle);
    close(probe);
    nb_buf_drop(&old);
    nb_buf_drop(&r);
    close_house(&h);
}

static void closing_tells_every_handler(void **state)
{
    (void)state;
    house h;
    int fd[32];
    open_house(&h, (nb_http_options){0});
    for (int i = 0; i < 32; i++) {
        fd[i] = client_connect(h.port);
        client_send(fd[i], i % 2 ? NB_STR("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
                                 : NB_STR("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    for (int i = 0; i < 10000 && h.n_thread < 16; i++) usleep(1000);
    nb_http_close(h.http);
    for (int i = 0; i < 1000 && h.n_thread > 0; i++) usleep(1000);
    assert_int_equal(h.n_thread, 0);
    for (int i = 0; i < 32; i++) close(fd[i]);
}

static void tls_serves_with_a_certificate(void **state)
{
    (void)state;
    char cert[256], key[256], command[1024];
    snprintf(cert, sizeof cert, "%s/cert.pem", nb_test_tmp());
    snprintf(key, sizeof key, "%s/key.pem", nb_test_tmp());
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout %s -out %s >/dev/null 2>&1",
             key, cert);
    if (system(command) != 0) skip(); // no openssl here
    house h;
    open_house(&h, (nb_http_options){.ssl_certfile = cert, .ssl_keyfile = key});
    snprintf(command, sizeof command,
             "printf 'GET /open HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | timeout 10 openssl "
             "s_client -quiet "
             "-verify_return_error -CAfile %s -connect 127.0.0.1:%d 2>/dev/null",
             cert, h.port);
    FILE *pipe = popen(command, "r");
    char answer[512] = "";
    assert_true(fread(answer, 1, sizeof answer - 1, pipe) > 0);
    pclose(pipe);
    assert_int_equal(client_status(nb_str_from(answer)), 200);
    close_house(&h);
    nb_error err = {0};
    nb_http_options half = {.host = "127.0.0.1", .ssl_certfile = cert};
    nb_test_fails(nb_http_open(&half, &h.http, &err), &err, "--ssl-keyfile");
}

static void a_taken_port_is_named(void **state)
{
    (void)state;
    house h;
    nb_http *second;
    nb_error err = {0};
    open_house(&h, (nb_http_options){0});
    nb_http_options options = {.host = "127.0.0.1", .port = h.port};
    nb_test_fails(nb_http_open(&options, &second, &err), &err, "in use");
    close_house(&h);
}

int main(void)
{
    nb_log_open(NB_LOG_OFF, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_comes_back_with_the_request_id),
        cmocka_unit_test(routes_match_exactly_or_by_their_star),
        cmocka_unit_test(keys_are_asked_for_except_on_open_routes),
        cmocka_unit_test(errors_have_the_form_of_their_path),
        cmocka_unit_test(origins_are_told_what_they_may),
        cmocka_unit_test(too_long_bodies_get_413),
        cmocka_unit_test(wrong_requests_get_4xx_and_the_server_lives),
        cmocka_unit_test(a_stream_arrives_whole_and_in_order),
        cmocka_unit_test(one_connection_serves_many_requests),
        cmocka_unit_test(clients_that_vanish_are_noticed_while_nothing_is_sent),
        cmocka_unit_test(a_reader_that_never_reads_is_cancelled),
        cmocka_unit_test(a_client_that_leaves_a_stream_is_noticed),
        cmocka_unit_test(a_request_that_dribbles_in_is_ended),
        cmocka_unit_test(bodies_share_a_limit),
        cmocka_unit_test(a_client_that_asks_first_learns_that_it_has_no_key),
        cmocka_unit_test(large_bodies_stall_nobody),
        cmocka_unit_test(a_client_that_hangs_up_before_it_asks_is_forgotten),
        cmocka_unit_test(a_request_that_stops_half_way_gets_408),
        cmocka_unit_test(connections_above_the_limit_get_503),
        cmocka_unit_test(two_thousand_connections_are_served),
        cmocka_unit_test(draining_finishes_what_runs_and_refuses_the_rest),
        cmocka_unit_test(closing_tells_every_handler),
        cmocka_unit_test(tls_serves_with_a_certificate),
        cmocka_unit_test(a_taken_port_is_named),
    };
    return nb_test_run("serve/http", tests);
}
