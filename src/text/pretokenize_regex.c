// From Oniguruma's dialect to PCRE2's. They agree on nearly all that tokenizer files use; this file deals with the
// rest:
//   \s  is the property White_Space; PCRE2 adds U+180E.
//   \w  contains the marks; PCRE2 10.42 leaves them out.
//   \h  is a hexadecimal digit there and horizontal space here, (?m) is what PCRE2 calls (?s), [a[b]] and [a&&b] are
//       operations on sets there and plain characters here, (*VERB) and \Q exist here only: all refused.
// ^ and $ match at every line there: PCRE2 is compiled with MULTILINE.
#include "text/pretokenize_internal.h"

#include <string.h>

#define SPACE "\\t-\\r\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define WORD  "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"

typedef struct reader {
    nb_str pattern;
    size_t at;
    bool in_class;
    nb_buf *out;
} reader;

static int refuse(const reader *r, const char *what, nb_error *err)
{
    return nb_error_set(err, NB_ERR_INPUT, "%s at offset %zu of an expression is not supported", what, r->at);
}

static bool sees(const reader *r, const char *text)
{
    return nb_str_starts(nb_str_slice(r->pattern, r->at, r->pattern.len), nb_str_from(text));
}

static void copy(reader *r, size_t n)
{
    nb_str part = nb_str_slice(r->pattern, r->at, r->at + n);
    nb_buf_add_str(r->out, part);
    r->at += part.len;
}

static void put_set(reader *r, bool negated, const char *set)
{
    if (r->in_class) {
        nb_buf_add_c(r->out, set);
    } else {
        nb_buf_printf(r->out, "[%s%s]", negated ? "^" : "", set);
    }
    r->at += 2;
}

static int escape(reader *r, nb_error *err)
{
    char c = r->at + 1 < r->pattern.len ? r->pattern.ptr[r->at + 1] : 0;
    if (c == 'h' || c == 'H') return refuse(r, "\\h", err);
    if (c == 'Q') return refuse(r, "\\Q", err);
    if ((c == 'S' || c == 'W') && r->in_class) return refuse(r, "\\S or \\W inside a set", err);
    if (c == 's' || c == 'S') {
        put_set(r, c == 'S', SPACE);
    } else if (c == 'w' || c == 'W') {
        put_set(r, c == 'W', WORD);
    } else {
        copy(r, 2);
    }
    return NB_OK;
}

static void open_class(reader *r)
{
    r->in_class = true;
    copy(r, 1);
    if (sees(r, "^")) copy(r, 1);
    if (sees(r, "]")) copy(r, 1); // at the start it is a plain character
}

static int in_class(reader *r, nb_error *err)
{
    if (sees(r, "[:")) {
        int64_t end = nb_str_find(r->pattern, NB_STR(":]"), r->at);
        if (end < 0) return refuse(r, "[: without :]", err);
        copy(r, (size_t)end + 2 - r->at);
        return NB_OK;
    }
    if (sees(r, "[")) return refuse(r, "a set inside a set", err);
    if (sees(r, "&&")) return refuse(r, "&& inside a set", err);
    if (sees(r, "]")) r->in_class = false;
    copy(r, 1);
    return NB_OK;
}

static int open_group(reader *r, nb_error *err)
{
    if (sees(r, "(*")) return refuse(r, "(*", err);
    if (sees(r, "(?")) {
        size_t n_flag = strspn(r->pattern.ptr + r->at + 2, "imsx-");
        if (memchr(r->pattern.ptr + r->at + 2, 'm', n_flag)) return refuse(r, "the flag m", err);
    }
    copy(r, 1);
    return NB_OK;
}

int nb_pretokenize_translate(nb_str pattern, nb_buf *out, nb_error *err)
{
    reader r = {.pattern = pattern, .out = out};
    while (r.at < pattern.len) {
        if (sees(&r, "\\")) {
            NB_TRY(escape(&r, err));
        } else if (r.in_class) {
            NB_TRY(in_class(&r, err));
        } else if (sees(&r, "[")) {
            open_class(&r);
        } else if (sees(&r, "(")) {
            NB_TRY(open_group(&r, err));
        } else {
            copy(&r, 1);
        }
    }
    return NB_OK;
}
