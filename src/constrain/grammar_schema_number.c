// Numbers between bounds: compared digit by digit, as their decimal text is read.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/grammar_schema_internal.h"

enum {
    TEXT_MAX = 80,
    MULTIPLE_MAX = 4096, // of multipleOf without bounds: its remainders are states
    LISTED_MAX = 4096,   // multiples between bounds that are written out
};

double nb_schema_value(const json_t *number)
{
    nb_str digits = nb_json_big_integer(number);
    return digits.ptr ? strtod(digits.ptr, NULL) : json_number_value(number);
}

// ---- Bounds

typedef struct bounds {
    double lo, hi; // infinite: none
    bool open_lo, open_hi;
} bounds;

static bounds bounds_of(const json_t *flat)
{
    const json_t *lo = json_object_get(flat, "minimum"), *hi = json_object_get(flat, "maximum");
    const json_t *over = json_object_get(flat, "exclusiveMinimum"), *under = json_object_get(flat, "exclusiveMaximum");
    bounds b = {lo ? nb_schema_value(lo) : -INFINITY, hi ? nb_schema_value(hi) : INFINITY, false, false};
    if (over && nb_schema_value(over) >= b.lo) b.lo = nb_schema_value(over), b.open_lo = true;
    if (under && nb_schema_value(under) <= b.hi) b.hi = nb_schema_value(under), b.open_hi = true;
    if (b.lo <= -1e18) b.lo = -INFINITY; // what is written has at most 18 digits
    if (b.hi >= 1e18) b.hi = INFINITY;
    return b;
}

bool nb_schema_number_fits(const json_t *flat, const json_t *number)
{
    bounds b = bounds_of(flat);
    double x = nb_schema_value(number);
    const json_t *multiple = json_object_get(flat, "multipleOf");
    if (multiple && fmod(x, nb_schema_value(multiple)) != 0) return false;
    return (b.open_lo ? x > b.lo : x >= b.lo) && (b.open_hi ? x < b.hi : x <= b.hi);
}

// ---- Digits: texts compared with the digits of a bound

static nb_expr digit(nb_grammar *g, int lo, int hi)
{
    return lo > hi ? nb_grammar_nothing(g) : nb_grammar_range(g, (uint8_t)('0' + lo), (uint8_t)('0' + hi));
}

static nb_expr any_digits(nb_grammar *g, int64_t lo, int64_t hi)
{
    return nb_grammar_repeat(g, digit(g, 0, 9), lo, hi);
}

// Exactly n digits, at least (or at most) those of `bound`: they agree up to some place, and differ there.
static nb_expr compared(nb_grammar *g, const char *bound, int n, bool at_least)
{
    nb_expr_list forms = {0};
    for (int i = 0; i <= n; i++) {
        nb_expr_list seq = {0};
        nb_expr_list_add(&seq, nb_grammar_bytes(g, (nb_str){bound, (size_t)i}));
        if (i < n) {
            int d = bound[i] - '0';
            nb_expr_list_add(&seq, at_least ? digit(g, d + 1, 9) : digit(g, 0, d - 1));
            nb_expr_list_add(&seq, any_digits(g, n - i - 1, n - i - 1));
        }
        nb_expr_list_add(&forms, nb_grammar_seq(g, &seq));
    }
    return nb_grammar_any(g, &forms);
}

static nb_expr natural_of_length(nb_grammar *g, int n)
{
    return n == 1 ? digit(g, 0, 9) : nb_grammar_seq2(g, digit(g, 1, 9), any_digits(g, n - 1, n - 1));
}

// Whole numbers from lo to hi, 0 <= lo <= hi < 10^18.
static nb_expr naturals(nb_grammar *g, int64_t lo, int64_t hi)
{
    char a[TEXT_MAX], b[TEXT_MAX];
    int na = snprintf(a, sizeof(a), "%lld", (long long)lo), nb = snprintf(b, sizeof(b), "%lld", (long long)hi);
    nb_expr_list forms = {0};
    for (int n = na; n <= nb; n++) {
        nb_expr x = natural_of_length(g, n);
        if (n == na) x = nb_grammar_both(g, x, compared(g, a, n, true));
        if (n == nb) x = nb_grammar_both(g, x, compared(g, b, n, false));
        nb_expr_list_add(&forms, x);
    }
    return nb_grammar_any(g, &forms);
}

