// Python's two ways to fill in text: "%s %05d" % args and "{} {name:>8}".format(args).
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>

// One conversion: [fill][align][sign][#][0][width][.precision]type. For % formats align is '<' after a '-' flag.
typedef struct spec {
    nb_str fill;
    char align, sign, type;
    bool zero, alternate, comma;
    int64_t width, precision; // precision -1: not given
} spec;

static int64_t read_number(nb_jinja *j, nb_str s, size_t *at)
{
    int64_t n = 0;
    for (; *at < s.len && s.ptr[*at] >= '0' && s.ptr[*at] <= '9'; (*at)++) {
        n = 10 * n + (s.ptr[*at] - '0');
        if (n > NB_JINJA_WIDTH_MAX) nb_jinja_fail(j, "a width in a format is over %d", NB_JINJA_WIDTH_MAX);
    }
    return n;
}

static char peek(nb_str s, size_t at)
{
    return at < s.len ? s.ptr[at] : 0;
}

// Digits and sign of a number; "" for types this does not know.
static nb_str number_text(nb_jinja *j, const spec *f, nb_value v)
{
    char form[16], out[512];
    int64_t integer;
    double real;
    const char *sign = f->sign == '+' ? "+" : f->sign == ' ' ? " " : "", *alternate = f->alternate ? "#" : "";
    int precision = (int)(f->precision < 0 ? 6 : f->precision > 100 ? 100 : f->precision);
    if (strchr("eEfFgG%", f->type)) {
        if (!nb_value_is_number(v, &real)) nb_jinja_fail(j, "must be real number, not %s", nb_value_type(v));
        char type = f->type == '%' ? 'f' : f->type;
        snprintf(form, sizeof(form), "%%%s%s.*%c", sign, alternate, type);
        int n = snprintf(out, sizeof(out), form, precision, f->type == '%' ? 100 * real : real);
        if (f->type == '%') snprintf(out + n, sizeof(out) - (size_t)n, "%%");
    } else {
        if (v.kind == NB_V_FLOAT) v = nb_jinja_apply_filter(j, NB_STR("int"), v, &(nb_args){0});
        if (v.kind == NB_V_BIGINT) return v.text;
        if (!nb_value_is_int(v, &integer))
            nb_jinja_fail(j, "%%%c format: a number is required, not %s", f->type, nb_value_type(v));
        bool hex = f->type == 'x' || f->type == 'X' || f->type == 'o';
        snprintf(form, sizeof(form), "%%%s%sll%c", hex ? "" : sign, alternate, hex ? f->type : 'd');
        int n = hex && integer < 0 ? snprintf(out, sizeof(out), "-") : 0;
        snprintf(out + n, sizeof(out) - (size_t)n, form, (long long)(hex && integer < 0 ? -integer : integer));
    }
    return nb_arena_str(j->arena, nb_str_from(out));
}

// Zeros go between the sign and the digits.
static void add_number(nb_jinja *j, nb_text *t, const spec *f, nb_str digits)
{
    if (!f->zero) {
        nb_text_add(j, t, nb_text_pad(j, digits, f->width, f->align ? f->align : '>', f->fill));
        return;
    }
    size_t sign = digits.len && strchr("+- ", digits.ptr[0]) ? 1 : 0;
    nb_text_add(j, t, nb_str_slice(digits, 0, sign));
    nb_str rest = nb_str_slice(digits, sign, digits.len);
    nb_text_add(j, t, nb_text_pad(j, rest, f->width - (int64_t)sign, '>', NB_STR("0")));
}

static void add_text(nb_jinja *j, nb_text *t, const spec *f, nb_str s, char align)
{
    if (f->precision >= 0) s = nb_text_sub(s, 0, f->precision);
    nb_text_add(j, t, nb_text_pad(j, s, f->width, f->align ? f->align : align, f->fill));
}

// 1234567 -> 1,234,567
static nb_str with_commas(nb_jinja *j, nb_str digits)
{
    size_t begin = digits.len && !(digits.ptr[0] >= '0' && digits.ptr[0] <= '9'), end = begin;
    while (end < digits.len && digits.ptr[end] >= '0' && digits.ptr[end] <= '9') end++;
    nb_text t = {0};
    nb_text_add(j, &t, nb_str_slice(digits, 0, begin));
    for (size_t i = begin; i < end; i++) {
        if (i > begin && (end - i) % 3 == 0) nb_text_add_c(j, &t, ",");
        nb_text_add(j, &t, nb_str_slice(digits, i, i + 1));
    }
    nb_text_add(j, &t, nb_str_slice(digits, end, digits.len));
    return nb_text_str(&t);
}

