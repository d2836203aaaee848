// Filters that make text. Most accept any value and take its str() first, as Jinja's do.
#include "text/jinja_internal.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

const nb_native *nb_jinja_find_filter(nb_str name)
{
    const nb_native *const tables[] = {nb_jinja_filters_text, nb_jinja_filters_list, nb_jinja_filters_pick,
                                       nb_jinja_filters_number};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        const nb_native *found = nb_jinja_find(tables[i], name);
        if (found) return found;
    }
    return NULL;
}

static bool is_given(nb_value v)
{
    return v.kind != NB_V_ABSENT;
}
static bool truth_of(nb_value v)
{
    return is_given(v) && nb_value_truth(v);
}

// A method of strings as a filter.
static nb_value as_method(nb_jinja *j, const char *name, nb_value v, const nb_args *a)
{
    nb_value text = nb_value_str(nb_text_of(j, v));
    return nb_jinja_apply(j, nb_jinja_find(nb_jinja_methods_str, nb_str_from(name)), text, a);
}

static nb_value filter_upper(nb_jinja *j, nb_value v, const nb_args *a)
{
    return as_method(j, "upper", v, a);
}
static nb_value filter_lower(nb_jinja *j, nb_value v, const nb_args *a)
{
    return as_method(j, "lower", v, a);
}
static nb_value filter_capitalize(nb_jinja *j, nb_value v, const nb_args *a)
{
    return as_method(j, "capitalize", v, a);
}
static nb_value filter_trim(nb_jinja *j, nb_value v, const nb_args *a)
{
    return as_method(j, "strip", v, a);
}

static nb_value filter_string(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_str(nb_text_of(j, v));
}

static nb_value filter_escape(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    return nb_value_str(nb_text_escape(j, nb_text_of(j, v)));
}

// Jinja's title differs from str.title: a word begins behind white space, a hyphen or an opening bracket only.
static nb_value filter_title(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_str s = nb_text_of(j, v);
    nb_text t = {0};
    bool inside = false;
    for (size_t at = 0; at < s.len;) {
        size_t from = at;
        uint32_t c = nb_utf8_decode(s, &at);
        nb_text_add_cased(j, &t, nb_str_slice(s, from, at), inside ? NB_CASE_LOWER : NB_CASE_UPPER);
        inside = !(nb_text_is_space(c) || (c && c < 0x80 && strchr("-({[<", (int)c)));
    }
    return nb_value_str(nb_text_str(&t));
}

static nb_value filter_replace(nb_jinja *j, nb_value v, const nb_args *a)
{
    int64_t n =
        is_given(a->item[2]) && a->item[2].kind != NB_V_NONE ? nb_value_need_int(j, a->item[2], "the count") : -1;
    return nb_value_str(nb_text_replace(j, nb_text_of(j, v), nb_text_of(j, a->item[0]), nb_text_of(j, a->item[1]), n));
}

static nb_value filter_center(nb_jinja *j, nb_value v, const nb_args *a)
{
    int64_t width = is_given(a->item[0]) ? nb_value_need_int(j, a->item[0], "the width") : 80;
    return nb_value_str(nb_text_pad(j, nb_text_of(j, v), width, '^', NB_STR(" ")));
}

static nb_value filter_format(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_value args = nb_value_seq(j, NB_V_TUPLE, a->item, a->n);
    if (a->n_named) {
        if (a->n) nb_jinja_fail(j, "format: positional and keyword arguments cannot be mixed");
        args = nb_value_dict(j, a->n_named);
        for (int64_t i = 0; i < a->n_named; i++)
            nb_value_set(j, args.dict, nb_value_str(a->named[i].name), a->named[i].value);
    }
    return nb_value_str(nb_text_percent(j, nb_text_of(j, v), args));
}

static nb_str indent_text(nb_jinja *j, nb_value width, int64_t fallback)
{
    if (width.kind == NB_V_STR) return width.text;
    nb_text t = {0};
    nb_text_repeat(j, &t, NB_STR(" "), is_given(width) ? nb_value_need_int(j, width, "the width") : fallback);
    return nb_text_str(&t);
}

