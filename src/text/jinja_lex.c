// Source text to tokens, with Jinja's rules for white space: trim_blocks (a newline behind a block or comment goes),
// lstrip_blocks (so do blanks before it when it starts a line), the marks - and +, one newline at the end dropped,
// "\r\n" read as "\n". Inside brackets the end marks are ordinary characters.
#include "text/jinja_internal.h"

#include <ctype.h>
#include <string.h>

typedef struct lexer {
    nb_jinja *j;
    nb_str s;
    size_t at;
    int line;
    nb_token *token;
    int64_t n, cap;
    char open[NB_JINJA_DEPTH_MAX]; // closing brackets that are due
    int n_open;
} lexer;

_Noreturn static void fail(lexer *x, const char *message)
{
    x->j->line = x->line;
    nb_jinja_fail(x->j, "%s", message);
}

static char peek(const lexer *x, size_t ahead)
{
    return x->at + ahead < x->s.len ? x->s.ptr[x->at + ahead] : 0;
}

static bool at_text(const lexer *x, const char *text)
{
    return nb_str_starts(nb_str_slice(x->s, x->at, x->s.len), nb_str_from(text));
}

static void move_to(lexer *x, size_t to)
{
    for (; x->at < to; x->at++) x->line += x->s.ptr[x->at] == '\n';
}

static void emit(lexer *x, nb_token_kind kind, nb_str text)
{
    if (x->n == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 64;
        nb_token *more = NB_JINJA_ARRAY(x->j, nb_token, x->cap);
        if (x->n) memcpy(more, x->token, sizeof(nb_token) * (size_t)x->n);
        x->token = more;
    }
    x->token[x->n++] = (nb_token){.kind = kind, .line = x->line, .text = text};
}

static void skip_space(lexer *x)
{
    while (x->at < x->s.len) {
        size_t next = x->at;
        if (!nb_text_is_space(nb_utf8_decode(x->s, &next))) return;
        move_to(x, next);
    }
}

// ---- Between tags

static bool all_space(nb_str s)
{
    for (size_t at = 0; at < s.len;)
        if (!nb_text_is_space(nb_utf8_decode(s, &at))) return false;
    return true;
}

// The text before a tag, after what the tag's mark and lstrip_blocks take from its end.
static nb_str text_before(lexer *x, size_t from, size_t to, char mark, bool is_print)
{
    nb_str text = nb_str_slice(x->s, from, to);
    if (mark == '-') return nb_text_strip(x->j, text, NULL, NB_STRIP_RIGHT);
    if (mark == '+' || is_print) return text;
    size_t line_begin = text.len;
    while (line_begin > 0 && text.ptr[line_begin - 1] != '\n') line_begin--;
    bool starts_line = line_begin > 0 || from == 0 || x->s.ptr[from - 1] == '\n';
    if (starts_line && all_space(nb_str_slice(text, line_begin, text.len))) text.len = line_begin;
    return text;
}

static char mark_at(nb_str s, size_t at)
{
    return at < s.len && (s.ptr[at] == '-' || s.ptr[at] == '+') ? s.ptr[at] : 0;
}

// At the end mark of a block or comment, `close` being "%}" or "#}": moves behind it and what it swallows.
static bool skip_block_end(lexer *x, const char *close, bool trim)
{
    char mark = mark_at(x->s, x->at);
    size_t begin = x->at + (mark != 0);
    if (!nb_str_starts(nb_str_slice(x->s, begin, x->s.len), nb_str_from(close))) return false;
    move_to(x, begin + 2);
    if (mark == '-')
        skip_space(x);
    else if (mark != '+' && trim && peek(x, 0) == '\n')
        move_to(x, x->at + 1);
    return true;
}

static void skip_comment(lexer *x)
{
    for (; x->at < x->s.len; move_to(x, x->at + 1))
        if (skip_block_end(x, "#}", true)) return;
    fail(x, "a comment is not closed");
}

// At "{%": whether this is the block `word` ("raw", "endraw"); if so, *end is where its closing mark begins.
static bool is_word_block(lexer *x, size_t at, const char *word, size_t *end)
{
    size_t i = at + 2 + (mark_at(x->s, at + 2) != 0), n = strlen(word);
    while (i < x->s.len && isspace((unsigned char)x->s.ptr[i])) i++;
    if (!nb_str_starts(nb_str_slice(x->s, i, x->s.len), nb_str_from(word))) return false;
    i += n;
    while (i < x->s.len && isspace((unsigned char)x->s.ptr[i])) i++;
    *end = i;
    nb_str rest = nb_str_slice(x->s, i, x->s.len);
    return nb_str_starts(rest, NB_STR("%}")) || nb_str_starts(rest, NB_STR("-%}")) ||
           nb_str_starts(rest, NB_STR("+%}"));
}

