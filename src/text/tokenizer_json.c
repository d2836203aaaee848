// See tokenizer_json.h.
#include "text/tokenizer_json.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(nb_json_cursor *c)
{
    while (c->at < c->text.len && is_space(c->text.ptr[c->at])) c->at++;
}

bool nb_json_cursor_is_done(nb_json_cursor *c)
{
    skip_space(c);
    return c->at == c->text.len;
}

bool nb_json_cursor_take(nb_json_cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->text.len || c->text.ptr[c->at] != wanted) return false;
    c->at++;
    return true;
}

bool nb_json_cursor_int(nb_json_cursor *c, int64_t *out)
{
    skip_space(c);
    size_t at = c->at;
    int n_digit = 0;
    bool negative = at < c->text.len && c->text.ptr[at] == '-';
    int64_t value = 0;
    for (at += negative; at < c->text.len && c->text.ptr[at] >= '0' && c->text.ptr[at] <= '9'; at++, n_digit++) {
        if (n_digit == 18) return false;
        value = 10 * value + (c->text.ptr[at] - '0');
    }
    if (n_digit == 0) return false;
    c->at = at;
    *out = negative ? -value : value;
    return true;
}

static bool hex4(nb_str digits, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = i < digits.len ? digits.ptr[i] : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

// \uXXXX, or a pair of surrogates, whose u is at *at.
static bool decode_unicode(nb_str raw, size_t *at, nb_buf *out)
{
    uint32_t code_point, low;
    if (!hex4(nb_str_slice(raw, *at + 1, raw.len), &code_point)) return false;
    *at += 5;
    if (code_point >= 0xD800 && code_point < 0xDC00) {
        if (!nb_str_starts(nb_str_slice(raw, *at, raw.len), NB_STR("\\u"))) return false;
        if (!hex4(nb_str_slice(raw, *at + 2, raw.len), &low) || low < 0xDC00 || low > 0xDFFF) return false;
        code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
        *at += 6;
    } else if (code_point >= 0xDC00 && code_point <= 0xDFFF) {
        return false;
    }
    char bytes[4];
    nb_buf_add(out, bytes, (size_t)nb_utf8_encode(code_point, bytes));
    return true;
}

static bool decode_escapes(nb_str raw, nb_buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    for (size_t at = 0; at < raw.len;) {
        if (raw.ptr[at] != '\\') {
            nb_buf_add_char(out, raw.ptr[at++]);
            continue;
        }
        at++; // a backslash is never last: the quote behind it would not have ended the string
        const char *found = memchr(from, raw.ptr[at], sizeof from - 1);
        if (found) {
            nb_buf_add_char(out, to[found - from]);
            at++;
        } else if (raw.ptr[at] != 'u' || !decode_unicode(raw, &at, out)) {
            return false;
        }
    }
    return true;
}

// Moves behind the string at the cursor; *raw is what is between its quotes. False if it does not end.
static bool skip_string(nb_json_cursor *c, nb_str *raw, bool *has_escape)
{
    if (!nb_json_cursor_take(c, '"')) return false;
    *has_escape = false;
    for (size_t at = c->at; at < c->text.len; at++) {
        char byte = c->text.ptr[at];
        if (byte == '"') {
            *raw = nb_str_slice(c->text, c->at, at);
            c->at = at + 1;
            return true;
        }
        if (byte == '\\') {
            *has_escape = true;
            at++;
        } else if ((uint8_t)byte < ' ') {
            return false;
        }
    }
    return false;
}

bool nb_json_cursor_str(nb_json_cursor *c, nb_buf *work, nb_str *out)
{
    nb_json_cursor start = *c;
    bool has_escape;
    if (skip_string(c, out, &has_escape)) {
        if (!has_escape) return true;
        nb_buf_clear(work);
        if (decode_escapes(*out, work)) {
            *out = work->ptr ? nb_buf_str(work) : NB_STR("");
            return true;
        }
    }
    *c = start;
    return false;
}

int nb_json_cursor_fail(const nb_json_cursor *c, const char *what, nb_error *err)
{
    nb_str here = nb_str_slice(c->text, c->at, c->at + 24);
    return nb_error_set(err, NB_ERR_INPUT, "%s: byte %zu of its text, at \"%.*s\", is not what it must be", what, c->at,
                        (int)here.len, here.ptr);
}

// ---- Splitting ----

// Moves behind the value at the cursor. What is inside need not be right: it is only passed over.
static bool skip_value(nb_json_cursor *c)
{
    int64_t depth = 0;
    skip_space(c);
    while (c->at < c->text.len) {
        char byte = c->text.ptr[c->at];
        if (byte == '"') {
            nb_str raw;
            bool has_escape;
            if (!skip_string(c, &raw, &has_escape)) return false;
        } else if (depth == 0 && (byte == ',' || byte == '}' || byte == ']')) {
            return true;
        } else {
            depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
            c->at++;
        }
    }
    return false;
}

// Moves to the value of the first member called `key` of the object at the cursor.
static bool find_member(nb_json_cursor *c, const char *key)
{
    if (!nb_json_cursor_take(c, '{')) return false;
    do {
        nb_str name;
        bool has_escape;
        if (!skip_string(c, &name, &has_escape) || !nb_json_cursor_take(c, ':')) return false;
        skip_space(c);
        if (nb_str_equal_c(name, key)) return true;
        if (!skip_value(c)) return false;
    } while (nb_json_cursor_take(c, ','));
    return false;
}

static nb_str member_text(nb_json_cursor object, const char *key)
{
    if (!find_member(&object, key)) return (nb_str){0};
    size_t from = object.at;
    return skip_value(&object) ? nb_str_slice(object.text, from, object.at) : (nb_str){0};
}

static void add_between(nb_buf *out, const char *from, const char *to)
{
    nb_buf_add(out, from, (size_t)(to - from));
}

void nb_tokenizer_json_split(nb_str text, nb_tokenizer_json *out)
{
    *out = (nb_tokenizer_json){0};
    nb_json_cursor model = {.text = text};
    if (find_member(&model, "model")) {
        out->vocab = member_text(model, "vocab");
        out->merges = member_text(model, "merges");
    }
    nb_str first = out->vocab, second = out->merges;
    if (second.ptr && (!first.ptr || second.ptr < first.ptr)) {
        first = out->merges;
        second = out->vocab;
    }
    const char *from = text.ptr;
    if (first.ptr) {
        add_between(&out->rest, from, first.ptr);
        nb_buf_add_c(&out->rest, "null");
        from = first.ptr + first.len;
    }
    if (second.ptr) {
        add_between(&out->rest, from, second.ptr);
        nb_buf_add_c(&out->rest, "null");
        from = second.ptr + second.len;
    }
    add_between(&out->rest, from, text.ptr + text.len);
}