// ---- format % args

typedef struct percent {
    nb_jinja *j;
    nb_str format;
    size_t at;
    nb_value args;
    int64_t next; // positional argument
    nb_text out;
} percent;

static nb_value next_arg(percent *p)
{
    bool tuple = p->args.kind == NB_V_TUPLE;
    int64_t n = tuple ? p->args.seq->n : 1;
    if (p->next >= n) nb_jinja_fail(p->j, "not enough arguments for format string");
    int64_t i = p->next++;
    return tuple ? p->args.seq->item[i] : p->args;
}

// %(name)s
static nb_value named_arg(percent *p)
{
    int64_t close = nb_str_find(p->format, NB_STR(")"), p->at);
    if (close < 0) nb_jinja_fail(p->j, "incomplete format key");
    if (p->args.kind != NB_V_DICT) nb_jinja_fail(p->j, "format requires a mapping");
    nb_str name = nb_str_slice(p->format, p->at + 1, (size_t)close);
    const nb_value *found = nb_value_get(p->j, p->args.dict, nb_value_str(name));
    if (!found) nb_jinja_fail(p->j, "format: there is no key '%.*s'", (int)name.len, name.ptr);
    p->at = (size_t)close + 1;
    return *found;
}

static spec percent_spec(percent *p)
{
    spec f = {.fill = NB_STR(" "), .precision = -1};
    for (;; p->at++) {
        char c = peek(p->format, p->at);
        if (c == '-')
            f.align = '<';
        else if (c == '0')
            f.zero = true;
        else if (c == '+' || (c == ' ' && !f.sign))
            f.sign = c;
        else if (c == '#')
            f.alternate = true;
        else
            break;
    }
    f.width = read_number(p->j, p->format, &p->at);
    if (peek(p->format, p->at) == '.') {
        p->at++;
        f.precision = read_number(p->j, p->format, &p->at);
    }
    f.type = peek(p->format, p->at++);
    f.zero = f.zero && f.align != '<';
    return f;
}

static void percent_field(percent *p)
{
    bool named = peek(p->format, p->at) == '(';
    nb_value v = named ? named_arg(p) : NB_NONE;
    spec f = percent_spec(p);
    if (f.type == '%') {
        nb_text_add_c(p->j, &p->out, "%");
        return;
    }
    if (!f.type || !strchr("sradiufFeEgGxXoc", f.type)) nb_jinja_fail(p->j, "unsupported format character");
    if (!named) v = next_arg(p);
    if (strchr("sc", f.type))
        add_text(p->j, &p->out, &f, nb_text_of(p->j, v), '>');
    else if (strchr("ra", f.type))
        add_text(p->j, &p->out, &f, nb_text_repr(p->j, v), '>');
    else
        add_number(p->j, &p->out, &f, number_text(p->j, &f, v));
}

nb_str nb_text_percent(nb_jinja *j, nb_str format, nb_value args)
{
    percent p = {.j = j, .format = format, .args = args};
    while (p.at < format.len) {
        nb_jinja_charge(j, 1);
        int64_t mark = nb_str_find(format, NB_STR("%"), p.at);
        size_t end = mark < 0 ? format.len : (size_t)mark;
        nb_text_add(j, &p.out, nb_str_slice(format, p.at, end));
        p.at = end + 1;
        if (mark >= 0) percent_field(&p);
    }
    bool left_over = args.kind == NB_V_TUPLE ? p.next < args.seq->n
                                             : args.kind != NB_V_DICT && args.kind != NB_V_LIST && p.next == 0;
    if (left_over) nb_jinja_fail(j, "not all arguments converted during string formatting");
    return nb_text_str(&p.out);
}

// ---- format.format(args)

static bool is_align(char c)
{
    return c == '<' || c == '>' || c == '^';
}

static spec brace_spec(nb_jinja *j, nb_str s)
{
    spec f = {.fill = NB_STR(" "), .precision = -1};
    size_t at = 0, next = 0;
    if (s.len) nb_utf8_decode(s, &next);
    if (is_align(peek(s, next))) {
        f.fill = nb_str_slice(s, 0, next);
        f.align = peek(s, next);
        at = next + 1;
    } else if (is_align(peek(s, 0))) {
        f.align = peek(s, at++);
    }
    if (peek(s, at) && strchr("+- ", peek(s, at))) f.sign = peek(s, at++);
    if (peek(s, at) == '#') f.alternate = s.ptr[at++];
    if (peek(s, at) == '0') f.zero = s.ptr[at++] && !f.align;
    f.width = read_number(j, s, &at);
    if (peek(s, at) == ',') f.comma = s.ptr[at++];
    if (peek(s, at) == '.') {
        at++;
        f.precision = read_number(j, s, &at);
    }
    f.type = peek(s, at);
    if (f.type) at++;
    if (at != s.len || (f.type && !strchr("sdfFeEgGxXo%", f.type))) nb_jinja_fail(j, "Invalid format specifier");
    return f;
}

