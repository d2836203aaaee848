// Values as text: Python's str() and repr(), and json.dumps.
#include "text/jinja_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- Numbers

// Fewest digits that read back as the same number, "d.ddde+XX".
static void shortest_digits(double real, char out[40])
{
    for (int precision = 0; precision < 17; precision++) {
        snprintf(out, 40, "%.*e", precision, real);
        if (strtod(out, NULL) == real) return;
    }
}

// Python writes exponents only below 1e-4 and from 1e16 on.
void nb_text_add_float(nb_jinja *j, nb_text *t, double real)
{
    char raw[40], digits[24], out[64];
    if (isnan(real) || isinf(real)) {
        nb_text_add_c(j, t, isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
        return;
    }
    shortest_digits(fabs(real), raw);
    int n = 0, exponent = atoi(strchr(raw, 'e') + 1);
    for (const char *p = raw; *p != 'e'; p++)
        if (*p != '.') digits[n++] = *p;
    digits[n] = 0;
    if (signbit(real)) nb_text_add_c(j, t, "-");
    if (exponent < -4 || exponent >= 16)
        snprintf(out, sizeof(out), "%c%s%se%+03d", digits[0], n > 1 ? "." : "", digits + 1, exponent);
    else if (exponent < 0)
        snprintf(out, sizeof(out), "0.%.*s%s", -exponent - 1, "0000", digits);
    else if (n <= exponent + 1)
        snprintf(out, sizeof(out), "%s%.*s.0", digits, exponent + 1 - n, "0000000000000000");
    else
        snprintf(out, sizeof(out), "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
    nb_text_add_c(j, t, out);
}

static void add_int(nb_jinja *j, nb_text *t, int64_t integer)
{
    char out[24];
    snprintf(out, sizeof(out), "%lld", (long long)integer);
    nb_text_add_c(j, t, out);
}

// ---- repr() of strings

static bool is_printable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return c == ' ';
    default: return true;
    }
}

