// Reading a regular expression into a tree.
#include "constrain/grammar_regex_internal.h"

#include <string.h>

typedef struct parser {
    nb_str text;
    size_t at;
    nb_arena *arena;
    nb_error *err;
    int depth;
    bool fold, dot_all; // flags i and s
} parser;

static int fail(parser *p, const char *what)
{
    return nb_error_set(p->err, NB_ERR_INPUT, "the regular expression has %s at byte %zu", what, p->at);
}

static bool more(const parser *p)
{
    return p->at < p->text.len;
}

static char peek(const parser *p)
{
    return more(p) ? p->text.ptr[p->at] : 0;
}

static bool take(parser *p, const char *token)
{
    size_t n = strlen(token);
    if (p->text.len - p->at < n || memcmp(p->text.ptr + p->at, token, n) != 0) return false;
    p->at += n;
    return true;
}

static nb_regex_node *new_node(parser *p, nb_regex_kind kind)
{
    nb_regex_node *node = NB_ARENA_ARRAY(p->arena, nb_regex_node, 1);
    node->kind = kind;
    return node;
}

// Moves the set's ranges into the arena, so that nothing need be freed.
static nb_regex_node *set_node(parser *p, nb_char_set *set)
{
    nb_regex_node *node = new_node(p, NB_REGEX_SET);
    if (p->fold) nb_char_set_fold_ascii(set);
    node->set.n = set->n;
    if (set->n) node->set.range = nb_arena_copy(p->arena, set->range, sizeof(*set->range) * (size_t)set->n);
    nb_char_set_drop(set);
    return node;
}

// ---- Characters and classes

