// Methods of strings, dictionaries, lists and of `loop`. What would change a list or dictionary is hidden, as in
// Jinja's immutable sandbox.
#include "text/jinja_internal.h"

#include <string.h>
#include <utf8proc.h>

bool nb_jinja_is_unsafe_method(nb_value self, nb_str name)
{
    static const char *const list[] = {"append", "clear", "insert", "pop", "remove", "reverse", "sort", "extend", NULL};
    static const char *const dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *unsafe = self.kind == NB_V_LIST ? list : self.kind == NB_V_DICT ? dict : NULL;
    for (; unsafe && *unsafe; unsafe++)
        if (nb_str_equal_c(name, *unsafe)) return true;
    return false;
}

static int64_t int_or(nb_jinja *j, nb_value v, int64_t fallback)
{
    return v.kind == NB_V_ABSENT || v.kind == NB_V_NONE ? fallback : nb_value_need_int(j, v, "the argument");
}

static nb_str str_or(nb_jinja *j, nb_value v, nb_str fallback)
{
    return v.kind == NB_V_ABSENT || v.kind == NB_V_NONE ? fallback : nb_value_need_str(j, v, "the argument");
}

static nb_value str_lower(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_str(nb_text_cased(j, v.text, NB_CASE_LOWER));
}

static nb_value str_upper(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_str(nb_text_cased(j, v.text, NB_CASE_UPPER));
}

static nb_value str_casefold(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_str(nb_text_cased(j, v.text, NB_CASE_FOLD));
}

static nb_value str_capitalize(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_text t = {0};
    nb_str first = nb_text_sub(v.text, 0, 1);
    nb_text_add_cased(j, &t, first, NB_CASE_TITLE);
    nb_text_add_cased(j, &t, nb_str_slice(v.text, first.len, v.text.len), NB_CASE_LOWER);
    return nb_value_str(nb_text_str(&t));
}

static bool is_cased(uint32_t c)
{
    utf8proc_int32_t code = (utf8proc_int32_t)c;
    return utf8proc_toupper(code) != code || utf8proc_tolower(code) != code || c == 0xdf;
}

static nb_value str_title(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_text t = {0};
    bool inside = false; // a letter came right before
    for (size_t at = 0; at < v.text.len;) {
        size_t from = at;
        uint32_t c = nb_utf8_decode(v.text, &at);
        nb_text_add_cased(j, &t, nb_str_slice(v.text, from, at), inside ? NB_CASE_LOWER : NB_CASE_TITLE);
        inside = is_cased(c);
    }
    return nb_value_str(nb_text_str(&t));
}

static nb_value strip(nb_jinja *j, nb_value v, const nb_args *a, int sides)
{
    nb_str chars = str_or(j, a->item[0], (nb_str){0});
    bool white = a->item[0].kind == NB_V_ABSENT || a->item[0].kind == NB_V_NONE;
    return nb_value_str(nb_text_strip(j, v.text, white ? NULL : &chars, sides));
}

static nb_value str_strip(nb_jinja *j, nb_value v, const nb_args *a)
{
    return strip(j, v, a, NB_STRIP_LEFT | NB_STRIP_RIGHT);
}
static nb_value str_lstrip(nb_jinja *j, nb_value v, const nb_args *a)
{
    return strip(j, v, a, NB_STRIP_LEFT);
}
static nb_value str_rstrip(nb_jinja *j, nb_value v, const nb_args *a)
{
    return strip(j, v, a, NB_STRIP_RIGHT);
}

// ---- Splitting and joining

typedef struct pieces {
    nb_value *item;
    int64_t n, cap;
} pieces;

static void add_piece(nb_jinja *j, pieces *p, nb_str s)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 8;
        nb_value *more = NB_JINJA_ARRAY(j, nb_value, p->cap);
        if (p->n) memcpy(more, p->item, sizeof(*more) * (size_t)p->n);
        p->item = more;
    }
    nb_jinja_charge(j, 1 + s.len / 64);
    p->item[p->n++] = nb_value_str(s);
}

static void split_by(nb_jinja *j, pieces *p, nb_str s, nb_str separator, int64_t n_max)
{
    size_t from = 0;
    if (separator.len == 0) nb_jinja_fail(j, "empty separator");
    for (int64_t at; n_max != 0 && (at = nb_str_find(s, separator, from)) >= 0; n_max--) {
        add_piece(j, p, nb_str_slice(s, from, (size_t)at));
        from = (size_t)at + separator.len;
    }
    add_piece(j, p, nb_str_slice(s, from, s.len));
}

