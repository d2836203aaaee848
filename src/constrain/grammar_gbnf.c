// Reading GBNF: see grammar_gbnf.h.
#include "constrain/grammar_gbnf.h"

#include <string.h>

#include "base/json.h"

typedef struct parser {
    nb_grammar *g;
    nb_str text;
    size_t at;
    int depth;
    json_t *rules;   // name -> rule
    json_t *defined; // names that have a body
    nb_error *err;
} parser;

static int line_of(const parser *p)
{
    int line = 1;
    for (size_t i = 0; i < p->at && i < p->text.len; i++) line += p->text.ptr[i] == '\n';
    return line;
}

static int fail(const parser *p, const char *what)
{
    return nb_error_set(p->err, NB_ERR_INPUT, "line %d of the grammar has %s", line_of(p), what);
}

static char peek(const parser *p)
{
    return p->at < p->text.len ? p->text.ptr[p->at] : 0;
}

static bool take(parser *p, const char *token)
{
    size_t n = strlen(token);
    if (p->text.len - p->at < n || memcmp(p->text.ptr + p->at, token, n) != 0) return false;
    p->at += n;
    return true;
}

static void skip_space(parser *p)
{
    for (; p->at < p->text.len; p->at++) {
        char c = peek(p);
        if (c == '#')
            while (p->at + 1 < p->text.len && p->text.ptr[p->at + 1] != '\n') p->at++;
        else if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
            return;
    }
}

// ---- Names

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static nb_str read_name(parser *p)
{
    size_t from = p->at;
    while (is_name(peek(p))) p->at++;
    return nb_str_slice(p->text, from, p->at);
}

// A name with "::=" behind it: there the next rule begins.
static bool at_rule(const parser *p)
{
    parser ahead = *p;
    if (read_name(&ahead).len == 0) return false;
    skip_space(&ahead);
    return take(&ahead, "::=");
}

static int32_t rule_of(parser *p, nb_str name)
{
    const json_t *known = json_object_getn(p->rules, name.ptr, name.len);
    if (known) return (int32_t)json_integer_value(known);
    int32_t rule = nb_grammar_rule(p->g, name);
    json_object_setn_new_nocheck(p->rules, name.ptr, name.len, json_integer(rule));
    return rule;
}

// ---- Literals and classes

static int read_hex(parser *p, int n_digit, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < n_digit; i++, p->at++) {
        char c = peek(p);
        int digit = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : -1;
        if (digit < 0) return fail(p, "an incomplete escape");
        *out = *out * 16 + (uint32_t)digit;
    }
    return *out <= NB_CHAR_LAST ? NB_OK : fail(p, "an escape beyond the last character of Unicode");
}

static int read_char(parser *p, uint32_t *out)
{
    static const char control[] = "t\tn\nr\rf\fv\va\ab\b0";
    if (p->at >= p->text.len) return fail(p, "a literal or class that is not closed");
    if (!take(p, "\\")) {
        *out = nb_utf8_decode(p->text, &p->at);
        return NB_OK;
    }
    char c = peek(p);
    p->at++;
    if (c == 'x') return read_hex(p, 2, out);
    if (c == 'u') return read_hex(p, 4, out);
    if (c == 'U') return read_hex(p, 8, out);
    const char *at = c ? strchr(control, c) : NULL;
    if (at && c >= 'a')
        *out = (unsigned char)at[1];
    else if (c == '0')
        *out = 0;
    else if (c && !is_name(c) && (unsigned char)c < 0x80)
        *out = (unsigned char)c;
    else
        return fail(p, "an escape that is not known");
    return NB_OK;
}

static int parse_literal(parser *p, char quote, nb_expr *out)
{
    nb_buf bytes = {0};
    int code = NB_OK;
    while (code == NB_OK && peek(p) != quote) {
        uint32_t c = 0;
        char utf8[4];
        code = read_char(p, &c);
        nb_buf_add(&bytes, utf8, (size_t)nb_utf8_encode(c, utf8));
    }
    p->at++;
    if (code == NB_OK) *out = nb_grammar_bytes(p->g, nb_buf_str(&bytes));
    nb_buf_drop(&bytes);
    return code;
}

static int read_class(parser *p, nb_char_set *set)
{
    while (peek(p) != ']') {
        uint32_t lo, hi;
        NB_TRY(read_char(p, &lo));
        hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->text.len && p->text.ptr[p->at + 1] != ']') {
            p->at++;
            NB_TRY(read_char(p, &hi));
        }
        if (hi < lo) return fail(p, "a class with a range that goes down");
        nb_char_set_add(set, lo, hi);
    }
    p->at++;
    return NB_OK;
}

static int parse_class(parser *p, nb_expr *out)
{
    nb_char_set set = {0};
    bool invert = take(p, "^");
    int code = read_class(p, &set);
    if (invert) nb_char_set_invert(&set);
    if (code == NB_OK) *out = nb_grammar_chars(p->g, &set);
    nb_char_set_drop(&set);
    return code;
}

// ---- Sequences

static int parse_any(parser *p, nb_expr *out);

static int parse_group(parser *p, nb_expr *out)
{
    if (++p->depth > NB_GBNF_DEPTH_MAX) return fail(p, "too many nested groups");
    NB_TRY(parse_any(p, out));
    if (!take(p, ")")) return fail(p, "a group that is not closed");
    p->depth--;
    return NB_OK;
}

