// API keys. See auth.h.
#include "serve/auth.h"

#include <stdlib.h>
#include <strings.h>

#include "base/file.h"
#include "serve/serve_limits.h"

struct nb_auth {
    nb_arena *arena;
    nb_str key[NB_AUTH_KEYS_MAX];
    int n_key;
};

static int add_key(nb_auth *auth, nb_str key, nb_error *err)
{
    if (key.len == 0 || key.len > NB_AUTH_KEY_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "an API key has %zu characters; 1 to %d are supported", key.len,
                            NB_AUTH_KEY_MAX);
    if (auth->n_key == NB_AUTH_KEYS_MAX)
        return nb_error_set(err, NB_ERR_LIMIT, "more than %d API keys", NB_AUTH_KEYS_MAX);
    auth->key[auth->n_key++] = nb_arena_str(auth->arena, key);
    return NB_OK;
}

static nb_str trim(nb_str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) s = nb_str_slice(s, 1, s.len);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t' || s.ptr[s.len - 1] == '\r')) s.len--;
    return s;
}

static int add_file(nb_auth *auth, const char *file, nb_error *err)
{
    nb_str text;
    NB_TRY(nb_file_read(file, (size_t)NB_AUTH_KEYS_MAX * (NB_AUTH_KEY_MAX + 2), auth->arena, &text, err));
    for (size_t from = 0; from < text.len;) {
        int64_t end = nb_str_find(text, NB_STR("\n"), from);
        size_t to = end < 0 ? text.len : (size_t)end;
        nb_str line = trim(nb_str_slice(text, from, to));
        if (line.len > 0 && line.ptr[0] != '#' && add_key(auth, line, err) != NB_OK)
            return nb_error_wrap(err, "%s: ", file);
        from = to + 1;
    }
    return NB_OK;
}

int nb_auth_open(const char *const *key, int n_key, const char *file, nb_auth **out, nb_error *err)
{
    *out = NULL;
    if (n_key == 0 && !file) return NB_OK;
    nb_auth *auth = nb_alloc(sizeof *auth);
    auth->arena = nb_arena_open(0);
    int code = NB_OK;
    for (int i = 0; i < n_key && code == NB_OK; i++) code = add_key(auth, nb_str_from(key[i]), err);
    if (code == NB_OK && file) code = add_file(auth, file, err);
    if (code == NB_OK && auth->n_key == 0) code = nb_error_set(err, NB_ERR_USAGE, "%s contains no API key", file);
    if (code != NB_OK) {
        nb_auth_close(auth);
        return code;
    }
    *out = auth;
    return NB_OK;
}

void nb_auth_close(nb_auth *auth)
{
    if (!auth) return;
    nb_arena_close(auth->arena);
    free(auth);
}

// Looks at every byte of what was given, whatever the key is.
static unsigned differs(nb_str given, nb_str key)
{
    unsigned difference = given.len != key.len;
    for (size_t i = 0; i < given.len; i++) difference |= (uint8_t)given.ptr[i] ^ (uint8_t)key.ptr[i % key.len];
    return difference;
}

bool nb_auth_admits(const nb_auth *auth, nb_str given)
{
    bool admitted = false;
    if (!auth) return true;
    for (int i = 0; i < auth->n_key; i++) admitted |= differs(given, auth->key[i]) == 0;
    return admitted;
}

nb_str nb_auth_bearer(nb_str authorization)
{
    static const char scheme[] = "Bearer ";
    if (authorization.len < sizeof scheme - 1 || strncasecmp(authorization.ptr, scheme, sizeof scheme - 1) != 0)
        return (nb_str){0};
    return nb_str_slice(authorization, sizeof scheme - 1, authorization.len);
}