// ---- Whole numbers

static const int64_t most = 999999999999999999; // NB_JSON_DIGITS_MAX nines

static int64_t clamped(double x)
{
    return x >= (double)most ? most : x <= -(double)most ? -most : (int64_t)x;
}

static nb_expr integers(nb_grammar *g, int64_t lo, int64_t hi)
{
    nb_expr_list forms = {0};
    if (lo < 0 && lo <= hi)
        nb_expr_list_add(&forms, nb_grammar_seq2(g, nb_grammar_text(g, "-"), naturals(g, hi < 0 ? -hi : 1, -lo)));
    if (hi >= 0 && lo <= hi) nb_expr_list_add(&forms, naturals(g, lo > 0 ? lo : 0, hi));
    return nb_grammar_any(g, &forms);
}

// Digits read one by one; the states are their remainders. State 0 is the start, 1 the end, 2 + r a remainder.
static nb_expr multiples(nb_grammar *g, int m, bool negative)
{
    nb_graph graph = {0};
    nb_graph_add(&graph, 0, nb_grammar_text(g, "0"), 1);
    for (int d = 1; d <= 9; d++) {
        nb_graph_add(&graph, 0, digit(g, d, d), 2 + d % m);
        if (negative)
            nb_graph_add(&graph, 0, nb_grammar_bytes(g, (nb_str){(char[]){'-', (char)('0' + d)}, 2}), 2 + d % m);
    }
    for (int r = 0; r < m; r++)
        for (int d = 0; d <= 9; d++) nb_graph_add(&graph, 2 + r, digit(g, d, d), 2 + (10 * r + d) % m);
    nb_graph_add(&graph, 2, nb_grammar_empty(g), 1);
    nb_expr x = nb_grammar_graph(g, &graph); // whose numbers a reader with binary64 can divide exactly
    return nb_grammar_both(g, x,
                           nb_grammar_seq2(g, nb_grammar_optional(g, nb_grammar_text(g, "-")), any_digits(g, 1, 15)));
}

static nb_expr listed_multiples(nb_grammar *g, int64_t lo, int64_t hi, int64_t m)
{
    nb_expr_list forms = {0};
    char text[TEXT_MAX];
    for (int64_t k = lo / m - 1; k <= hi / m + 1; k++) {
        if (k * m < lo || k * m > hi) continue;
        snprintf(text, sizeof(text), "%lld", (long long)(k * m));
        nb_expr_list_add(&forms, nb_grammar_text(g, text));
    }
    return nb_grammar_any(g, &forms);
}

static int compile_multiple(nb_schema *s, const json_t *multiple, const bounds *b, int64_t lo, int64_t hi,
                            const char *path, nb_expr *out)
{
    double m = nb_schema_value(multiple);
    if (m < 1 || m > (double)most || m != floor(m))
        return nb_schema_refuse(s, path, "multipleOf",
                                "is only supported as a whole number, 1 or more, of whole numbers");
    bool listed = isfinite(b->lo) && isfinite(b->hi) && (double)hi - (double)lo <= m * LISTED_MAX;
    bool half = !isfinite(b->hi) && (!isfinite(b->lo) || lo == 0 || lo == 1);
    if (listed) {
        *out = listed_multiples(s->g, lo, hi, (int64_t)m);
    } else if (half && m <= MULTIPLE_MAX) {
        *out = multiples(s->g, (int)m, lo < 0);
        if (lo == 1) *out = nb_grammar_minus(s->g, *out, nb_grammar_text(s->g, "0"));
    } else {
        return nb_schema_refuse(s, path, "multipleOf", "has too many values between these bounds");
    }
    return NB_OK;
}

