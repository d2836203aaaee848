// See grammar_json.h.
#include "constrain/grammar_json.h"

#include <stdio.h>

// ---- White space

static nb_expr make_line(nb_grammar *g)
{
    nb_char_set blank = {0};
    nb_char_set_add(&blank, ' ', ' ');
    nb_char_set_add(&blank, '\t', '\t');
    nb_expr indent = nb_grammar_repeat(g, nb_grammar_chars(g, &blank), 0, NB_JSON_INDENT_MAX);
    nb_char_set_drop(&blank);
    nb_expr_list forms = {0};
    nb_expr_list_add(&forms, nb_grammar_empty(g));
    nb_expr_list_add(&forms, nb_grammar_text(g, " "));
    nb_expr_list_add(&forms, nb_grammar_seq2(g, nb_grammar_text(g, "\n"), indent));
    return nb_grammar_any(g, &forms);
}

nb_expr nb_grammar_json_line(const nb_grammar_json *j)
{
    return j->compact ? nb_grammar_empty(j->g) : nb_grammar_call(j->g, j->line);
}

nb_expr nb_grammar_json_colon(const nb_grammar_json *j)
{
    nb_expr colon = nb_grammar_text(j->g, ":");
    if (j->compact) return colon;
    return nb_grammar_seq2(j->g, colon, nb_grammar_optional(j->g, nb_grammar_text(j->g, " ")));
}

// ---- Strings

// What must be escaped, in the order of the code points.
static nb_expr escaped(nb_grammar *g, uint32_t c)
{
    static const char letter[] = "\bb\tt\nn\ff\rr\"\"\\\\";
    char text[8];
    for (const char *at = letter; *at; at += 2)
        if ((uint32_t)(unsigned char)at[0] == c) {
            snprintf(text, sizeof(text), "\\%c", at[1]);
            return nb_grammar_text(g, text);
        }
    snprintf(text, sizeof(text), "\\u%04x", c);
    return nb_grammar_text(g, text);
}

nb_expr nb_grammar_json_char(nb_grammar *g, const nb_char_set *set)
{
    nb_char_set raw = {0};
    nb_expr_list forms = {0};
    nb_char_set_add_set(&raw, set);
    for (uint32_t c = 0; c <= '\\'; c++) {
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        if (!nb_char_set_has(set, c)) continue;
        nb_char_set_remove(&raw, c, c);
        nb_expr_list_add(&forms, escaped(g, c));
    }
    nb_expr_list_add(&forms, nb_grammar_chars(g, &raw));
    nb_char_set_drop(&raw);
    return nb_grammar_any(g, &forms);
}

// Controls that have no letter are left out: nobody wants them, and an escape of six bytes has many states.
nb_expr nb_grammar_json_any_char(nb_grammar *g)
{
    nb_char_set all = {0};
    nb_char_set_add(&all, '\b', '\n');
    nb_char_set_add(&all, '\f', '\r');
    nb_char_set_add(&all, ' ', NB_CHAR_LAST);
    nb_expr x = nb_grammar_json_char(g, &all);
    nb_char_set_drop(&all);
    return x;
}

static nb_expr hex(nb_grammar *g, const char *digits)
{
    nb_char_set set = {0};
    for (; *digits; digits++) nb_char_set_add(&set, (unsigned char)*digits, (unsigned char)*digits);
    nb_expr x = nb_grammar_chars(g, &set);
    nb_char_set_drop(&set);
    return x;
}

// "\u", a first, second and the last two digits.
static nb_expr unicode(nb_grammar *g, const char *first, const char *second)
{
    nb_expr_list seq = {0};
    nb_expr any = hex(g, "0123456789abcdefABCDEF");
    nb_expr_list_add(&seq, nb_grammar_text(g, "\\u"));
    nb_expr_list_add(&seq, hex(g, first));
    nb_expr_list_add(&seq, hex(g, second));
    nb_expr_list_add(&seq, any);
    nb_expr_list_add(&seq, any);
    return nb_grammar_seq(g, &seq);
}

// Surrogates only as pairs: a lone one is no text.
static nb_expr free_char(nb_grammar *g)
{
    nb_expr_list forms = {0};
    nb_expr_list_add(&forms, nb_grammar_json_any_char(g));
    nb_expr_list_add(&forms, nb_grammar_text(g, "\\/"));
    nb_expr_list_add(&forms, unicode(g, "0123456789abcefABCEF", "0123456789abcdefABCDEF"));
    nb_expr_list_add(&forms, unicode(g, "dD", "01234567"));
    nb_expr_list_add(&forms, nb_grammar_seq2(g, unicode(g, "dD", "89abAB"), unicode(g, "dD", "cdefCDEF")));
    return nb_grammar_any(g, &forms);
}