static int parse_item(parser *p, nb_expr *out)
{
    if (take(p, "\"")) return parse_literal(p, '"', out);
    if (take(p, "[")) return parse_class(p, out);
    if (take(p, "(")) return parse_group(p, out);
    if (take(p, ".")) {
        *out = nb_grammar_any_char(p->g);
        return NB_OK;
    }
    nb_str name = read_name(p);
    if (name.len == 0) return fail(p, "a character that is not expected here");
    *out = nb_grammar_call(p->g, rule_of(p, name));
    return NB_OK;
}

static bool read_number(parser *p, int64_t *out)
{
    size_t from = p->at;
    *out = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if (*out <= NB_GRAMMAR_REPEAT_MAX) *out = *out * 10 + (peek(p) - '0');
    return p->at > from;
}

static int read_bounds(parser *p, int64_t *lo, int64_t *hi)
{
    skip_space(p);
    bool has_lo = read_number(p, lo);
    skip_space(p);
    *hi = *lo;
    if (take(p, ",")) {
        skip_space(p);
        if (!read_number(p, hi)) *hi = NB_REPEAT_FOREVER;
        skip_space(p);
    } else if (!has_lo) {
        return fail(p, "braces without a number");
    }
    if (!take(p, "}")) return fail(p, "braces that are not closed");
    if (*hi != NB_REPEAT_FOREVER && *hi < *lo) return fail(p, "a repetition with its bounds in the wrong order");
    if (*lo > NB_GRAMMAR_REPEAT_MAX || *hi > NB_GRAMMAR_REPEAT_MAX) return fail(p, "a repetition of too many times");
    return NB_OK;
}

static int parse_quantified(parser *p, nb_expr *out)
{
    NB_TRY(parse_item(p, out));
    for (int n = 0;; n++) {
        skip_space(p);
        if (n > NB_GBNF_QUANTIFIERS_MAX) return fail(p, "too many quantifiers in a row");
        int64_t lo = 0, hi = NB_REPEAT_FOREVER;
        if (take(p, "{"))
            NB_TRY(read_bounds(p, &lo, &hi));
        else if (take(p, "+"))
            lo = 1;
        else if (take(p, "?"))
            hi = 1;
        else if (!take(p, "*"))
            return NB_OK;
        *out = nb_grammar_repeat(p->g, *out, lo, hi);
    }
}

static int parse_seq(parser *p, nb_expr *out)
{
    nb_expr_list items = {0};
    int code = NB_OK;
    for (skip_space(p); p->at < p->text.len && peek(p) != '|' && peek(p) != ')' && !at_rule(p);) {
        nb_expr item = 0;
        code = parse_quantified(p, &item);
        if (code != NB_OK) break;
        nb_expr_list_add(&items, item);
    }
    *out = nb_grammar_seq(p->g, &items);
    return code;
}

static int parse_any(parser *p, nb_expr *out)
{
    nb_expr_list items = {0};
    int code;
    do {
        nb_expr item;
        code = parse_seq(p, &item);
        nb_expr_list_add(&items, item);
    } while (code == NB_OK && take(p, "|"));
    *out = nb_grammar_any(p->g, &items);
    return code;
}

// ---- Rules

static int parse_rule(parser *p)
{
    nb_expr body;
    nb_str name = read_name(p);
    skip_space(p);
    if (name.len == 0 || !take(p, "::="))
        return fail(p, "no rule where one must begin (name ::= ...; other notations are not supported)");
    if (json_object_getn(p->defined, name.ptr, name.len)) return fail(p, "a rule that was defined before");
    json_object_setn_new_nocheck(p->defined, name.ptr, name.len, json_true());
    int32_t rule = rule_of(p, name);
    NB_TRY(parse_any(p, &body));
    nb_grammar_define(p->g, rule, body);
    return NB_OK;
}

static int parse_rules(parser *p)
{
    for (skip_space(p); p->at < p->text.len; skip_space(p)) NB_TRY(parse_rule(p));
    const char *name;
    json_t *rule;
    json_object_foreach(p->rules, name, rule)
    {
        if (!json_object_get(p->defined, name))
            return nb_error_set(p->err, NB_ERR_INPUT, "the grammar uses the rule \"%.80s\", which it does not define",
                                name);
    }
    if (!json_object_get(p->rules, "root"))
        return nb_error_set(p->err, NB_ERR_INPUT, "the grammar has no rule \"root\", with which it would begin");
    return NB_OK;
}

int nb_grammar_gbnf(nb_grammar *g, nb_str text, nb_expr *out, nb_error *err)
{
    parser p = {.g = g, .text = text, .rules = json_object(), .defined = json_object(), .err = err};
    int code = NB_OK;
    if (text.len > NB_GBNF_BYTES_MAX)
        code = nb_error_set(err, NB_ERR_INPUT, "the grammar has more than %d bytes", NB_GBNF_BYTES_MAX);
    if (code == NB_OK) code = parse_rules(&p);
    if (code == NB_OK) *out = nb_grammar_call(g, rule_of(&p, NB_STR("root")));
    json_decref(p.rules);
    json_decref(p.defined);
    return code;
}
