// Which handler a request belongs to, and everything that is answered without one.
#include "serve/http_internal.h"

#include <string.h>

const char *nb_http_allowed_origin(const nb_http *http, const char *origin)
{
    for (int i = 0; origin && i < http->options.n_allowed_origin; i++) {
        const char *allowed = http->options.allowed_origin[i];
        if (strcmp(allowed, "*") == 0 || strcmp(allowed, origin) == 0) return allowed;
    }
    return NULL;
}

// "/a/*" takes every longer path below /a/, others only themselves.
static bool path_matches(const char *pattern, nb_str path, nb_str *rest)
{
    nb_str p = nb_str_from(pattern);
    *rest = (nb_str){0};
    if (!nb_str_ends(p, NB_STR("/*"))) return nb_str_equal(p, path);
    p.len--;
    if (!nb_str_starts(path, p) || path.len == p.len) return false;
    *rest = nb_str_slice(path, p.len, path.len);
    return true;
}

static bool method_matches(const char *method, nb_str wanted)
{
    if (nb_str_equal_c(wanted, "HEAD")) return strcmp(method, "GET") == 0;
    return nb_str_equal_c(wanted, method);
}

// The path with the root path taken off; requests come with it or, through a proxy that takes it off, without.
static nb_str without_root(const nb_http *http, nb_str path)
{
    nb_str root = nb_str_from(http->options.root_path);
    if (root.len == 0 || !nb_str_starts(path, root)) return path;
    nb_str rest = nb_str_slice(path, root.len, path.len);
    return rest.len == 0 ? NB_STR("/") : rest.ptr[0] == '/' ? rest : path;
}

// The methods of all routes with this path, as the Allow header has them; empty if the path is not known.
static const char *methods_of(nb_http_exchange *e)
{
    const char *list = "";
    for (int i = 0; i < e->http->options.n_route; i++) {
        const nb_http_route *route = &e->http->route[i];
        nb_str rest;
        if (!path_matches(route->path, e->path, &rest)) continue;
        list = nb_arena_printf(e->arena, "%s%s%s", list, *list ? ", " : "", route->method);
    }
    return list;
}

static void find_route(nb_http_exchange *e)
{
    e->path = without_root(e->http, e->path);
    for (int i = 0; i < e->http->options.n_route && !e->route; i++) {
        const nb_http_route *route = &e->http->route[i];
        if (method_matches(route->method, e->method) && path_matches(route->path, e->path, &e->path_rest))
            e->route = route;
    }
}

static void answer_preflight(nb_http_exchange *e)
{
    if (!e->allow_origin) {
        nb_http_error(e, 400, NULL, "origin_not_allowed", "this origin is not among --allowed-origins");
        return;
    }
    nb_http_set_header(e, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    nb_http_set_header(e, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id, *");
    nb_http_set_header(e, "Access-Control-Max-Age", "600");
    nb_http_reply(e, 204, "text/plain", (nb_str){0});
}

static void answer_unknown(nb_http_exchange *e)
{
    const char *allowed = methods_of(e);
    if (*allowed) {
        nb_http_set_header(e, "Allow", allowed);
        nb_http_error(e, 405, NULL, "method_not_allowed", "this path takes %s, not %.20s", allowed, e->method.ptr);
    } else {
        nb_http_error(e, 404, NULL, "not_found", "there is nothing at this path; the API begins at /v1");
    }
}

// Anthropic's clients send their key in a header of its own.
static bool has_key(nb_http_exchange *e)
{
    const nb_auth *auth = e->http->options.auth;
    return nb_auth_admits(auth, nb_auth_bearer(nb_http_request_header(e, "Authorization"))) ||
           nb_auth_admits(auth, nb_http_request_header(e, "x-api-key"));
}

static bool is_crowded(nb_http *http)
{
    pthread_mutex_lock(&http->lock);
    bool crowded = http->n_link > http->options.n_connection_max;
    pthread_mutex_unlock(&http->lock);
    return crowded;
}

void nb_http_judge(nb_http_exchange *e, int64_t n_byte)
{
    nb_http *http = e->http;
    find_route(e);
    if (e->preflight)
        e->verdict = NB_HTTP_PREFLIGHT;
    else if (http->draining && !(e->route && e->route->access == NB_HTTP_ALWAYS))
        e->verdict = NB_HTTP_DRAINING;
    else if (is_crowded(http))
        e->verdict = NB_HTTP_CROWDED;
    else if (!e->route)
        e->verdict = NB_HTTP_UNKNOWN;
    else if (e->route->access == NB_HTTP_KEYED && !has_key(e))
        e->verdict = NB_HTTP_NO_KEY;
    else if (n_byte > http->options.body_max_bytes)
        e->verdict = NB_HTTP_TOO_LONG;
}

bool nb_http_admit(nb_http_exchange *e)
{
    const nb_http_options *o = &e->http->options;
    switch (e->verdict) {
    case NB_HTTP_ADMITTED: return true;
    case NB_HTTP_PREFLIGHT: answer_preflight(e); break;
    case NB_HTTP_UNKNOWN: answer_unknown(e); break;
    case NB_HTTP_DRAINING:
        nb_http_set_header(e, "Connection", "close");
        nb_http_error(e, 503, NULL, "shutting_down", "the server is shutting down");
        break;
    case NB_HTTP_CROWDED:
        nb_http_set_header(e, "Connection", "close");
        nb_http_error(e, 503, NULL, "too_many_connections", "more than %d connections", o->n_connection_max);
        break;
    case NB_HTTP_NO_KEY:
        nb_http_set_header(e, "WWW-Authenticate", "Bearer");
        nb_http_error(e, 401, NULL, "invalid_api_key",
                      "the API key is missing or wrong; send \"Authorization: Bearer KEY\"");
        break;
    case NB_HTTP_TOO_LONG:
        nb_http_error(e, 413, NULL, "request_too_large", "the body has more than %lld bytes",
                      (long long)o->body_max_bytes);
        break;
    case NB_HTTP_NO_ROOM:
        nb_http_error(e, 503, NULL, "too_many_bytes", "requests of together more than %lld bytes are under way",
                      (long long)o->bodies_max_bytes);
        break;
    }
    return false;
}