nb_expr nb_grammar_json_quoted(nb_grammar *g, nb_expr content)
{
    nb_expr_list seq = {0};
    nb_expr_list_add(&seq, nb_grammar_text(g, "\""));
    nb_expr_list_add(&seq, content);
    nb_expr_list_add(&seq, nb_grammar_text(g, "\""));
    return nb_grammar_seq(g, &seq);
}

nb_expr nb_grammar_json_text(nb_grammar *g, nb_str text)
{
    nb_expr_list seq = {0};
    for (size_t i = 0, from = 0; i <= text.len; i++) {
        unsigned char c = i < text.len ? (unsigned char)text.ptr[i] : 0;
        if (i < text.len && c >= 0x20 && c != '"' && c != '\\') continue;
        if (i > from) nb_expr_list_add(&seq, nb_grammar_bytes(g, nb_str_slice(text, from, i)));
        if (i < text.len) nb_expr_list_add(&seq, escaped(g, c));
        from = i + 1;
    }
    return nb_grammar_seq(g, &seq);
}

// ---- Numbers

static nb_expr digits(nb_grammar *g, int lo, int hi)
{
    return nb_grammar_repeat(g, nb_grammar_range(g, '0', '9'), lo, hi);
}

static nb_expr natural(nb_grammar *g, bool zero)
{
    nb_expr positive = nb_grammar_seq2(g, nb_grammar_range(g, '1', '9'), digits(g, 0, NB_JSON_DIGITS_MAX - 1));
    return zero ? nb_grammar_any2(g, nb_grammar_text(g, "0"), positive) : positive;
}

nb_expr nb_grammar_json_integer(nb_grammar *g)
{
    nb_expr negative = nb_grammar_seq2(g, nb_grammar_text(g, "-"), natural(g, false));
    return nb_grammar_any2(g, natural(g, true), negative);
}

nb_expr nb_grammar_json_decimal(nb_grammar *g)
{
    nb_expr_list seq = {0};
    nb_expr fraction = nb_grammar_seq2(g, nb_grammar_text(g, "."), digits(g, 1, NB_JSON_DIGITS_MAX));
    nb_expr_list_add(&seq, nb_grammar_optional(g, nb_grammar_text(g, "-")));
    nb_expr_list_add(&seq, natural(g, true));
    nb_expr_list_add(&seq, nb_grammar_optional(g, fraction));
    return nb_grammar_seq(g, &seq);
}

// With an exponent of at most two digits, so that it stays finite.
static nb_expr number(nb_grammar *g)
{
    nb_char_set e = {0}, sign = {0};
    nb_char_set_add(&e, 'e', 'e');
    nb_char_set_add(&e, 'E', 'E');
    nb_char_set_add(&sign, '+', '+');
    nb_char_set_add(&sign, '-', '-');
    nb_expr_list exponent = {0};
    nb_expr_list_add(&exponent, nb_grammar_chars(g, &e));
    nb_expr_list_add(&exponent, nb_grammar_optional(g, nb_grammar_chars(g, &sign)));
    nb_expr_list_add(&exponent, digits(g, 1, 2));
    nb_char_set_drop(&e);
    nb_char_set_drop(&sign);
    nb_expr tail = nb_grammar_optional(g, nb_grammar_seq(g, &exponent));
    return nb_grammar_seq2(g, nb_grammar_json_decimal(g), tail);
}

// ---- Values of all kinds

// Brackets around members that are separated by commas.
static nb_expr list_of(const nb_grammar_json *j, const char *open, nb_expr member, const char *close)
{
    nb_grammar *g = j->g;
    nb_expr line = nb_grammar_json_line(j);
    nb_expr_list next = {0}, all = {0}, seq = {0};
    nb_expr_list_add(&next, nb_grammar_text(g, ","));
    nb_expr_list_add(&next, line);
    nb_expr_list_add(&next, member);
    nb_expr_list_add(&all, line);
    nb_expr_list_add(&all, member);
    nb_expr_list_add(&all, nb_grammar_repeat(g, nb_grammar_seq(g, &next), 0, NB_REPEAT_FOREVER));
    nb_expr_list_add(&seq, nb_grammar_text(g, open));
    nb_expr_list_add(&seq, nb_grammar_optional(g, nb_grammar_seq(g, &all)));
    nb_expr_list_add(&seq, line);
    nb_expr_list_add(&seq, nb_grammar_text(g, close));
    return nb_grammar_seq(g, &seq);
}

