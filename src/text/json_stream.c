// See json_stream.h.
#include "text/json_stream.h"

#include <ctype.h>
#include <string.h>

void nb_json_stream_open(nb_json_stream *s)
{
    nb_buf held = s->held;
    *s = (nb_json_stream){.state = NB_JS_VALUE, .held = held};
    nb_buf_clear(&s->held);
}

void nb_json_stream_drop(nb_json_stream *s)
{
    nb_buf_drop(&s->held);
}

static void release(nb_json_stream *s, nb_buf *out)
{
    nb_buf_add_str(out, nb_buf_str(&s->held));
    nb_buf_clear(&s->held);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static nb_json_verdict value_ended(nb_json_stream *s)
{
    s->state = s->depth ? NB_JS_AFTER : NB_JS_DONE;
    return s->depth ? NB_JSON_MORE : NB_JSON_LAST;
}

static nb_json_verdict open_bracket(nb_json_stream *s, char c, nb_buf *out)
{
    if (s->depth == NB_JSON_DEPTH_MAX) return NB_JSON_INVALID;
    s->stack[s->depth++] = c == '{' ? '}' : ']';
    nb_buf_add_char(&s->held, c);
    release(s, out);
    s->state = c == '{' ? NB_JS_KEY_OR_END : NB_JS_VALUE_OR_END;
    return NB_JSON_MORE;
}

static nb_json_verdict close_bracket(nb_json_stream *s, char c, nb_buf *out)
{
    if (s->depth == 0 || s->stack[s->depth - 1] != c) return NB_JSON_INVALID;
    s->depth--;
    nb_buf_add_char(&s->held, c);
    release(s, out);
    return value_ended(s);
}

static nb_json_verdict begin_value(nb_json_stream *s, char c, nb_buf *out)
{
    if (c == '{' || c == '[') return open_bracket(s, c, out);
    if (c == '"') {
        nb_buf_add_char(&s->held, c);
        release(s, out);
        s->state = NB_JS_IN_STRING;
        return NB_JSON_MORE;
    }
    if (c != '-' && !isalnum((unsigned char)c)) return NB_JSON_INVALID;
    s->word = s->held.len;
    nb_buf_add_char(&s->held, c);
    s->state = NB_JS_IN_WORD;
    return NB_JSON_MORE;
}

// One character inside quotes. Raw control characters, which models write, become escapes. True at the closing quote.
static bool quoted(nb_json_stream *s, char c, bool *valid)
{
    bool plain = s->escape == 0;
    *valid = true;
    if (s->escape == -1) {
        *valid = c && strchr("\"\\/bfnrtu", c);
        s->escape = c == 'u' ? 4 : 0;
    } else if (s->escape > 0) {
        *valid = isxdigit((unsigned char)c);
        s->escape--;
    } else if (c == '\\') {
        s->escape = -1;
    }
    if ((unsigned char)c < 0x20)
        nb_buf_printf(&s->held, "\\u%04x", c);
    else
        nb_buf_add_char(&s->held, c);
    return plain && c == '"';
}

static nb_json_verdict in_key(nb_json_stream *s, char c)
{
    bool valid;
    if (quoted(s, c, &valid)) s->state = NB_JS_COLON;
    return valid ? NB_JSON_MORE : NB_JSON_INVALID;
}

static nb_json_verdict in_string(nb_json_stream *s, char c, nb_buf *out)
{
    bool valid, ended = quoted(s, c, &valid);
    if (!valid) return NB_JSON_INVALID;
    if (s->escape == 0) release(s, out);
    return ended ? value_ended(s) : NB_JSON_MORE;
}

// A number by JSON's grammar, or one of the three words.
static bool is_word(nb_str w)
{
    size_t i = 0;
    if (nb_str_equal_c(w, "true") || nb_str_equal_c(w, "false") || nb_str_equal_c(w, "null")) return true;
    i += i < w.len && w.ptr[i] == '-';
    if (i == w.len || !isdigit((unsigned char)w.ptr[i])) return false;
    bool leading_zero = w.ptr[i] == '0';
    size_t digits = i;
    while (i < w.len && isdigit((unsigned char)w.ptr[i])) i++;
    if (leading_zero && i - digits > 1) return false;
    if (i < w.len && w.ptr[i] == '.') {
        size_t dot = ++i;
        while (i < w.len && isdigit((unsigned char)w.ptr[i])) i++;
        if (i == dot) return false;
    }
    if (i < w.len && (w.ptr[i] == 'e' || w.ptr[i] == 'E')) {
        i += 1 + (i + 1 < w.len && (w.ptr[i + 1] == '-' || w.ptr[i + 1] == '+'));
        size_t exponent = i;
        while (i < w.len && isdigit((unsigned char)w.ptr[i])) i++;
        if (i == exponent) return false;
    }
    return i == w.len;
}

static nb_json_verdict after_value(nb_json_stream *s, char c, nb_buf *out);

static nb_json_verdict in_word(nb_json_stream *s, char c, nb_buf *out)
{
    if (isalnum((unsigned char)c) || c == '.' || c == '-' || c == '+') {
        nb_buf_add_char(&s->held, c);
        return NB_JSON_MORE;
    }
    if (!is_word(nb_str_slice(nb_buf_str(&s->held), s->word, s->held.len))) return NB_JSON_INVALID;
    release(s, out);
    value_ended(s);
    return s->state == NB_JS_DONE ? NB_JSON_BEHIND : after_value(s, c, out);
}

static nb_json_verdict after_value(nb_json_stream *s, char c, nb_buf *out)
{
    if (is_space(c)) {
        nb_buf_add_char(&s->held, c);
        return NB_JSON_MORE;
    }
    if (c != ',') return close_bracket(s, c, out);
    nb_buf_add_char(&s->held, c);
    s->state = s->stack[s->depth - 1] == '}' ? NB_JS_KEY : NB_JS_VALUE;
    return NB_JSON_MORE;
}

static nb_json_verdict before_key(nb_json_stream *s, char c, nb_buf *out)
{
    if (c == '}' && s->state == NB_JS_KEY_OR_END) return close_bracket(s, c, out);
    if (c != '"') return NB_JSON_INVALID;
    nb_buf_add_char(&s->held, c);
    s->state = NB_JS_IN_KEY;
    return NB_JSON_MORE;
}

static nb_json_verdict at_colon(nb_json_stream *s, char c)
{
    if (c != ':') return NB_JSON_INVALID;
    nb_buf_add_char(&s->held, c);
    s->state = NB_JS_VALUE;
    return NB_JSON_MORE;
}

nb_json_verdict nb_json_stream_feed(nb_json_stream *s, char c, nb_buf *out)
{
    bool quoted_or_word = s->state == NB_JS_IN_KEY || s->state == NB_JS_IN_STRING || s->state == NB_JS_IN_WORD;
    if (is_space(c) && !quoted_or_word && s->state != NB_JS_DONE) {
        nb_buf_add_char(&s->held, c);
        return NB_JSON_MORE;
    }
    switch (s->state) {
    case NB_JS_VALUE_OR_END:
        if (c == ']') return close_bracket(s, c, out);
        return begin_value(s, c, out);
    case NB_JS_VALUE: return begin_value(s, c, out);
    case NB_JS_KEY:
    case NB_JS_KEY_OR_END: return before_key(s, c, out);
    case NB_JS_IN_KEY: return in_key(s, c);
    case NB_JS_COLON: return at_colon(s, c);
    case NB_JS_IN_STRING: return in_string(s, c, out);
    case NB_JS_IN_WORD: return in_word(s, c, out);
    case NB_JS_AFTER: return after_value(s, c, out);
    default: return NB_JSON_BEHIND;
    }
}

void nb_json_stream_close(nb_json_stream *s, nb_buf *out)
{
    if (s->state == NB_JS_DONE) return;
    if (s->state == NB_JS_IN_WORD && is_word(nb_str_slice(nb_buf_str(&s->held), s->word, s->held.len)))
        release(s, out);
    else if (s->depth == 0 && s->state != NB_JS_IN_STRING)
        nb_buf_add_c(out, "null");
    if (s->state == NB_JS_IN_STRING) nb_buf_add_char(out, '"');
    while (s->depth > 0) nb_buf_add_char(out, s->stack[--s->depth]);
    nb_buf_clear(&s->held);
    s->state = NB_JS_DONE;
}