static int compile_integer(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    bounds b = bounds_of(flat);
    double lo = ceil(b.lo), hi = floor(b.hi);
    int64_t from = clamped(lo == b.lo && b.open_lo ? lo + 1 : lo), to = clamped(hi == b.hi && b.open_hi ? hi - 1 : hi);
    const json_t *multiple = json_object_get(flat, "multipleOf");
    if ((isfinite(b.lo) && fabs(b.lo) > 9e15) || (isfinite(b.hi) && fabs(b.hi) > 9e15))
        return nb_schema_refuse(s, path, "", "has a bound beyond 9e15, where numbers lose digits");
    if (multiple) return compile_multiple(s, multiple, &b, from, to, path, out);
    *out = !isfinite(b.lo) && !isfinite(b.hi) ? nb_grammar_call(s->g, s->json->integer) : integers(s->g, from, to);
    return NB_OK;
}

// ---- Decimals: a whole part and a fraction, of a bound that is not negative

typedef struct decimal {
    int64_t whole;
    char fraction[TEXT_MAX]; // digits, without zeros at the end
    int n;
} decimal;

static decimal decimal_of(double x)
{
    char text[400];
    decimal d = {.whole = (int64_t)x};
    for (int digits = 0; digits <= 15; digits++) { // the fewest that give x again
        snprintf(text, sizeof(text), "%.*f", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    const char *point = strchr(text, '.');
    if (!point) return d;
    d.n = snprintf(d.fraction, sizeof(d.fraction), "%s", point + 1);
    while (d.n > 0 && d.fraction[d.n - 1] == '0') d.n--;
    return d;
}

// Its decimal text is exact: no number can lie between the two.
static bool is_short(double x)
{
    char text[64];
    if (!isfinite(x)) return true;
    if (fabs(x) > 1e15) return false;
    snprintf(text, sizeof(text), "%.15f", x);
    return strtod(text, NULL) == x;
}

static nb_expr point_and(nb_grammar *g, nb_expr digits)
{
    return nb_grammar_seq2(g, nb_grammar_text(g, "."), digits);
}

static nb_expr any_fraction(nb_grammar *g)
{
    return nb_grammar_optional(g, point_and(g, any_digits(g, 1, NB_JSON_DIGITS_MAX)));
}

static nb_expr zeros(nb_grammar *g, int lo)
{
    return nb_grammar_repeat(g, nb_grammar_text(g, "0"), lo, NB_REPEAT_FOREVER);
}

// Digits that begin like the bound's first i, then one from lo to hi, then any.
static nb_expr differing(nb_grammar *g, const decimal *d, int i, int lo, int hi)
{
    nb_expr_list seq = {0};
    nb_expr_list_add(&seq, nb_grammar_bytes(g, (nb_str){d->fraction, (size_t)i}));
    nb_expr_list_add(&seq, digit(g, lo, hi));
    nb_expr_list_add(&seq, any_digits(g, 0, NB_REPEAT_FOREVER));
    return nb_grammar_seq(g, &seq);
}

// Fractions (or none) that make the bound's whole part at least (over, if `open`) the bound.
static nb_expr fraction_above(nb_grammar *g, const decimal *d, bool open)
{
    nb_expr_list forms = {0};
    nb_expr same = nb_grammar_bytes(g, (nb_str){d->fraction, (size_t)d->n});
    for (int i = 0; i < d->n; i++)
        nb_expr_list_add(&forms, point_and(g, differing(g, d, i, d->fraction[i] - '0' + 1, 9)));
    nb_expr_list more = {0}; // beyond the bound's digits: something that is not zero
    nb_expr_list_add(&more, same);
    nb_expr_list_add(&more, zeros(g, 0));
    nb_expr_list_add(&more, digit(g, 1, 9));
    nb_expr_list_add(&more, any_digits(g, 0, NB_REPEAT_FOREVER));
    nb_expr_list_add(&forms, point_and(g, nb_grammar_seq(g, &more)));
    if (!open && d->n == 0) nb_expr_list_add(&forms, nb_grammar_empty(g));
    if (!open) nb_expr_list_add(&forms, point_and(g, nb_grammar_seq2(g, same, zeros(g, d->n == 0))));
    return nb_grammar_any(g, &forms);
}

// The same for at most (under, if `open`) the bound.
static nb_expr fraction_below(nb_grammar *g, const decimal *d, bool open)
{
    nb_expr_list forms = {0};
    nb_expr same = nb_grammar_bytes(g, (nb_str){d->fraction, (size_t)d->n});
    for (int i = 0; i < d->n; i++) {
        nb_expr_list_add(&forms, point_and(g, differing(g, d, i, 0, d->fraction[i] - '0' - 1)));
        if (i > 0) nb_expr_list_add(&forms, point_and(g, nb_grammar_bytes(g, (nb_str){d->fraction, (size_t)i})));
    }
    if (d->n > 0 || !open) nb_expr_list_add(&forms, nb_grammar_empty(g));
    if (!open) nb_expr_list_add(&forms, point_and(g, nb_grammar_seq2(g, same, zeros(g, d->n == 0))));
    return nb_grammar_any(g, &forms);
}

// Decimals that are not negative, from lo (0 or more) up / up to hi.
static nb_expr decimals_from(nb_grammar *g, double lo, bool open)
{
    decimal d = decimal_of(lo);
    nb_expr above = nb_grammar_seq2(g, naturals(g, d.whole + 1, most), any_fraction(g));
    return nb_grammar_any2(g, above, nb_grammar_seq2(g, naturals(g, d.whole, d.whole), fraction_above(g, &d, open)));
}

static nb_expr decimals_to(nb_grammar *g, double hi, bool open)
{
    decimal d = decimal_of(hi);
    nb_expr at = nb_grammar_seq2(g, naturals(g, d.whole, d.whole), fraction_below(g, &d, open));
    if (d.whole == 0) return at;
    return nb_grammar_any2(g, nb_grammar_seq2(g, naturals(g, 0, d.whole - 1), any_fraction(g)), at);
}

// From lo to hi, 0 <= lo; nothing where they cross.
static nb_expr decimals(nb_grammar *g, double lo, bool open_lo, double hi, bool open_hi)
{
    if (lo > hi || (lo == hi && (open_lo || open_hi))) return nb_grammar_nothing(g);
    nb_expr x = decimals_from(g, lo, open_lo);
    return isfinite(hi) ? nb_grammar_both(g, x, decimals_to(g, hi, open_hi)) : x;
}

static nb_expr numbers(nb_grammar *g, const bounds *b)
{
    nb_expr_list forms = {0};
    if (b->lo < 0) {
        double near = b->hi < 0 ? -b->hi : 0;
        nb_expr x = decimals(g, near, b->hi < 0 ? b->open_hi : true, -b->lo, b->open_lo);
        nb_expr_list_add(&forms, nb_grammar_seq2(g, nb_grammar_text(g, "-"), x));
    }
    if (b->hi >= 0)
        nb_expr_list_add(&forms, decimals(g, b->lo > 0 ? b->lo : 0, b->lo >= 0 && b->open_lo, b->hi, b->open_hi));
    return nb_grammar_both(g, nb_grammar_any(g, &forms), nb_grammar_json_decimal(g));
}

int nb_schema_number(nb_schema *s, const json_t *flat, const char *path, bool integer, nb_expr *out)
{
    bounds b = bounds_of(flat);
    if (integer || json_object_get(flat, "multipleOf")) return compile_integer(s, flat, path, out);
    if (!is_short(b.lo) || !is_short(b.hi))
        return nb_schema_refuse(s, path, "", "has a bound with too many digits; at most 15 on each side are supported");
    *out = isfinite(b.lo) || isfinite(b.hi) ? numbers(s->g, &b) : nb_grammar_call(s->g, s->json->number);
    return NB_OK;
}