static void lex_raw(lexer *x)
{
    size_t from = x->at, end = 0;
    int64_t at = (int64_t)from;
    while ((at = nb_str_find(x->s, NB_STR("{%"), (size_t)at)) >= 0 && !is_word_block(x, (size_t)at, "endraw", &end))
        at++;
    if (at < 0) fail(x, "a raw block is not closed");
    nb_str text = text_before(x, from, (size_t)at, mark_at(x->s, (size_t)at + 2), false);
    if (text.len) emit(x, NB_T_TEXT, text);
    move_to(x, end);
    skip_block_end(x, "%}", true);
}

// ---- Inside tags

static bool is_name_char(lexer *x, size_t at, size_t *next)
{
    unsigned char c = (unsigned char)x->s.ptr[at];
    *next = at;
    if (c >= 0x80) return !nb_text_is_space(nb_utf8_decode(x->s, next));
    *next = at + 1;
    return isalnum(c) || c == '_';
}

static void lex_name(lexer *x)
{
    size_t end = x->at, next;
    while (end < x->s.len && is_name_char(x, end, &next)) end = next;
    emit(x, NB_T_NAME, nb_str_slice(x->s, x->at, end));
    x->at = end;
}

// Digits of a base with single underscores between them; copies the digits.
static void lex_digits(lexer *x, nb_text *digits, int (*is_digit)(int))
{
    while (is_digit((unsigned char)peek(x, 0)) || (peek(x, 0) == '_' && is_digit((unsigned char)peek(x, 1)))) {
        if (peek(x, 0) != '_') nb_text_add(x->j, digits, nb_str_slice(x->s, x->at, x->at + 1));
        x->at++;
    }
}

static void lex_take(lexer *x, nb_text *digits, size_t n)
{
    nb_text_add(x->j, digits, nb_str_slice(x->s, x->at, x->at + n));
    x->at += n;
}

static void lex_number(lexer *x)
{
    nb_text digits = {0};
    bool after_dot = x->at > 0 && x->s.ptr[x->at - 1] == '.'; // d.items.0: an index, never a fraction
    char base = (char)tolower((unsigned char)peek(x, 1));
    nb_token_kind kind = NB_T_INT;
    if (peek(x, 0) == '0' && (base == 'x' || base == 'o' || base == 'b') && isxdigit((unsigned char)peek(x, 2))) {
        lex_take(x, &digits, 2);
        lex_digits(x, &digits, isxdigit);
        emit(x, kind, nb_text_str(&digits));
        return;
    }
    lex_digits(x, &digits, isdigit);
    if (!after_dot && peek(x, 0) == '.' && isdigit((unsigned char)peek(x, 1))) {
        kind = NB_T_FLOAT;
        lex_take(x, &digits, 1);
        lex_digits(x, &digits, isdigit);
    }
    size_t sign = peek(x, 1) == '-' || peek(x, 1) == '+';
    if (!after_dot && tolower((unsigned char)peek(x, 0)) == 'e' && isdigit((unsigned char)peek(x, 1 + sign))) {
        kind = NB_T_FLOAT;
        lex_take(x, &digits, 1 + sign);
        lex_digits(x, &digits, isdigit);
    }
    emit(x, kind, nb_text_str(&digits));
}

// n hexadecimal digits as a character.
static uint32_t lex_hex(lexer *x, int n)
{
    uint32_t c = 0;
    for (int i = 0; i < n; i++, x->at++) {
        char d = peek(x, 0);
        if (!isxdigit((unsigned char)d)) fail(x, "a string has a broken \\x, \\u or \\U escape");
        c = c * 16 + (uint32_t)(isdigit((unsigned char)d) ? d - '0' : tolower((unsigned char)d) - 'a' + 10);
    }
    return c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF) ? c : 0xFFFD;
}

static uint32_t lex_octal(lexer *x)
{
    uint32_t c = 0;
    for (int i = 0; i < 3 && peek(x, 0) >= '0' && peek(x, 0) <= '7'; i++)
        c = c * 8 + (uint32_t)(x->s.ptr[x->at++] - '0');
    return c;
}

// Behind a backslash: appends what it means in a Python string.
static void lex_escape(lexer *x, nb_text *text)
{
    static const char letter[] = "abfnrtv\\'\"", meaning[] = "\a\b\f\n\r\t\v\\'\"";
    char c = peek(x, 0);
    const char *known = c ? strchr(letter, c) : NULL;
    if (c >= '0' && c <= '7') {
        nb_text_add_code(x->j, text, lex_octal(x));
        return;
    }
    move_to(x, x->at + 1);
    if (known)
        nb_text_add_code(x->j, text, (uint32_t)meaning[known - letter]);
    else if (c == 'x' || c == 'u' || c == 'U')
        nb_text_add_code(x->j, text, lex_hex(x, c == 'x' ? 2 : c == 'u' ? 4 : 8));
    else if (c != '\n') { // an unknown escape stays as it is; a backslash at the end of a line joins lines
        nb_text_add_c(x->j, text, "\\");
        x->at--;
    }
}