static size_t word_end(nb_str s, size_t at)
{
    while (at < s.len) {
        size_t next = at;
        if (nb_text_is_space(nb_utf8_decode(s, &next))) break;
        at = next;
    }
    return at;
}

static void split_by_space(nb_jinja *j, pieces *p, nb_str s, int64_t n_max)
{
    for (;;) {
        s = nb_text_strip(j, s, NULL, NB_STRIP_LEFT);
        if (s.len == 0) return;
        size_t end = n_max == 0 ? s.len : word_end(s, 0);
        nb_str word = nb_str_slice(s, 0, end);
        add_piece(j, p, n_max == 0 ? nb_text_strip(j, word, NULL, NB_STRIP_RIGHT) : word);
        s = nb_str_slice(s, end, s.len);
        n_max--;
    }
}

static nb_value str_split(nb_jinja *j, nb_value v, const nb_args *a)
{
    pieces p = {0};
    int64_t n_max = int_or(j, a->item[1], -1);
    if (a->item[0].kind == NB_V_ABSENT || a->item[0].kind == NB_V_NONE)
        split_by_space(j, &p, v.text, n_max);
    else
        split_by(j, &p, v.text, nb_value_need_str(j, a->item[0], "the separator"), n_max);
    return nb_value_list(j, p.item, p.n);
}

// Offset of the last `needle` that begins before `end`, or -1.
static int64_t find_last(nb_jinja *j, nb_str s, nb_str needle, size_t end)
{
    nb_jinja_charge(j, 1 + end / 16);
    for (size_t at = end + 1; at-- > 0;)
        if (at + needle.len <= s.len && (needle.len == 0 || !memcmp(s.ptr + at, needle.ptr, needle.len)))
            return (int64_t)at;
    return -1;
}

// rsplit: the same pieces as split, but with a limit the rest is at the front.
static nb_value str_rsplit(nb_jinja *j, nb_value v, const nb_args *a)
{
    int64_t n_max = int_or(j, a->item[1], -1);
    nb_str separator = str_or(j, a->item[0], (nb_str){0});
    pieces all = {0};
    if (n_max < 0) return str_split(j, v, a);
    if (a->item[0].kind == NB_V_ABSENT || a->item[0].kind == NB_V_NONE)
        nb_jinja_fail(j, "rsplit() with a limit needs a separator here");
    split_by(j, &all, v.text, separator, -1);
    int64_t n_tail = n_max < all.n ? n_max : all.n - 1;
    size_t tail = 0;
    for (int64_t i = all.n - n_tail; i < all.n; i++) tail += all.item[i].text.len + separator.len;
    all.item[all.n - n_tail - 1] = nb_value_str(nb_str_slice(v.text, 0, v.text.len - tail));
    return nb_value_list(j, all.item + all.n - n_tail - 1, n_tail + 1);
}

static nb_value triple(nb_jinja *j, nb_str a, nb_str b, nb_str c)
{
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, 3);
    item[0] = nb_value_str(a);
    item[1] = nb_value_str(b);
    item[2] = nb_value_str(c);
    return nb_value_seq(j, NB_V_TUPLE, item, 3);
}

static nb_value partition(nb_jinja *j, nb_value v, const nb_args *a, bool last)
{
    nb_str separator = nb_value_need_str(j, a->item[0], "the separator"), none = NB_STR("");
    if (separator.len == 0) nb_jinja_fail(j, "empty separator");
    int64_t at = last ? find_last(j, v.text, separator, v.text.len) : nb_str_find(v.text, separator, 0);
    if (at < 0) return last ? triple(j, none, none, v.text) : triple(j, v.text, none, none);
    return triple(j, nb_str_slice(v.text, 0, (size_t)at), separator,
                  nb_str_slice(v.text, (size_t)at + separator.len, v.text.len));
}

static nb_value str_partition(nb_jinja *j, nb_value v, const nb_args *a)
{
    return partition(j, v, a, false);
}
static nb_value str_rpartition(nb_jinja *j, nb_value v, const nb_args *a)
{
    return partition(j, v, a, true);
}

static nb_value str_splitlines(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_text_lines(j, v.text);
}

static nb_value str_join(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_seq items = nb_value_items(j, a->item[0]);
    nb_text t = {0};
    for (int64_t i = 0; i < items.n; i++) {
        if (i) nb_text_add(j, &t, v.text);
        nb_text_add(j, &t, nb_value_need_str(j, items.item[i], "an item of join()"));
    }
    return nb_value_str(nb_text_str(&t));
}