static void add_escaped(nb_jinja *j, nb_text *t, uint32_t c)
{
    char out[12];
    if (c == '\n' || c == '\r' || c == '\t')
        snprintf(out, sizeof(out), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else
        snprintf(out, sizeof(out), c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    nb_text_add_c(j, t, out);
}

static void add_quoted(nb_jinja *j, nb_text *t, nb_str s)
{
    bool has_single = s.len && memchr(s.ptr, '\'', s.len), has_double = s.len && memchr(s.ptr, '"', s.len);
    char quote[2] = {has_single && !has_double ? '"' : '\'', 0};
    nb_text_add_c(j, t, quote);
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        uint32_t c = nb_utf8_decode(s, &at);
        if (!is_printable(c)) {
            add_escaped(j, t, c);
            continue;
        }
        if (c == '\\' || c == (uint32_t)quote[0]) nb_text_add_c(j, t, "\\");
        nb_text_add(j, t, nb_str_slice(s, from, at));
    }
    nb_jinja_charge(j, s.len / 4);
    nb_text_add_c(j, t, quote);
}

// ---- str() and repr()

static void add_items(nb_jinja *j, nb_text *t, const nb_seq *seq, const char *open, const char *close)
{
    nb_text_add_c(j, t, open);
    for (int64_t i = 0; i < seq->n; i++) {
        if (i) nb_text_add_c(j, t, ", ");
        nb_text_add_repr(j, t, seq->item[i]);
    }
    nb_text_add_c(j, t, close);
}

static void add_dict(nb_jinja *j, nb_text *t, const nb_dict *dict)
{
    nb_text_add_c(j, t, "{");
    for (int64_t i = 0; i < dict->n; i++) {
        if (i) nb_text_add_c(j, t, ", ");
        nb_text_add_repr(j, t, dict->key[i]);
        nb_text_add_c(j, t, ": ");
        nb_text_add_repr(j, t, dict->item[i]);
    }
    nb_text_add_c(j, t, "}");
}

static void add_opaque(nb_jinja *j, nb_text *t, nb_value v)
{
    nb_text_add_c(j, t, "<");
    nb_text_add_c(j, t, nb_value_type(v));
    nb_text_add_c(j, t, " object>");
}

static void add_repr(nb_jinja *j, nb_text *t, nb_value v)
{
    switch (v.kind) {
    case NB_V_ABSENT: break;
    case NB_V_UNDEFINED: nb_text_add_c(j, t, "Undefined"); break;
    case NB_V_NONE: nb_text_add_c(j, t, "None"); break;
    case NB_V_BOOL: nb_text_add_c(j, t, v.truth ? "True" : "False"); break;
    case NB_V_INT: add_int(j, t, v.integer); break;
    case NB_V_BIGINT: nb_text_add(j, t, v.text); break;
    case NB_V_FLOAT: nb_text_add_float(j, t, v.real); break;
    case NB_V_STR: add_quoted(j, t, v.text); break;
    case NB_V_LIST: add_items(j, t, v.seq, "[", "]"); break;
    case NB_V_TUPLE: add_items(j, t, v.seq, "(", v.seq->n == 1 ? ",)" : ")"); break;
    case NB_V_RANGE: nb_text_add(j, t, v.seq->shown); break;
    case NB_V_VIEW:
        nb_text_add(j, t, v.seq->shown);
        add_items(j, t, v.seq, "([", "])");
        break;
    case NB_V_DICT: add_dict(j, t, v.dict); break;
    default: add_opaque(j, t, v); break;
    }
}

void nb_text_add_repr(nb_jinja *j, nb_text *t, nb_value v)
{
    nb_jinja_enter(j);
    nb_jinja_charge(j, 1);
    add_repr(j, t, v);
    nb_jinja_leave(j);
}

void nb_text_add_value(nb_jinja *j, nb_text *t, nb_value v)
{
    if (v.kind == NB_V_STR)
        nb_text_add(j, t, v.text);
    else if (v.kind != NB_V_UNDEFINED)
        nb_text_add_repr(j, t, v);
}

nb_str nb_text_of(nb_jinja *j, nb_value v)
{
    if (v.kind == NB_V_STR) return v.text;
    nb_text t = {0};
    nb_text_add_value(j, &t, v);
    return nb_text_str(&t);
}

nb_str nb_text_repr(nb_jinja *j, nb_value v)
{
    nb_text t = {0};
    nb_text_add_repr(j, &t, v);
    return nb_text_str(&t);
}

// ---- json.dumps

static void add_json_unit(nb_jinja *j, nb_text *t, uint32_t unit)
{
    char out[16]; // six are written; the compiler cannot know that a unit has 16 bits
    snprintf(out, sizeof(out), "\\u%04x", unit);
    nb_text_add_c(j, t, out);
}

static void add_json_code(nb_jinja *j, nb_text *t, uint32_t c)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *known = c && c < 0x80 ? strchr(from, (int)c) : NULL;
    if (known) {
        nb_text_add(j, t, NB_STR("\\"));
        nb_text_add_code(j, t, (uint32_t)to[known - from]);
    } else if (c >= 0x10000) {
        add_json_unit(j, t, 0xd800 + ((c - 0x10000) >> 10));
        add_json_unit(j, t, 0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
        add_json_unit(j, t, c);
    }
}

static void add_json_str(nb_jinja *j, nb_text *t, nb_str s, const nb_json_style *style)
{
    nb_text_add_c(j, t, "\"");
    size_t plain = 0; // where the run of characters that stand for themselves began
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        uint32_t c = nb_utf8_decode(s, &at);
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !style->ascii)) continue;
        nb_text_add(j, t, nb_str_slice(s, plain, from));
        add_json_code(j, t, c);
        plain = at;
    }
    nb_text_add(j, t, nb_str_slice(s, plain, s.len));
    nb_jinja_charge(j, s.len / 8);
    nb_text_add_c(j, t, "\"");
}