static nb_expr literal_of_list(const nb_grammar_json *j, const json_t *list)
{
    nb_grammar *g = j->g;
    nb_expr_list seq = {0};
    const json_t *item;
    size_t i;
    nb_expr_list_add(&seq, nb_grammar_text(g, "["));
    json_array_foreach(list, i, item)
    {
        if (i > 0) nb_expr_list_add(&seq, nb_grammar_text(g, ","));
        nb_expr_list_add(&seq, nb_grammar_json_line(j));
        nb_expr_list_add(&seq, nb_grammar_json_literal(j, item));
    }
    nb_expr_list_add(&seq, nb_grammar_json_line(j));
    nb_expr_list_add(&seq, nb_grammar_text(g, "]"));
    return nb_grammar_seq(g, &seq);
}

static nb_expr literal_of_object(const nb_grammar_json *j, const json_t *object)
{
    nb_grammar *g = j->g;
    nb_expr_list seq = {0};
    const char *key;
    json_t *value;
    nb_expr_list_add(&seq, nb_grammar_text(g, "{"));
    json_object_foreach((json_t *)object, key, value)
    {
        if (seq.n > 1) nb_expr_list_add(&seq, nb_grammar_text(g, ","));
        nb_expr_list_add(&seq, nb_grammar_json_line(j));
        nb_expr_list_add(&seq, nb_grammar_json_quoted(g, nb_grammar_json_text(g, nb_str_from(key))));
        nb_expr_list_add(&seq, nb_grammar_json_colon(j));
        nb_expr_list_add(&seq, nb_grammar_json_literal(j, value));
    }
    nb_expr_list_add(&seq, nb_grammar_json_line(j));
    nb_expr_list_add(&seq, nb_grammar_text(g, "}"));
    return nb_grammar_seq(g, &seq);
}

nb_expr nb_grammar_json_literal(const nb_grammar_json *j, const json_t *value)
{
    nb_grammar *g = j->g;
    if (json_is_array(value)) return literal_of_list(j, value);
    if (json_is_object(value)) return literal_of_object(j, value);
    if (json_is_string(value) && !nb_json_big_integer(value).ptr)
        return nb_grammar_json_quoted(
            g, nb_grammar_json_text(g, (nb_str){json_string_value(value), json_string_length(value)}));
    nb_buf text = {0};
    nb_json_write(value, &text);
    nb_expr x = nb_grammar_bytes(g, nb_buf_str(&text));
    nb_buf_drop(&text);
    return x;
}

static nb_expr any_value(const nb_grammar_json *j)
{
    static const char *const word[] = {"true", "false", "null"};
    const int32_t rule[] = {j->object, j->array, j->string, j->number};
    nb_expr_list forms = {0};
    for (size_t i = 0; i < sizeof(rule) / sizeof(rule[0]); i++)
        nb_expr_list_add(&forms, nb_grammar_call(j->g, rule[i]));
    for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++)
        nb_expr_list_add(&forms, nb_grammar_text(j->g, word[i]));
    return nb_grammar_any(j->g, &forms);
}

static nb_expr chars_until_quote(nb_grammar *g, nb_expr one)
{
    return nb_grammar_json_quoted(g, nb_grammar_repeat(g, one, 0, NB_REPEAT_FOREVER));
}

void nb_grammar_json_open(nb_grammar_json *j, nb_grammar *g, bool compact)
{
    *j = (nb_grammar_json){.g = g, .compact = compact};
    int32_t *const rule[] = {&j->line,    &j->string, &j->plain,  &j->number,
                             &j->integer, &j->value,  &j->object, &j->array};
    for (size_t i = 0; i < sizeof(rule) / sizeof(rule[0]); i++) *rule[i] = nb_grammar_rule(g, NB_STR("json"));
    nb_expr_list member = {0};
    nb_expr_list_add(&member, nb_grammar_call(g, j->plain));
    nb_expr_list_add(&member, nb_grammar_json_colon(j));
    nb_expr_list_add(&member, nb_grammar_call(g, j->value));
    nb_grammar_define(g, j->line, make_line(g));
    nb_grammar_define(g, j->string, chars_until_quote(g, free_char(g)));
    nb_grammar_define(g, j->plain, chars_until_quote(g, nb_grammar_json_any_char(g)));
    nb_grammar_define(g, j->number, number(g));
    nb_grammar_define(g, j->integer, nb_grammar_json_integer(g));
    nb_grammar_define(g, j->value, any_value(j));
    nb_grammar_define(g, j->object, list_of(j, "{", nb_grammar_seq(g, &member), "}"));
    nb_grammar_define(g, j->array, list_of(j, "[", nb_grammar_call(g, j->value), "]"));
}