static nb_value str_replace(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str old = nb_value_need_str(j, a->item[0], "replace()'s argument 1");
    nb_str new = nb_value_need_str(j, a->item[1], "replace()'s argument 2");
    return nb_value_str(nb_text_replace(j, v.text, old, new, int_or(j, a->item[2], -1)));
}

// ---- Searching

// The part of v that the arguments start and end (in code points) name, as a slice.
static nb_str window(nb_jinja *j, nb_value v, const nb_args *a)
{
    if (a->item[1].kind == NB_V_ABSENT && a->item[2].kind == NB_V_ABSENT) return v.text;
    const nb_value bound[3] = {a->item[1], a->item[2], {0}};
    return nb_value_slice(j, v, bound).text;
}

// Code points before a byte of `part`, counted from the beginning of v; -1 stays.
static int64_t position(nb_jinja *j, nb_value v, nb_str part, int64_t at)
{
    if (at < 0) return -1;
    size_t end = (size_t)(part.ptr - v.text.ptr) + (size_t)at;
    return (int64_t)nb_text_count(j, nb_str_slice(v.text, 0, end));
}

static int64_t find(nb_jinja *j, nb_value v, const nb_args *a, bool last)
{
    nb_str needle = nb_value_need_str(j, a->item[0], "what is looked for"), part = window(j, v, a);
    nb_jinja_charge(j, part.len / 64);
    return position(j, v, part, last ? find_last(j, part, needle, part.len) : nb_str_find(part, needle, 0));
}

static nb_value found_or_fail(nb_jinja *j, int64_t at)
{
    if (at < 0) nb_jinja_fail(j, "substring not found");
    return nb_value_int(at);
}

static nb_value str_find(nb_jinja *j, nb_value v, const nb_args *a)
{
    return nb_value_int(find(j, v, a, false));
}
static nb_value str_rfind(nb_jinja *j, nb_value v, const nb_args *a)
{
    return nb_value_int(find(j, v, a, true));
}
static nb_value str_index(nb_jinja *j, nb_value v, const nb_args *a)
{
    return found_or_fail(j, find(j, v, a, false));
}
static nb_value str_rindex(nb_jinja *j, nb_value v, const nb_args *a)
{
    return found_or_fail(j, find(j, v, a, true));
}

static nb_value str_count(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str needle = nb_value_need_str(j, a->item[0], "what is counted"), part = window(j, v, a);
    if (needle.len == 0) return nb_value_int((int64_t)nb_text_count(j, part) + 1);
    int64_t n = 0;
    nb_jinja_charge(j, part.len / 64);
    for (int64_t at = 0; (at = nb_str_find(part, needle, (size_t)at)) >= 0; at += (int64_t)needle.len) n++;
    return nb_value_int(n);
}

// startswith and endswith take one string or a tuple of them.
static nb_value match_end(nb_jinja *j, nb_value v, const nb_args *a, bool (*match)(nb_str, nb_str))
{
    nb_str part = window(j, v, a);
    if (a->item[0].kind != NB_V_TUPLE)
        return nb_value_bool(match(part, nb_value_need_str(j, a->item[0], "startswith/endswith's first argument")));
    for (int64_t i = 0; i < a->item[0].seq->n; i++)
        if (match(part, nb_value_need_str(j, a->item[0].seq->item[i], "an item of the tuple")))
            return nb_value_bool(true);
    return nb_value_bool(false);
}

static nb_value str_startswith(nb_jinja *j, nb_value v, const nb_args *a)
{
    return match_end(j, v, a, nb_str_starts);
}
static nb_value str_endswith(nb_jinja *j, nb_value v, const nb_args *a)
{
    return match_end(j, v, a, nb_str_ends);
}

static nb_value str_removeprefix(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str fix = nb_value_need_str(j, a->item[0], "the prefix");
    return nb_str_starts(v.text, fix) ? nb_value_str(nb_str_slice(v.text, fix.len, v.text.len)) : v;
}

static nb_value str_removesuffix(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str fix = nb_value_need_str(j, a->item[0], "the suffix");
    return nb_str_ends(v.text, fix) ? nb_value_str(nb_str_slice(v.text, 0, v.text.len - fix.len)) : v;
}

// ---- Padding

static nb_value pad(nb_jinja *j, nb_value v, const nb_args *a, char align)
{
    int64_t width = nb_value_need_int(j, a->item[0], "the width");
    return nb_value_str(nb_text_pad(j, v.text, width, align, str_or(j, a->item[1], NB_STR(" "))));
}

