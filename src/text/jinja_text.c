// Text for the template engine: building it in the job's arena, and Python's string operations by code points.
#include "text/jinja_internal.h"

#include <string.h>
#include <utf8proc.h>

// Copying and scanning cost steps, so that a template cannot spend minutes on a few huge strings.
static void charge_bytes(nb_jinja *j, size_t n_byte)
{
    nb_jinja_charge(j, n_byte / 64);
}

static void reserve(nb_jinja *j, nb_text *t, size_t n_more)
{
    if (n_more < t->cap - t->len) return; // one byte stays for the NUL
    if (n_more > NB_JINJA_OUTPUT_MAX - t->len)
        nb_jinja_fail(j, "it makes more than %d MiB of text", NB_JINJA_OUTPUT_MAX >> 20);
    size_t cap = t->len + n_more + 1;
    if (cap < 2 * t->cap) cap = 2 * t->cap;
    if (cap < 32) cap = 32;
    char *more = nb_jinja_alloc(j, cap);
    if (t->len) memcpy(more, t->ptr, t->len);
    t->ptr = more;
    t->cap = cap;
}

void nb_text_add(nb_jinja *j, nb_text *t, nb_str s)
{
    charge_bytes(j, s.len);
    reserve(j, t, s.len);
    if (s.len) memcpy(t->ptr + t->len, s.ptr, s.len);
    t->len += s.len;
    t->ptr[t->len] = 0;
}

void nb_text_add_c(nb_jinja *j, nb_text *t, const char *s)
{
    nb_text_add(j, t, nb_str_from(s));
}

void nb_text_add_code(nb_jinja *j, nb_text *t, uint32_t code_point)
{
    char bytes[4];
    int n = nb_utf8_encode(code_point, bytes);
    nb_text_add(j, t, (nb_str){bytes, (size_t)n});
}

void nb_text_repeat(nb_jinja *j, nb_text *t, nb_str s, int64_t n)
{
    if (n <= 0 || s.len == 0) return;
    if ((uint64_t)n > NB_JINJA_OUTPUT_MAX / s.len) nb_jinja_fail(j, "a repeated string is too long");
    reserve(j, t, s.len * (size_t)n);
    for (int64_t i = 0; i < n; i++) nb_text_add(j, t, s);
}

nb_str nb_text_str(const nb_text *t)
{
    return t->ptr ? (nb_str){t->ptr, t->len} : NB_STR("");
}