static void brace_value(nb_jinja *j, nb_text *out, nb_value v, nb_str text)
{
    spec f = brace_spec(j, text);
    double real;
    bool number = nb_value_is_number(v, &real) && v.kind != NB_V_BOOL;
    if (number && !f.type) f.type = v.kind == NB_V_INT ? 'd' : f.precision >= 0 ? 'g' : 0;
    if (!f.type || f.type == 's') {
        add_text(j, out, &f, nb_text_of(j, v), number ? '>' : '<');
        return;
    }
    nb_str digits = number_text(j, &f, v);
    add_number(j, out, &f, f.comma ? with_commas(j, digits) : digits);
}

typedef struct brace {
    nb_jinja *j;
    const nb_args *args;
    int64_t next;
    nb_text out;
} brace;

static nb_value brace_root(brace *b, nb_str name)
{
    if (name.len == 0 || (name.ptr[0] >= '0' && name.ptr[0] <= '9')) {
        size_t at = 0;
        int64_t i = name.len ? read_number(b->j, name, &at) : b->next++;
        if (at != name.len || i >= b->args->n)
            nb_jinja_fail(b->j, "Replacement index out of range for positional args");
        return b->args->item[i];
    }
    for (int64_t i = 0; i < b->args->n_named; i++)
        if (nb_str_equal(b->args->named[i].name, name)) return b->args->named[i].value;
    nb_jinja_fail(b->j, "format: there is no argument '%.*s'", (int)name.len, name.ptr);
}

// name(.attribute | [key])*
static nb_value brace_lookup(brace *b, nb_str field)
{
    size_t end = 0;
    while (end < field.len && field.ptr[end] != '.' && field.ptr[end] != '[') end++;
    nb_value v = brace_root(b, nb_str_slice(field, 0, end));
    while (end < field.len) {
        bool bracket = field.ptr[end] == '[';
        size_t from = ++end;
        while (end < field.len && (bracket ? field.ptr[end] != ']' : field.ptr[end] != '.' && field.ptr[end] != '['))
            end++;
        nb_str key = nb_str_slice(field, from, end);
        v = bracket ? nb_value_path(b->j, v, nb_value_str(key)) : nb_value_attr(b->j, v, key);
        if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(b->j, "%s", v.text.ptr);
        end += bracket;
    }
    return v;
}

// {field!conversion:spec}, without its braces
static void brace_field(brace *b, nb_str s)
{
    int64_t colon = nb_str_find(s, NB_STR(":"), 0);
    nb_str format = colon < 0 ? NB_STR("") : nb_str_slice(s, (size_t)colon + 1, s.len);
    nb_str field = nb_str_slice(s, 0, colon < 0 ? s.len : (size_t)colon);
    int64_t mark = nb_str_find(field, NB_STR("!"), 0);
    nb_value v = brace_lookup(b, nb_str_slice(field, 0, mark < 0 ? field.len : (size_t)mark));
    if (mark >= 0) {
        char conversion = peek(field, (size_t)mark + 1);
        if (conversion != 'r' && conversion != 's') nb_jinja_fail(b->j, "Unknown conversion specifier");
        v = nb_value_str(conversion == 'r' ? nb_text_repr(b->j, v) : nb_text_of(b->j, v));
    }
    brace_value(b->j, &b->out, v, format);
}

nb_str nb_text_braces(nb_jinja *j, nb_str format, const nb_args *args)
{
    brace b = {.j = j, .args = args};
    for (size_t at = 0; at < format.len;) {
        nb_jinja_charge(j, 1);
        char c = format.ptr[at];
        if (c != '{' && c != '}') {
            size_t end = at;
            while (end < format.len && format.ptr[end] != '{' && format.ptr[end] != '}') end++;
            nb_text_add(j, &b.out, nb_str_slice(format, at, end));
            at = end;
        } else if (peek(format, at + 1) == c) {
            nb_text_add(j, &b.out, nb_str_slice(format, at, at + 1));
            at += 2;
        } else {
            int64_t close = c == '{' ? nb_str_find(format, NB_STR("}"), at) : -1;
            if (close < 0) nb_jinja_fail(j, "a single brace in a format string");
            brace_field(&b, nb_str_slice(format, at + 1, (size_t)close));
            at = (size_t)close + 1;
        }
    }
    return nb_text_str(&b.out);
}