static nb_value str_ljust(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pad(j, v, a, '<');
}
static nb_value str_rjust(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pad(j, v, a, '>');
}
static nb_value str_center(nb_jinja *j, nb_value v, const nb_args *a)
{
    return pad(j, v, a, '^');
}

static nb_value str_zfill(nb_jinja *j, nb_value v, const nb_args *a)
{
    size_t sign = v.text.len && (v.text.ptr[0] == '-' || v.text.ptr[0] == '+');
    nb_text t = {0};
    nb_text_add(j, &t, nb_str_slice(v.text, 0, sign));
    int64_t width = nb_value_need_int(j, a->item[0], "the width") - (int64_t)sign;
    nb_text_add(j, &t, nb_text_pad(j, nb_str_slice(v.text, sign, v.text.len), width, '>', NB_STR("0")));
    return nb_value_str(nb_text_str(&t));
}

// ---- Classes of characters

static bool is_alpha(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

static bool is_numeric(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

static bool is_alnum(uint32_t c)
{
    return is_alpha(c) || is_numeric(c);
}

static nb_value all_are(nb_jinja *j, nb_value v, bool (*is)(uint32_t))
{
    nb_jinja_charge(j, v.text.len / 8);
    for (size_t at = 0; at < v.text.len;)
        if (!is(nb_utf8_decode(v.text, &at))) return nb_value_bool(false);
    return nb_value_bool(v.text.len > 0);
}

static nb_value str_isalpha(nb_jinja *j, nb_value v, const nb_args *a)
{
    return (void)a, all_are(j, v, is_alpha);
}
static nb_value str_isalnum(nb_jinja *j, nb_value v, const nb_args *a)
{
    return (void)a, all_are(j, v, is_alnum);
}
static nb_value str_isdigit(nb_jinja *j, nb_value v, const nb_args *a)
{
    return (void)a, all_are(j, v, is_decimal);
}
static nb_value str_isnumeric(nb_jinja *j, nb_value v, const nb_args *a)
{
    return (void)a, all_are(j, v, is_numeric);
}
static nb_value str_isspace(nb_jinja *j, nb_value v, const nb_args *a)
{
    return (void)a, all_are(j, v, nb_text_is_space);
}

static nb_value str_isupper(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_bool(nb_jinja_apply_test(j, NB_STR("upper"), v, &(nb_args){0}));
}

static nb_value str_islower(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_bool(nb_jinja_apply_test(j, NB_STR("lower"), v, &(nb_args){0}));
}

static nb_value str_format(nb_jinja *j, nb_value v, const nb_args *a)
{
    return nb_value_str(nb_text_braces(j, v.text, a));
}

const nb_native nb_jinja_methods_str[] = {
    {"capitalize", "", str_capitalize},
    {"casefold", "", str_casefold},
    {"center", "width ?fill", str_center},
    {"count", "sub ?start ?end", str_count},
    {"endswith", "suffix ?start ?end", str_endswith},
    {"find", "sub ?start ?end", str_find},
    {"format", NULL, str_format},
    {"index", "sub ?start ?end", str_index},
    {"isalnum", "", str_isalnum},
    {"isalpha", "", str_isalpha},
    {"isdecimal", "", str_isdigit},
    {"isdigit", "", str_isdigit},
    {"islower", "", str_islower},
    {"isnumeric", "", str_isnumeric},
    {"isspace", "", str_isspace},
    {"isupper", "", str_isupper},
    {"join", "items", str_join},
    {"ljust", "width ?fill", str_ljust},
    {"lower", "", str_lower},
    {"lstrip", "?chars", str_lstrip},
    {"partition", "sep", str_partition},
    {"removeprefix", "prefix", str_removeprefix},
    {"removesuffix", "suffix", str_removesuffix},
    {"replace", "old new ?count", str_replace},
    {"rfind", "sub ?start ?end", str_rfind},
    {"rindex", "sub ?start ?end", str_rindex},
    {"rjust", "width ?fill", str_rjust},
    {"rpartition", "sep", str_rpartition},
    {"rsplit", "?sep ?maxsplit", str_rsplit},
    {"rstrip", "?chars", str_rstrip},
    {"split", "?sep ?maxsplit", str_split},
    {"splitlines", "", str_splitlines},
    {"startswith", "prefix ?start ?end", str_startswith},
    {"strip", "?chars", str_strip},
    {"title", "", str_title},
    {"upper", "", str_upper},
    {"zfill", "width", str_zfill},
    {0},
};