static nb_value filter_indent(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str s = nb_text_of(j, v), indent = indent_text(j, a->item[0], 4);
    bool first = truth_of(a->item[1]), blank = truth_of(a->item[2]);
    nb_text t = {0};
    nb_text_add(j, &t, s);
    nb_text_add_c(j, &t, "\n"); // so that a newline at the end gives one more, empty line
    const nb_seq *line = nb_text_lines(j, nb_text_str(&t)).seq;
    nb_text out = {0};
    for (int64_t i = 0; i < line->n; i++) {
        if (i) nb_text_add_c(j, &out, "\n");
        if (i ? blank || line->item[i].text.len : first) nb_text_add(j, &out, indent);
        nb_text_add(j, &out, line->item[i].text);
    }
    return nb_value_str(nb_text_str(&out));
}

static nb_value filter_truncate(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_str s = nb_text_of(j, v), end = is_given(a->item[2]) ? nb_text_of(j, a->item[2]) : NB_STR("...");
    int64_t length = is_given(a->item[0]) ? nb_value_need_int(j, a->item[0], "the length") : 255;
    int64_t leeway =
        is_given(a->item[3]) && a->item[3].kind != NB_V_NONE ? nb_value_need_int(j, a->item[3], "the leeway") : 5;
    int64_t n_end = (int64_t)nb_text_count(j, end);
    if (length < n_end || leeway < 0) nb_jinja_fail(j, "truncate: length and leeway are too small");
    if ((int64_t)nb_text_count(j, s) - leeway <= length) return nb_value_str(s);
    nb_str kept = nb_text_sub(s, 0, length - n_end);
    for (size_t i = kept.len; i-- > 0 && !truth_of(a->item[1]);)
        if (kept.ptr[i] == ' ') {
            kept.len = i;
            break;
        }
    nb_text t = {0};
    nb_text_add(j, &t, kept);
    nb_text_add(j, &t, end);
    return nb_value_str(nb_text_str(&t));
}

static bool is_word_char(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
    return letter || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO || c == '_';
}

static nb_value filter_wordcount(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_str s = nb_text_of(j, v);
    int64_t n = 0;
    bool inside = false;
    for (size_t at = 0; at < s.len;) {
        bool word = is_word_char(nb_utf8_decode(s, &at));
        n += word && !inside;
        inside = word;
    }
    nb_jinja_charge(j, s.len / 8);
    return nb_value_int(n);
}

static void add_url(nb_jinja *j, nb_text *t, nb_str s, const char *safe)
{
    char out[4];
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr(safe, c));
        snprintf(out, sizeof(out), plain ? "%c" : "%%%02X", c);
        nb_text_add_c(j, t, out);
    }
    nb_jinja_charge(j, s.len / 4);
}

// Text is quoted; a dictionary or a list of pairs becomes a query string.
static nb_value filter_urlencode(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_text t = {0};
    if (v.kind != NB_V_DICT && !nb_value_is_seq(v)) {
        add_url(j, &t, nb_text_of(j, v), "/_.-~");
        return nb_value_str(nb_text_str(&t));
    }
    nb_seq items = nb_value_items(j, v);
    for (int64_t i = 0; i < items.n; i++) {
        nb_seq pair = v.kind == NB_V_DICT ? (nb_seq){0} : nb_value_items(j, items.item[i]);
        if (v.kind != NB_V_DICT && pair.n != 2) nb_jinja_fail(j, "urlencode needs pairs");
        if (i) nb_text_add_c(j, &t, "&");
        add_url(j, &t, nb_text_of(j, v.kind == NB_V_DICT ? items.item[i] : pair.item[0]), "_.-~");
        nb_text_add_c(j, &t, "=");
        add_url(j, &t, nb_text_of(j, v.kind == NB_V_DICT ? v.dict->item[i] : pair.item[1]), "_.-~");
    }
    return nb_value_str(nb_text_str(&t));
}