static void lex_string(lexer *x)
{
    nb_text text = {0};
    char quote = peek(x, 0);
    int line = x->line;
    x->at++;
    while (x->at < x->s.len && peek(x, 0) != quote) {
        size_t run = x->at;
        while (run < x->s.len && x->s.ptr[run] != quote && x->s.ptr[run] != '\\') run++;
        nb_text_add(x->j, &text, nb_str_slice(x->s, x->at, run));
        move_to(x, run);
        if (peek(x, 0) != '\\') continue;
        x->at++;
        if (x->at < x->s.len) lex_escape(x, &text);
    }
    if (x->at >= x->s.len) {
        x->line = line;
        fail(x, "a string is not closed");
    }
    x->at++;
    emit(x, NB_T_STRING, nb_text_str(&text));
}

static void track_brackets(lexer *x, char c)
{
    static const char opening[] = "([{", closing[] = ")]}";
    const char *open = strchr(opening, c);
    if (open) {
        if (x->n_open == NB_JINJA_DEPTH_MAX) fail(x, "brackets are nested too deeply");
        x->open[x->n_open++] = closing[open - opening];
    } else if (strchr(closing, c) && (x->n_open == 0 || x->open[--x->n_open] != c)) {
        fail(x, "a closing bracket has no opening one");
    }
}

static void lex_operator(lexer *x)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++)
        if (at_text(x, two[i])) {
            emit(x, NB_T_OPERATOR, nb_str_slice(x->s, x->at, x->at + 2));
            x->at += 2;
            return;
        }
    char c = peek(x, 0);
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) fail(x, "a tag holds a character that has no meaning there");
    track_brackets(x, c);
    emit(x, NB_T_OPERATOR, nb_str_slice(x->s, x->at, x->at + 1));
    x->at++;
}

static void lex_token(lexer *x)
{
    char c = peek(x, 0);
    size_t next;
    if (isdigit((unsigned char)c))
        lex_number(x);
    else if (c == '\'' || c == '"')
        lex_string(x);
    else if (is_name_char(x, x->at, &next))
        lex_name(x);
    else
        lex_operator(x);
}

static bool skip_print_end(lexer *x)
{
    if (at_text(x, "-}}")) {
        move_to(x, x->at + 3);
        skip_space(x);
        return true;
    }
    if (!at_text(x, "}}")) return false;
    move_to(x, x->at + 2);
    return true;
}

// From behind the begin mark to behind the end mark.
static void lex_tag(lexer *x, bool is_print)
{
    emit(x, is_print ? NB_T_PRINT_BEGIN : NB_T_BLOCK_BEGIN, (nb_str){0});
    for (;;) {
        skip_space(x);
        if (x->at >= x->s.len) fail(x, "a tag is not closed");
        if (x->n_open == 0 && (is_print ? skip_print_end(x) : skip_block_end(x, "%}", true))) break;
        lex_token(x);
    }
    emit(x, is_print ? NB_T_PRINT_END : NB_T_BLOCK_END, (nb_str){0});
}

static size_t find_tag(nb_str s, size_t at)
{
    for (; at + 1 < s.len; at++)
        if (s.ptr[at] == '{' && (s.ptr[at + 1] == '{' || s.ptr[at + 1] == '%' || s.ptr[at + 1] == '#')) return at;
    return s.len;
}

// Text up to the next tag, and that tag.
static void lex_piece(lexer *x)
{
    size_t from = x->at, tag = find_tag(x->s, from), end;
    bool is_end = tag == x->s.len;
    char kind = is_end ? 0 : x->s.ptr[tag + 1], mark = is_end ? 0 : mark_at(x->s, tag + 2);
    nb_str text = is_end ? nb_str_slice(x->s, from, tag) : text_before(x, from, tag, mark, kind == '{');
    if (text.len) emit(x, NB_T_TEXT, text);
    if (is_end) {
        move_to(x, tag);
    } else if (kind == '%' && is_word_block(x, tag, "raw", &end) && x->s.ptr[end] != '+') {
        move_to(x, end);
        skip_block_end(x, "%}", false);
        lex_raw(x);
    } else {
        move_to(x, tag + 2 + (mark != 0));
        if (kind == '#')
            skip_comment(x);
        else
            lex_tag(x, kind == '{');
    }
}

// "\r\n" and "\r" become "\n", and one newline at the end goes.
static nb_str normal_newlines(nb_jinja *j, nb_str source)
{
    char *copy = nb_jinja_alloc(j, source.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < source.len; i++) {
        char c = source.ptr[i];
        if (c == '\r' && i + 1 < source.len && source.ptr[i + 1] == '\n') continue;
        copy[n++] = c == '\r' ? '\n' : c;
    }
    if (n > 0 && copy[n - 1] == '\n') n--;
    return (nb_str){copy, n};
}

nb_token *nb_jinja_lex(nb_jinja *j, nb_str source)
{
    lexer x = {.j = j, .s = normal_newlines(j, source), .line = 1};
    while (x.at < x.s.len) lex_piece(&x);
    emit(&x, NB_T_END, (nb_str){0});
    return x.token;
}