bool nb_text_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t nb_text_count(nb_jinja *j, nb_str s)
{
    size_t n = 0;
    charge_bytes(j, s.len);
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

// Byte offset of the code point that is n behind offset `at`.
static size_t skip_codes(nb_str s, size_t at, int64_t n)
{
    for (; n > 0 && at < s.len; n--) {
        at++;
        while (at < s.len && ((unsigned char)s.ptr[at] & 0xc0) == 0x80) at++;
    }
    return at;
}

nb_str nb_text_sub(nb_str s, int64_t from, int64_t to)
{
    size_t begin = skip_codes(s, 0, from);
    return nb_str_slice(s, begin, skip_codes(s, begin, to - from));
}

static bool is_stripped(uint32_t c, const nb_str *chars)
{
    if (!chars) return nb_text_is_space(c);
    for (size_t at = 0; at < chars->len;)
        if (nb_utf8_decode(*chars, &at) == c) return true;
    return false;
}

nb_str nb_text_strip(nb_jinja *j, nb_str s, const nb_str *chars, int sides)
{
    size_t begin = 0, end = s.len;
    while ((sides & NB_STRIP_LEFT) && begin < end) {
        size_t next = begin;
        if (!is_stripped(nb_utf8_decode(s, &next), chars)) break;
        begin = next;
    }
    while ((sides & NB_STRIP_RIGHT) && begin < end) {
        size_t last = end - 1;
        while (last > begin && ((unsigned char)s.ptr[last] & 0xc0) == 0x80) last--;
        size_t next = last;
        if (!is_stripped(nb_utf8_decode(s, &next), chars)) break;
        end = last;
    }
    nb_jinja_charge(j, (s.len - (end - begin)) * (chars ? 1 + chars->len : 1) / 64);
    return nb_str_slice(s, begin, end);
}

// ---- Case

// The letters whose other case is more than one character (Unicode's SpecialCasing, without Greek iota subscripts).
static const struct {
    uint32_t from;
    const char *upper, *title;
} wide_upper[] = {
    {0xdf, "SS", "Ss"},     {0x149, "ʼN", "ʼN"},  {0x1f0, "J̌", "J̌"},    {0x390, "Ϊ́", "Ϊ́"},    {0x3b0, "Ϋ́", "Ϋ́"},
    {0x587, "ԵՒ", "Եւ"},    {0x1e96, "H̱", "H̱"},   {0x1e97, "T̈", "T̈"},   {0x1e98, "W̊", "W̊"},   {0x1e99, "Y̊", "Y̊"},
    {0x1e9a, "Aʾ", "Aʾ"},   {0xfb00, "FF", "Ff"}, {0xfb01, "FI", "Fi"}, {0xfb02, "FL", "Fl"}, {0xfb03, "FFI", "Ffi"},
    {0xfb04, "FFL", "Ffl"}, {0xfb05, "ST", "St"}, {0xfb06, "ST", "St"},
};

static bool add_wide(nb_jinja *j, nb_text *t, uint32_t c, nb_text_case mode)
{
    if (mode == NB_CASE_LOWER) {
        if (c == 0x130) nb_text_add_c(j, t, "i̇");
        return c == 0x130;
    }
    if (mode == NB_CASE_FOLD) {
        if (c == 0xdf) nb_text_add_c(j, t, "ss");
        return c == 0xdf;
    }
    for (size_t i = 0; i < sizeof(wide_upper) / sizeof(wide_upper[0]); i++)
        if (wide_upper[i].from == c) {
            nb_text_add_c(j, t, mode == NB_CASE_UPPER ? wide_upper[i].upper : wide_upper[i].title);
            return true;
        }
    return false;
}

void nb_text_add_cased(nb_jinja *j, nb_text *t, nb_str s, nb_text_case mode)
{
    for (size_t at = 0; at < s.len;) {
        uint32_t c = nb_utf8_decode(s, &at);
        if (c >= 0x80 && add_wide(j, t, c, mode)) continue;
        utf8proc_int32_t code = (utf8proc_int32_t)c;
        nb_text_add_code(j, t,
                         (uint32_t)(mode == NB_CASE_UPPER   ? utf8proc_toupper(code)
                                    : mode == NB_CASE_TITLE ? utf8proc_totitle(code)
                                                            : utf8proc_tolower(code)));
    }
    charge_bytes(j, s.len * 16);
}

nb_str nb_text_cased(nb_jinja *j, nb_str s, nb_text_case mode)
{
    nb_text t = {0};
    nb_text_add_cased(j, &t, s, mode);
    return nb_text_str(&t);
}

// ---- Pieces

// An empty `old` stands before every character and at the end.
static nb_str replace_between(nb_jinja *j, nb_str s, nb_str new, int64_t n_max)
{
    nb_text t = {0};
    size_t at = 0;
    for (int64_t n = 0; n_max < 0 || n < n_max; n++) {
        nb_text_add(j, &t, new);
        if (at >= s.len) break;
        size_t next = skip_codes(s, at, 1);
        nb_text_add(j, &t, nb_str_slice(s, at, next));
        at = next;
        nb_jinja_charge(j, 1);
    }
    nb_text_add(j, &t, nb_str_slice(s, at, s.len));
    return nb_text_str(&t);
}

nb_str nb_text_replace(nb_jinja *j, nb_str s, nb_str old, nb_str new, int64_t n_max)
{
    if (old.len == 0) return replace_between(j, s, new, n_max);
    charge_bytes(j, s.len);
    nb_text t = {0};
    size_t from = 0;
    for (int64_t n = 0, at; (n_max < 0 || n < n_max) && (at = nb_str_find(s, old, from)) >= 0; n++) {
        nb_text_add(j, &t, nb_str_slice(s, from, (size_t)at));
        nb_text_add(j, &t, new);
        from = (size_t)at + old.len;
        nb_jinja_charge(j, 1);
    }
    if (from == 0) return s;
    nb_text_add(j, &t, nb_str_slice(s, from, s.len));
    return nb_text_str(&t);
}

static bool is_line_end(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

nb_value nb_text_lines(nb_jinja *j, nb_str s)
{
    int64_t n = 0, cap = 1;
    for (size_t at = 0; at < s.len;) cap += is_line_end(nb_utf8_decode(s, &at));
    charge_bytes(j, 2 * s.len);
    nb_value *line = NB_JINJA_ARRAY(j, nb_value, cap);
    size_t from = 0;
    for (size_t at = 0; at < s.len;) {
        size_t end = at;
        uint32_t c = nb_utf8_decode(s, &at);
        if (!is_line_end(c)) continue;
        if (c == '\r' && at < s.len && s.ptr[at] == '\n') at++;
        line[n++] = nb_value_str(nb_str_slice(s, from, end));
        from = at;
    }
    if (from < s.len) line[n++] = nb_value_str(nb_str_slice(s, from, s.len));
    return nb_value_list(j, line, n);
}

nb_str nb_text_pad(nb_jinja *j, nb_str s, int64_t width, char align, nb_str fill)
{
    int64_t n = width - (int64_t)nb_text_count(j, s);
    if (n <= 0) return s;
    // Python puts the odd blank of a centred text on the left only when the width is odd.
    int64_t left = align == '<' ? 0 : align == '>' ? n : n / 2 + (n & width & 1);
    nb_text t = {0};
    nb_text_repeat(j, &t, fill, left);
    nb_text_add(j, &t, s);
    nb_text_repeat(j, &t, fill, n - left);
    return nb_text_str(&t);
}

nb_str nb_text_escape(nb_jinja *j, nb_str s)
{
    nb_text t = {0};
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        const char *entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '\'' ? "&#39;"
                             : c == '"'  ? "&#34;"
                                         : NULL;
        nb_text_add(j, &t, entity ? nb_str_from(entity) : nb_str_slice(s, i, i + 1));
    }
    charge_bytes(j, s.len * 16);
    return nb_text_str(&t);
}