// Tags and comments go, runs of white space become one blank.
static nb_value filter_striptags(nb_jinja *j, nb_value v, const nb_args *a)
{
    (void)a;
    nb_str s = nb_text_of(j, v);
    nb_text bare = {0};
    for (size_t at = 0; at < s.len;) {
        bool comment = nb_str_starts(nb_str_slice(s, at, s.len), NB_STR("<!--"));
        int64_t end = s.ptr[at] != '<' ? -1 : nb_str_find(s, comment ? NB_STR("-->") : NB_STR(">"), at);
        if (end < 0) nb_text_add(j, &bare, nb_str_slice(s, at, at + 1));
        at = end < 0 ? at + 1 : (size_t)end + (comment ? 3 : 1);
        nb_jinja_charge(j, 1 + (s.ptr[at - 1] == '<' ? s.len / 64 : 0));
    }
    nb_value words = as_method(j, "split", nb_value_str(nb_text_str(&bare)), &(nb_args){0});
    return as_method(j, "join", nb_value_str(NB_STR(" ")), &(nb_args){.item = &words, .n = 1});
}

static nb_value filter_xmlattr(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_text t = {0};
    bool space = !is_given(a->item[0]) || nb_value_truth(a->item[0]);
    if (v.kind != NB_V_DICT) nb_jinja_fail(j, "xmlattr needs a mapping, not %s", nb_value_type(v));
    for (int64_t i = 0; i < v.dict->n; i++) {
        nb_value item = v.dict->item[i];
        if (item.kind == NB_V_NONE || item.kind == NB_V_UNDEFINED) continue;
        if (t.len || space) nb_text_add_c(j, &t, " ");
        nb_text_add(j, &t, nb_text_escape(j, nb_text_of(j, v.dict->key[i])));
        nb_text_add_c(j, &t, "=\"");
        nb_text_add(j, &t, nb_text_escape(j, nb_text_of(j, item)));
        nb_text_add_c(j, &t, "\"");
    }
    return nb_value_str(nb_text_str(&t));
}

static nb_value filter_tojson(nb_jinja *j, nb_value v, const nb_args *a)
{
    nb_value indent = a->item[1], separators = a->item[2];
    nb_json_style style = {.ascii = truth_of(a->item[0]), .sort_keys = truth_of(a->item[3])};
    style.lines = is_given(indent) && indent.kind != NB_V_NONE;
    style.indent = style.lines ? indent_text(j, indent, 0) : NB_STR("");
    style.comma = style.lines ? NB_STR(",") : NB_STR(", ");
    style.colon = NB_STR(": ");
    if (is_given(separators) && separators.kind != NB_V_NONE) {
        nb_seq pair = nb_value_items(j, separators);
        if (pair.n != 2) nb_jinja_fail(j, "tojson: separators must be a pair");
        style.comma = nb_value_need_str(j, pair.item[0], "a separator");
        style.colon = nb_value_need_str(j, pair.item[1], "a separator");
    }
    nb_text t = {0};
    nb_text_add_json(j, &t, v, &style);
    return nb_value_str(nb_text_str(&t));
}

const nb_native nb_jinja_filters_text[] = {
    {"capitalize", "", filter_capitalize},
    {"center", "?width", filter_center},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"forceescape", "", filter_escape},
    {"format", NULL, filter_format},
    {"indent", "?width ?first ?blank", filter_indent},
    {"lower", "", filter_lower},
    {"replace", "old new ?count", filter_replace},
    {"safe", "", filter_string},
    {"string", "", filter_string},
    {"striptags", "", filter_striptags},
    {"title", "", filter_title},
    {"tojson", "?ensure_ascii ?indent ?separators ?sort_keys", filter_tojson},
    {"trim", "?chars", filter_trim},
    {"truncate", "?length ?killwords ?end ?leeway", filter_truncate},
    {"upper", "", filter_upper},
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
    {"xmlattr", "?autospace", filter_xmlattr},
    {0},
};