static void add_json_float(nb_jinja *j, nb_text *t, double real)
{
    if (isnan(real) || isinf(real))
        nb_text_add_c(j, t, isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity");
    else
        nb_text_add_float(j, t, real);
}

static void add_json_value(nb_jinja *j, nb_text *t, nb_value v, const nb_json_style *style, int level);

static void add_json_break(nb_jinja *j, nb_text *t, const nb_json_style *style, int level)
{
    if (!style->lines) return;
    nb_text_add_c(j, t, "\n");
    nb_text_repeat(j, t, style->indent, level);
}

static void add_json_list(nb_jinja *j, nb_text *t, const nb_seq *seq, const nb_json_style *style, int level)
{
    nb_text_add_c(j, t, "[");
    for (int64_t i = 0; i < seq->n; i++) {
        if (i) nb_text_add(j, t, style->comma);
        add_json_break(j, t, style, level + 1);
        add_json_value(j, t, seq->item[i], style, level + 1);
    }
    if (seq->n) add_json_break(j, t, style, level);
    nb_text_add_c(j, t, "]");
}

static void add_json_key(nb_jinja *j, nb_text *t, nb_value key, const nb_json_style *style)
{
    if (key.kind == NB_V_STR) {
        add_json_str(j, t, key.text, style);
        return;
    }
    bool can = key.kind == NB_V_INT || key.kind == NB_V_BIGINT || key.kind == NB_V_FLOAT || key.kind == NB_V_BOOL ||
               key.kind == NB_V_NONE;
    if (!can) nb_jinja_fail(j, "keys must be str, int, float, bool or None, not %s", nb_value_type(key));
    nb_text_add_c(j, t, "\"");
    add_json_value(j, t, key, style, 0);
    nb_text_add_c(j, t, "\"");
}

static void add_json_dict(nb_jinja *j, nb_text *t, const nb_dict *dict, const nb_json_style *style, int level)
{
    nb_seq keys = {.item = dict->key, .n = dict->n};
    if (style->sort_keys) keys = *nb_value_sorted(j, keys, dict->key, false).seq;
    nb_text_add_c(j, t, "{");
    for (int64_t i = 0; i < keys.n; i++) {
        if (i) nb_text_add(j, t, style->comma);
        add_json_break(j, t, style, level + 1);
        add_json_key(j, t, keys.item[i], style);
        nb_text_add(j, t, style->colon);
        add_json_value(j, t, style->sort_keys ? *nb_value_get(j, dict, keys.item[i]) : dict->item[i], style, level + 1);
    }
    if (keys.n) add_json_break(j, t, style, level);
    nb_text_add_c(j, t, "}");
}

static void add_json_value(nb_jinja *j, nb_text *t, nb_value v, const nb_json_style *style, int level)
{
    nb_jinja_enter(j);
    nb_jinja_charge(j, 1);
    switch (v.kind) {
    case NB_V_NONE: nb_text_add_c(j, t, "null"); break;
    case NB_V_BOOL: nb_text_add_c(j, t, v.truth ? "true" : "false"); break;
    case NB_V_INT:
    case NB_V_BIGINT: nb_text_add_repr(j, t, v); break;
    case NB_V_FLOAT: add_json_float(j, t, v.real); break;
    case NB_V_STR: add_json_str(j, t, v.text, style); break;
    case NB_V_LIST:
    case NB_V_TUPLE: add_json_list(j, t, v.seq, style, level); break;
    case NB_V_DICT: add_json_dict(j, t, v.dict, style, level); break;
    default: nb_jinja_fail(j, "Object of type %s is not JSON serializable", nb_value_type(v));
    }
    nb_jinja_leave(j);
}

void nb_text_add_json(nb_jinja *j, nb_text *t, nb_value v, const nb_json_style *style)
{
    add_json_value(j, t, v, style, 0);
}
