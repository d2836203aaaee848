// GET /: who gets which form of the page, and what comes with it.
#include "support/api_server.h"
#include "support/check.h"
#include "support/demo.h"
#include "support/http_client.h"

#include <string.h>

#include "base/log.h"
#include "serve/api.h"
#include "serve/page.h"

static const unsigned char html[] = {'<', 'p', '>'}, gzip[] = {0x1f, 0x8b, 8, 0};
static const nb_page page = {
    .html = html,
    .n_html = sizeof html,
    .gzip = gzip,
    .n_gzip = sizeof gzip,
    .etag = "0123abcd",
    .script_hash = "'sha256-AAAA='",
    .style_hash = "'sha256-BBBB='",
};

static nb_auth *auth;
static nb_http *http;

static void open_server(void)
{
    nb_error err = {0};
    const char *const keys[] = {"secret"};
    const nb_http_route route = {"GET", "/", nb_page_get, (void *)(uintptr_t)&page, NB_HTTP_OPEN, NB_HTTP_OPENAI};
    nb_log_open(NB_LOG_OFF, false);
    nb_test_ok(nb_auth_open(keys, 1, NULL, &auth, &err), &err);
    nb_http_options options = {
        .host = "127.0.0.1", .root_path = "/llm", .route = &route, .n_route = 1, .auth = auth, .n_thread = 1};
    nb_test_ok(nb_http_open(&options, &http, &err), &err);
}

static int get(const char *line, const char *headers, nb_buf *response)
{
    if (!http) open_server();
    return client_request(nb_http_port(http), line, headers, (nb_str){0}, response);
}

static nb_str header(const nb_buf *response, const char *name)
{
    return client_header(nb_buf_str(response), name);
}

static void page_is_compressed_for_those_who_take_it(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        bool compressed;
    } cases[] = {
        {"", false},
        {"Accept-Encoding: gzip\r\n", true},
        {"Accept-Encoding: br, GZIP;q=0.5 , deflate\r\n", true},
        {"Accept-Encoding: gzip;q=0.000, identity\r\n", false},
        {"Accept-Encoding: gzip ; q=0\r\n", false},
        {"Accept-Encoding: x-gzipped, ,;,\r\n", false},
        {"Accept-Encoding: identity\r\n", false},
    };
    nb_buf response = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(get("GET /", cases[i].headers, &response), 200);
        nb_str body = client_body(nb_buf_str(&response));
        assert_true(nb_str_equal_c(header(&response, "Content-Encoding"), cases[i].compressed ? "gzip" : ""));
        assert_int_equal(body.len, cases[i].compressed ? sizeof gzip : sizeof html);
        assert_memory_equal(body.ptr, cases[i].compressed ? gzip : html, body.len);
        assert_true(nb_str_equal_c(header(&response, "Vary"), "Accept-Encoding"));
        assert_true(nb_str_equal_c(header(&response, "Content-Type"), "text/html; charset=utf-8"));
    }
    nb_buf_drop(&response);
}

static void page_that_is_known_is_not_sent_again(void **state)
{
    (void)state;
    static const char *const known[] = {"If-None-Match: W/\"0123abcd\"\r\n", "If-None-Match: *\r\n",
                                        "If-None-Match: \"other\", \"0123abcd\"\r\nAccept-Encoding: gzip\r\n"};
    nb_buf response = {0};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(get("GET /", known[i], &response), 304);
        assert_int_equal(client_body(nb_buf_str(&response)).len, 0);
        assert_true(nb_str_equal_c(header(&response, "ETag"), "W/\"0123abcd\""));
    }
    assert_int_equal(get("GET /", "If-None-Match: W/\"0123abce\"\r\n", &response), 200);
    nb_buf_drop(&response);
}

static void policy_lets_nothing_in(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "default-src 'none'", "script-src 'sha256-AAAA=';", "style-src 'sha256-BBBB=';",
        "connect-src 'self'", "frame-ancestors 'none'",     "base-uri 'none'",
        "form-action 'none'", "require-trusted-types-for",
    };
    nb_buf response = {0};
    assert_int_equal(get("GET /", "", &response), 200);
    nb_str policy = header(&response, "Content-Security-Policy");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (nb_str_find(policy, nb_str_from(parts[i]), 0) < 0) fail_msg("the policy lacks %s", parts[i]);
    assert_true(nb_str_find(policy, NB_STR("unsafe"), 0) < 0);
    assert_true(nb_str_equal_c(header(&response, "X-Content-Type-Options"), "nosniff"));
    assert_true(nb_str_equal_c(header(&response, "Referrer-Policy"), "no-referrer"));
    nb_buf_drop(&response);
}

static void page_is_at_the_root_path_and_needs_no_key(void **state)
{
    (void)state;
    nb_buf response = {0};
    assert_int_equal(get("GET /llm", "", &response), 200);
    assert_int_equal(get("GET /llm/", "", &response), 200);
    assert_int_equal(get("GET /llm/other", "", &response), 404);
    assert_int_equal(get("POST /", "", &response), 405);
    assert_int_equal(get("HEAD /", "", &response), 200);
    assert_int_equal(client_body(nb_buf_str(&response)).len, 0);
    assert_true(nb_str_equal_c(header(&response, "Content-Length"), "3"));
    nb_buf_drop(&response);
}

static bool has_page(bool no_page)
{
    nb_error err = {0};
    nb_api *api;
    nb_http_route route[NB_API_ROUTES_MAX];
    nb_api_options options = {.tokenizer = api_server_get()->tokenizer,
                              .vocab_size = nb_demo_get()->vocab,
                              .model_name = {"m"},
                              .n_model_name = 1,
                              .no_page = no_page};
    nb_test_ok(nb_api_open(&options, &api, &err), &err);
    int n = nb_api_routes(api, route);
    bool found = false;
    for (int i = 0; i < n; i++) found |= !strcmp(route[i].path, "/") && route[i].user == &nb_page_built;
    nb_api_close(api);
    return found;
}

static void page_can_be_left_out(void **state)
{
    (void)state;
    assert_true(has_page(false));
    assert_false(has_page(true));
    assert_true(nb_page_built.n_html > 0 && strlen(nb_page_built.etag) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_compressed_for_those_who_take_it),
        cmocka_unit_test(page_that_is_known_is_not_sent_again),
        cmocka_unit_test(policy_lets_nothing_in),
        cmocka_unit_test(page_is_at_the_root_path_and_needs_no_key),
        cmocka_unit_test(page_can_be_left_out),
    };
    int failed = nb_test_run("page", tests);
    nb_http_close(http);
    nb_auth_close(auth);
    return failed;
}
