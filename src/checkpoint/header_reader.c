// Tokens of a safetensors header. Errors state the byte of the header, so that the place can be found with a dump.
#include "checkpoint/header_reader.h"

#include <string.h>

static int fail(nb_header_reader *r, const char *what)
{
    return nb_error_set(r->err, NB_ERR_INPUT, "byte %zu of the header: %s", (size_t)(r->at - r->begin), what);
}

static void skip_space(nb_header_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

bool nb_header_take(nb_header_reader *r, char c)
{
    skip_space(r);
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

int nb_header_expect(nb_header_reader *r, char c)
{
    if (nb_header_take(r, c)) return NB_OK;
    char what[] = "expected \"?\"; this is not the JSON of a safetensors header";
    *strchr(what, '?') = c;
    return fail(r, what);
}

int nb_header_end(nb_header_reader *r)
{
    skip_space(r);
    return r->at == r->end ? NB_OK : fail(r, "text after the end of the JSON object");
}

int nb_header_number(nb_header_reader *r, uint64_t *out)
{
    skip_space(r);
    uint64_t value = 0;
    const char *first = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (value > (INT64_MAX - 9) / 10) return fail(r, "a number is too large");
        value = 10 * value + (uint64_t)(*r->at - '0');
    }
    if (r->at == first) return fail(r, "expected a whole number that is not negative");
    *out = value;
    return NB_OK;
}

static int read_hex4(nb_header_reader *r, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = r->at < r->end ? *r->at : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return fail(r, "\\u needs four hexadecimal digits");
        *out = *out << 4 | (uint32_t)digit;
    }
    return NB_OK;
}

static int read_code_point(nb_header_reader *r)
{
    uint32_t code, low;
    NB_TRY(read_hex4(r, &code));
    if (code >= 0xd800 && code < 0xdc00) {
        if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u') return fail(r, "half a surrogate pair");
        r->at += 2;
        NB_TRY(read_hex4(r, &low));
        if (low < 0xdc00 || low >= 0xe000) return fail(r, "half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return fail(r, "half a surrogate pair");
    }
    char utf8[4];
    nb_buf_add(&r->scratch, utf8, (size_t)nb_utf8_encode(code, utf8));
    return NB_OK;
}

static int read_escape(nb_header_reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end) return fail(r, "the header ends inside a string");
    char c = *r->at++;
    if (c == 'u') return read_code_point(r);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return fail(r, "unknown escape in a string");
    nb_buf_add_char(&r->scratch, to[found - from]);
    return NB_OK;
}

// The rest of a string in which an escape was met.
static int read_escaped(nb_header_reader *r, const char *first)
{
    nb_buf_clear(&r->scratch);
    nb_buf_add(&r->scratch, first, (size_t)(r->at - first));
    while (r->at < r->end && *r->at != '"') {
        char c = *r->at;
        if ((unsigned char)c < 0x20) return fail(r, "a control character in a string");
        r->at++;
        if (c == '\\')
            NB_TRY(read_escape(r));
        else
            nb_buf_add_char(&r->scratch, c);
    }
    return NB_OK;
}

int nb_header_string(nb_header_reader *r, nb_str *out)
{
    NB_TRY(nb_header_expect(r, '"'));
    const char *first = r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20) r->at++;
    *out = (nb_str){first, (size_t)(r->at - first)};
    if (r->at < r->end && *r->at != '"') {
        NB_TRY(read_escaped(r, first));
        *out = nb_buf_str(&r->scratch);
    }
    if (r->at == r->end) return fail(r, "the header ends inside a string");
    r->at++;
    return nb_utf8_valid(*out) ? NB_OK : fail(r, "a string is not valid UTF-8");
}
