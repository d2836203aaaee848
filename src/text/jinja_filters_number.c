// Filters for numbers, and `default`.
#include "text/jinja_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_given(nb_value v)
{
    return v.kind != NB_V_ABSENT;
}

static nb_value filter_default(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)j;
    bool boolean = is_given(a->item[1]) && nb_value_truth(a->item[1]);
    if (v.kind != NB_V_UNDEFINED && (!boolean || nb_value_truth(v))) return v;
    return is_given(a->item[0]) ? a->item[0] : nb_value_str(NB_STR(""));
}

// The digits of a number written as text, without blanks around and underscores inside; false when it is too long.
static bool number_text(nb_jinja *j, nb_str s, char out[400])
{
    size_t n = 0;
    s = nb_text_strip(j, s, NULL, NB_STRIP_LEFT | NB_STRIP_RIGHT);
    for (size_t i = 0; i < s.len; i++) {
        bool inner = s.ptr[i] == '_' && i > 0 && i + 1 < s.len && s.ptr[i - 1] != '_';
        if (inner) continue;
        if (n == 399 || s.ptr[i] == 0) return false;
        out[n++] = s.ptr[i];
    }
    out[n] = 0;
    return n > 0;
}

// float(text) of Python: a decimal number, inf or nan, and nothing else (no hexadecimal).
static bool parse_float(const char *text, double *out)
{
    char *end;
    if (strpbrk(text, "xXpP(")) return false;
    *out = strtod(text, &end);
    return end != text && *end == 0;
}

static bool parse_int(const char *text, int base, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, base);
    return end != text && *end == 0 && errno == 0;
}

static nb_value int_of_float(double real, nb_value fallback)
{
    if (!(fabs(real) < 9.2e18)) return fallback;
    return nb_value_int((int64_t)real);
}

static nb_value filter_int(nb_jinja *j, nb_value v, const nb_args *a)
{
    char text[400];
    int64_t integer;
    double real;
    nb_value fallback = is_given(a->item[0]) ? a->item[0] : nb_value_int(0);
    int64_t base = is_given(a->item[1]) ? nb_value_need_int(j, a->item[1], "the base") : 10;
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    if (base < 2 || base > 36) nb_jinja_fail(j, "int: the base must be 2 to 36");
    if (v.kind == NB_V_BIGINT) return v;
    if (nb_value_is_int(v, &integer)) return nb_value_int(integer);
    if (v.kind == NB_V_FLOAT) return int_of_float(v.real, fallback);
    if (v.kind != NB_V_STR || !number_text(j, v.text, text)) return fallback;
    if (parse_int(text, (int)base, &integer)) return nb_value_int(integer);
    return parse_float(text, &real) ? int_of_float(real, fallback) : fallback;
}

static nb_value filter_float(nb_jinja *j, nb_value v, const nb_args *a)
{
    char text[400];
    double real;
    nb_value fallback = is_given(a->item[0]) ? a->item[0] : nb_value_float(0);
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    if (nb_value_is_number(v, &real)) return nb_value_float(real);
    if ((v.kind != NB_V_STR && v.kind != NB_V_BIGINT) || !number_text(j, v.text, text)) return fallback;
    return parse_float(text, &real) ? nb_value_float(real) : fallback;
}

static nb_value filter_abs(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    int64_t integer;
    double real;
    if (nb_value_is_int(v, &integer))
        return integer < 0 ? nb_jinja_binary(j, NB_OP_SUB, nb_value_int(0), v) : nb_value_int(integer);
    if (nb_value_is_number(v, &real)) return nb_value_float(fabs(real));
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    nb_jinja_fail(j, "bad operand type for abs(): '%s'", nb_value_type(v));
}

// round() of Python works on the exact decimal value, ties to even; so does the C library's conversion to text.
static double round_common(double real, int64_t precision)
{
    char text[400];
    if (precision < 0) {
        double unit = pow(10, (double)-precision);
        return rint(real / unit) * unit;
    }
    snprintf(text, sizeof(text), "%.*f", (int)precision, real);
    return strtod(text, NULL);
}

static nb_value filter_round(nb_jinja *j, nb_value v, const nb_args *a)
{
    double real;
    int64_t precision = is_given(a->item[0]) ? nb_value_need_int(j, a->item[0], "the precision") : 0, integer;
    nb_str method = is_given(a->item[1]) ? nb_value_need_str(j, a->item[1], "the method") : NB_STR("common");
    if (!nb_value_is_number(v, &real)) nb_jinja_fail(j, "type %s cannot be rounded", nb_value_type(v));
    if (precision > 60 || precision < -300) nb_jinja_fail(j, "round: the precision must be -300 to 60");
    if (nb_str_equal_c(method, "common")) {
        if (nb_value_is_int(v, &integer) && precision >= 0) return nb_value_int(integer);
        return nb_value_float(round_common(real, precision));
    }
    bool up = nb_str_equal_c(method, "ceil");
    if (!up && !nb_str_equal_c(method, "floor")) nb_jinja_fail(j, "method must be common, ceil or floor");
    double unit = pow(10, (double)precision);
    return nb_value_float((up ? ceil(real * unit) : floor(real * unit)) / unit);
}

static nb_value filter_filesizeformat(nb_jinja *j, nb_value v, const nb_args *a)
{
    static const char letter[] = "kMGTPEZY";
    double real = filter_float(j, v, &(nb_args){.item = (nb_value[]){{0}}, .n = 1}).real;
    bool binary = is_given(a->item[0]) && nb_value_truth(a->item[0]);
    double base = binary ? 1024 : 1000, unit = base;
    char out[400];
    int i = 0;
    for (; i < 7 && real >= unit * base; i++) unit *= base;
    if (real == 1)
        snprintf(out, sizeof(out), "1 Byte");
    else if (real < base)
        snprintf(out, sizeof(out), "%d Bytes", (int)real);
    else
        snprintf(out, sizeof(out), "%.1f %c%sB", real / unit, binary && i == 0 ? 'K' : letter[i], binary ? "i" : "");
    return nb_value_str(nb_arena_str(j->arena, nb_str_from(out)));
}

const nb_native nb_jinja_filters_number[] = {
    {"abs", "", filter_abs},
    {"d", "?default_value ?boolean", filter_default},
    {"default", "?default_value ?boolean", filter_default},
    {"filesizeformat", "?binary", filter_filesizeformat},
    {"float", "?default", filter_float},
    {"int", "?default ?base", filter_int},
    {"round", "?precision ?method", filter_round},
    {0},
};