static void add_space(nb_char_set *set)
{
    static const nb_char_range space[] = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                          {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                          {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    for (size_t i = 0; i < sizeof(space) / sizeof(space[0]); i++) nb_char_set_add(set, space[i].lo, space[i].hi);
}

static void add_word(nb_char_set *set)
{
    nb_char_set_add(set, '0', '9');
    nb_char_set_add(set, 'A', 'Z');
    nb_char_set_add(set, 'a', 'z');
    nb_char_set_add(set, '_', '_');
}

// \d \w \s, and in capitals all other characters.
static bool add_class(nb_char_set *set, char name)
{
    nb_char_set own = {0};
    switch (name | 0x20) {
    case 'd': nb_char_set_add(&own, '0', '9'); break;
    case 'w': add_word(&own); break;
    case 's': add_space(&own); break;
    default: return false;
    }
    if (!(name & 0x20)) nb_char_set_invert(&own);
    nb_char_set_add_set(set, &own);
    nb_char_set_drop(&own);
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') return (c | 0x20) - 'a' + 10;
    return -1;
}

// \xHH, \uHHHH, or up to 6 digits in braces.
static int read_hex(parser *p, int n_digit, uint32_t *out)
{
    bool braces = take(p, "{");
    int n = 0;
    *out = 0;
    while (n < (braces ? 6 : n_digit) && hex_digit(peek(p)) >= 0) {
        *out = *out * 16 + (uint32_t)hex_digit(p->text.ptr[p->at++]);
        n++;
    }
    if ((braces && (n == 0 || !take(p, "}"))) || (!braces && n != n_digit) || *out > NB_CHAR_LAST)
        return fail(p, "an incomplete escape");
    return NB_OK;
}

// Surrogate pairs stand for one character, as in ECMAScript.
static int read_u(parser *p, uint32_t *out)
{
    uint32_t low;
    NB_TRY(read_hex(p, 4, out));
    if (*out < 0xD800 || *out > 0xDFFF) return NB_OK;
    if (*out > 0xDBFF || !take(p, "\\u")) return fail(p, "a lone surrogate");
    NB_TRY(read_hex(p, 4, &low));
    if (low < 0xDC00 || low > 0xDFFF) return fail(p, "a lone surrogate");
    *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    return NB_OK;
}

// The character that an escape stands for; p->at is behind the backslash.
static int read_escape(parser *p, uint32_t *out)
{
    if (!more(p)) return fail(p, "a backslash without a character");
    unsigned char c = (unsigned char)p->text.ptr[p->at];
    static const char control[] = "t\tn\nr\rf\fv\va\ae\033";
    const char *at = strchr(control, (char)c);
    if (c >= 0x80) {
        *out = nb_utf8_decode(p->text, &p->at);
        return NB_OK;
    }
    p->at++;
    if (c == 'x') return read_hex(p, 2, out);
    if (c == 'u') return read_u(p, out);
    if (c == '0')
        *out = 0;
    else if (at && c >= 'a')
        *out = (unsigned char)at[1];
    else if (c >= '1' && c <= '9')
        return p->at--, fail(p, "a back reference, which is not supported,");
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
        return p->at--, fail(p, "an escape that is not supported");
    else
        *out = c;
    return NB_OK;
}

// One member of a class: a character, or \d and the like, which is added at once (`*single` is false then).
static int read_member(parser *p, nb_char_set *set, uint32_t *out, bool *single)
{
    *single = true;
    if (!take(p, "\\")) {
        *out = nb_utf8_decode(p->text, &p->at);
        return NB_OK;
    }
    if (add_class(set, peek(p))) {
        p->at++;
        *single = false;
        return NB_OK;
    }
    if (take(p, "b")) {
        *out = '\b';
        return NB_OK;
    }
    return read_escape(p, out);
}

static int read_members(parser *p, nb_char_set *set)
{
    for (bool first = true; first || peek(p) != ']'; first = false) {
        uint32_t lo, hi;
        bool single, single_hi = true;
        if (!more(p)) return fail(p, "a class that is not closed");
        NB_TRY(read_member(p, set, &lo, &single));
        hi = lo;
        if (single && peek(p) == '-' && p->at + 1 < p->text.len && p->text.ptr[p->at + 1] != ']') {
            p->at++;
            NB_TRY(read_member(p, set, &hi, &single_hi));
        }
        if (!single) continue;
        if (!single_hi) { // [a-\d]: the hyphen is a character
            nb_char_set_add(set, lo, lo);
            nb_char_set_add(set, '-', '-');
            continue;
        }
        if (hi < lo) return fail(p, "a class with a range that goes down");
        nb_char_set_add(set, lo, hi);
    }
    p->at++;
    return NB_OK;
}

static int parse_class(parser *p, nb_regex_node **out)
{
    nb_char_set set = {0};
    bool invert = take(p, "^");
    int code = read_members(p, &set);
    if (code == NB_OK && p->fold) nb_char_set_fold_ascii(&set);
    if (code == NB_OK && invert) nb_char_set_invert(&set);
    if (code == NB_OK)
        *out = set_node(p, &set);
    else
        nb_char_set_drop(&set);
    return code;
}

static nb_regex_node *one_char(parser *p, uint32_t c)
{
    nb_char_set set = {0};
    nb_char_set_add(&set, c, c);
    return set_node(p, &set);
}

// "." leaves out all that some dialect calls the end of a line.
static nb_regex_node *parse_dot(parser *p)
{
    nb_char_set set = {0};
    nb_char_set_add(&set, 0, NB_CHAR_LAST);
    if (!p->dot_all) {
        nb_char_set_remove(&set, '\n', '\n');
        nb_char_set_remove(&set, '\r', '\r');
        nb_char_set_remove(&set, 0x2028, 0x2029);
    }
    return set_node(p, &set);
}

static int parse_escape(parser *p, nb_regex_node **out)
{
    nb_char_set set = {0};
    uint32_t c;
    char name = peek(p);
    if (add_class(&set, name)) {
        p->at++;
        *out = set_node(p, &set);
        return NB_OK;
    }
    if (name == 'A' || name == 'z' || name == 'Z') {
        p->at++;
        *out = new_node(p, name == 'A' ? NB_REGEX_BEGIN : NB_REGEX_END);
        return NB_OK;
    }
    if (name == 'b' || name == 'B') return fail(p, "a word boundary, which is not supported,");
    if (name == 'p' || name == 'P') return fail(p, "a Unicode property, which is not supported,");
    NB_TRY(read_escape(p, &c));
    *out = one_char(p, c);
    return NB_OK;
}

// ---- Groups

static int parse_any(parser *p, nb_regex_node **out);

// (?i), (?s), (?is-...): for the rest of the group.
static int read_flags(parser *p)
{
    for (; more(p) && peek(p) != ')' && peek(p) != ':'; p->at++) {
        if (peek(p) == 'i')
            p->fold = true;
        else if (peek(p) == 's')
            p->dot_all = true;
        else if (peek(p) != 'u')
            return fail(p, "a kind of group or a flag that is not supported");
    }
    return NB_OK;
}

static int read_name(parser *p)
{
    while (more(p) && peek(p) != '>') p->at++;
    return take(p, ">") ? NB_OK : fail(p, "a group's name that is not closed");
}

// Behind "(?"; *empty: it was flags alone. *ahead: '=' or '!' of a look-ahead.
static int read_group_kind(parser *p, bool *empty, char *ahead)
{
    *empty = false;
    if (take(p, ":")) return NB_OK;
    if (peek(p) == '=' || peek(p) == '!') {
        *ahead = p->text.ptr[p->at++];
        return NB_OK;
    }
    if (take(p, "P<")) return read_name(p);
    if (take(p, "<")) {
        if (peek(p) == '=' || peek(p) == '!') return fail(p, "look-behind, which is not supported,");
        return read_name(p);
    }
    NB_TRY(read_flags(p));
    *empty = peek(p) == ')';
    if (!*empty && !take(p, ":")) return fail(p, "a group that is not closed");
    return NB_OK;
}

static int parse_group(parser *p, nb_regex_node **out)
{
    bool empty = false, fold = p->fold, dot_all = p->dot_all;
    char ahead = 0;
    if (++p->depth > NB_REGEX_DEPTH_MAX) return fail(p, "too many nested groups");
    if (take(p, "?")) NB_TRY(read_group_kind(p, &empty, &ahead));
    if (empty)
        *out = new_node(p, NB_REGEX_SEQ);
    else
        NB_TRY(parse_any(p, out));
    if (!take(p, ")")) return fail(p, "a group that is not closed");
    if (!empty) p->fold = fold, p->dot_all = dot_all;
    if (ahead) {
        nb_regex_node *content = *out;
        *out = new_node(p, NB_REGEX_AHEAD);
        (*out)->child = content;
        (*out)->hi = ahead == '=';
    }
    p->depth--;
    return NB_OK;
}

static int parse_atom(parser *p, nb_regex_node **out)
{
    if (take(p, "(")) return parse_group(p, out);
    if (take(p, "[")) return parse_class(p, out);
    if (take(p, "\\")) return parse_escape(p, out);
    if (peek(p) == '*' || peek(p) == '+' || peek(p) == '?') return fail(p, "a quantifier without anything before it");
    if (take(p, "."))
        *out = parse_dot(p);
    else if (take(p, "^"))
        *out = new_node(p, NB_REGEX_BEGIN);
    else if (take(p, "$"))
        *out = new_node(p, NB_REGEX_END);
    else
        *out = one_char(p, nb_utf8_decode(p->text, &p->at));
    return NB_OK;
}

// ---- Quantifiers, sequences, alternatives

static bool read_number(parser *p, int64_t *out)
{
    size_t from = p->at;
    *out = 0;
    while (peek(p) >= '0' && peek(p) <= '9') {
        if (*out <= NB_GRAMMAR_REPEAT_MAX) *out = *out * 10 + (peek(p) - '0');
        p->at++;
    }
    return p->at > from;
}

// {n}, {n,}, {n,m}, {,m}; anything else in braces is text.
static bool read_bounds(parser *p, int64_t *lo, int64_t *hi)
{
    size_t from = p->at;
    p->at++;
    bool has_lo = read_number(p, lo);
    *hi = *lo;
    if (take(p, ",")) {
        bool has_hi = read_number(p, hi);
        if (!has_hi) *hi = NB_REPEAT_FOREVER;
        if (!has_lo && !has_hi) p->at = p->text.len;
    } else if (!has_lo) {
        p->at = p->text.len;
    }
    if (take(p, "}")) return true;
    p->at = from;
    return false;
}

static bool read_quantifier(parser *p, int64_t *lo, int64_t *hi)
{
    *lo = 0;
    *hi = NB_REPEAT_FOREVER;
    if (take(p, "*")) return true;
    if (take(p, "+")) return *lo = 1, true;
    if (take(p, "?")) return *hi = 1, true;
    return peek(p) == '{' && read_bounds(p, lo, hi);
}

static int parse_quantified(parser *p, nb_regex_node **out)
{
    int64_t lo, hi;
    NB_TRY(parse_atom(p, out));
    if (!read_quantifier(p, &lo, &hi)) return NB_OK;
    if (hi != NB_REPEAT_FOREVER && hi < lo) return fail(p, "a repetition with its bounds in the wrong order");
    if (lo > NB_GRAMMAR_REPEAT_MAX || hi > NB_GRAMMAR_REPEAT_MAX) return fail(p, "a repetition of too many times");
    if (peek(p) == '+') return fail(p, "a possessive quantifier, which is not supported,");
    take(p, "?");
    if (peek(p) == '*' || peek(p) == '+' || peek(p) == '?') return fail(p, "two quantifiers in a row");
    nb_regex_node *repeat = new_node(p, NB_REGEX_REPEAT);
    repeat->child = *out;
    repeat->lo = lo;
    repeat->hi = hi;
    *out = repeat;
    return NB_OK;
}

static int parse_seq(parser *p, nb_regex_node **out)
{
    nb_regex_node *seq = new_node(p, NB_REGEX_SEQ), **last = &seq->child;
    while (more(p) && peek(p) != '|' && peek(p) != ')') {
        NB_TRY(parse_quantified(p, last));
        last = &(*last)->next;
    }
    *out = seq;
    return NB_OK;
}

static int parse_any(parser *p, nb_regex_node **out)
{
    nb_regex_node *any = new_node(p, NB_REGEX_ANY), **last = &any->child;
    do {
        NB_TRY(parse_seq(p, last));
        last = &(*last)->next;
    } while (take(p, "|"));
    *out = any;
    return NB_OK;
}

int nb_regex_parse(nb_str pattern, nb_arena *arena, nb_regex_node **out, nb_error *err)
{
    parser p = {.text = pattern, .arena = arena, .err = err};
    if (pattern.len > NB_REGEX_BYTES_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "the regular expression has more than %d bytes", NB_REGEX_BYTES_MAX);
    NB_TRY(parse_any(&p, out));
    if (more(&p)) return fail(&p, "a \")\" without a \"(\"");
    return NB_OK;
}
