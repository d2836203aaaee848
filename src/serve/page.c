// Serves the page: compressed where the client takes that, not at all where it has it already. See page.h.
#include "serve/page.h"

#include <stdlib.h>
#include <strings.h>

// Nothing is loaded from anywhere, requests go to this server only, no other site may frame the page, and the page
// cannot turn text into markup even by mistake: no sink takes a string.
static void set_policy(nb_http_exchange *exchange, const nb_page *page)
{
    nb_buf policy = {0};
    nb_buf_printf(&policy,
                  "default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; "
                  "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
                  "require-trusted-types-for 'script'; trusted-types 'none'",
                  page->script_hash, page->style_hash);
    nb_http_set_header(exchange, "Content-Security-Policy", policy.ptr);
    nb_http_set_header(exchange, "X-Content-Type-Options", "nosniff");
    nb_http_set_header(exchange, "Referrer-Policy", "no-referrer");
    nb_buf_drop(&policy);
}

static void set_etag(nb_http_exchange *exchange, const nb_page *page)
{
    nb_buf etag = {0};
    nb_buf_printf(&etag, "W/\"%s\"", page->etag); // weak: the compressed form has it too
    nb_http_set_header(exchange, "ETag", etag.ptr);
    nb_http_set_header(exchange, "Cache-Control", "no-cache"); // kept, but asked for each time
    nb_http_set_header(exchange, "Vary", "Accept-Encoding");
    nb_buf_drop(&etag);
}

// If-None-Match is * or a list of tags; ours is unlike any other's.
static bool is_known(nb_http_exchange *exchange, const nb_page *page)
{
    nb_str tags = nb_http_request_header(exchange, "If-None-Match");
    return nb_str_equal_c(tags, "*") || nb_str_find(tags, nb_str_from(page->etag), 0) >= 0;
}

static nb_str trim(nb_str s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) s = nb_str_slice(s, 1, s.len);
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) s.len--;
    return s;
}

// One coding of the list, "gzip" or "gzip;q=0.5": is it gzip, and not refused by a weight of zero?
static bool takes_gzip(nb_str coding)
{
    int64_t end = nb_str_find(coding, NB_STR(";"), 0);
    nb_str name = trim(nb_str_slice(coding, 0, end < 0 ? coding.len : (size_t)end));
    if (name.len != 4 || strncasecmp(name.ptr, "gzip", 4)) return false;
    int64_t weight = nb_str_find(coding, NB_STR("q="), 0);
    if (weight < 0) return true;
    for (nb_str q = nb_str_slice(coding, (size_t)weight + 2, coding.len); q.len; q = nb_str_slice(q, 1, q.len))
        if (q.ptr[0] >= '1' && q.ptr[0] <= '9') return true;
    return false;
}

static bool accepts_gzip(nb_http_exchange *exchange)
{
    nb_str list = nb_http_request_header(exchange, "Accept-Encoding");
    for (size_t from = 0; from < list.len;) {
        int64_t comma = nb_str_find(list, NB_STR(","), from);
        size_t end = comma < 0 ? list.len : (size_t)comma;
        if (takes_gzip(nb_str_slice(list, from, end))) return true;
        from = end + 1;
    }
    return false;
}

void nb_page_get(void *user, nb_http_exchange *exchange)
{
    static const char type[] = "text/html; charset=utf-8";
    const nb_page *page = user;
    set_policy(exchange, page);
    set_etag(exchange, page);
    if (is_known(exchange, page)) {
        nb_http_reply(exchange, 304, type, (nb_str){0});
    } else if (page->gzip && accepts_gzip(exchange)) {
        nb_http_set_header(exchange, "Content-Encoding", "gzip");
        nb_http_reply(exchange, 200, type, (nb_str){(const char *)page->gzip, page->n_gzip});
    } else {
        nb_http_reply(exchange, 200, type, (nb_str){(const char *)page->html, page->n_html});
    }
}
