// Regular expressions as automata: PCRE2 says what they mean.
#include "support/check.h"
#include "support/walker.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "constrain/constrain.h"
#include "constrain/grammar_regex.h"

// NULL: too large, as some random expressions are.
static nb_automaton *compile(const char *pattern, bool search)
{
    nb_grammar g;
    nb_automaton *a = NULL;
    nb_error err = {0};
    nb_expr x;
    nb_grammar_open(&g);
    g.root = nb_grammar_rule(&g, NB_STR("root"));
    nb_test_ok(nb_grammar_regex(&g, nb_str_from(pattern), &(nb_regex_options){.search = search}, &x, &err), &err);
    nb_grammar_define(&g, g.root, x);
    int code = nb_automaton_compile(&g, &a, &err);
    if (code != NB_ERR_LIMIT) nb_test_ok(code, &err);
    nb_grammar_close(&g);
    return a;
}

static pcre2_code *oracle(const char *pattern, bool search)
{
    int code;
    PCRE2_SIZE at;
    uint32_t whole = search ? 0 : PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX | whole, &code, &at, NULL);
    if (!re) fail_msg("PCRE2 refuses %s: %d at %zu", pattern, code, at);
    return re;
}

// 1, 0, or -1 when backtracking takes too long.
static int oracle_accepts(const pcre2_code *re, nb_str text)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int n = pcre2_match(re, (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, 0, 0, match, NULL);
    pcre2_match_data_free(match);
    assert_true(n >= 0 || n == PCRE2_ERROR_NOMATCH || n == PCRE2_ERROR_MATCHLIMIT);
    return n == PCRE2_ERROR_MATCHLIMIT ? -1 : n >= 0;
}

static void change(nb_buf *text, uint64_t *seed)
{
    static const char *const piece[] = {"a", "b", "0", "-", " ", "A", "é", "\n", "_", "ab", "€"};
    const char *with = piece[walk_random(seed) % (sizeof(piece) / sizeof(piece[0]))];
    nb_str old = nb_buf_str(text);
    size_t at = walk_random(seed) % (old.len + 1), skip = walk_random(seed) % 3;
    nb_buf fresh = {0};
    nb_buf_add_c(&fresh, "");
    nb_buf_add_str(&fresh, nb_str_slice(old, 0, at));
    if (walk_random(seed) % 3) nb_buf_add_c(&fresh, with);
    nb_buf_add_str(&fresh, nb_str_slice(old, at + skip, old.len));
    nb_buf_drop(text);
    *text = fresh;
}

// Our "." leaves out the ends of lines of all dialects, PCRE2's only \n.
static bool has_line_end(const nb_buf *text)
{
    return memchr(text->ptr, '\r', text->len) || strstr(text->ptr, "\u2028") || strstr(text->ptr, "\u2029");
}

static void compare(const char *pattern, bool search, int n_text, uint64_t *seed)
{
    nb_automaton *a = compile(pattern, search);
    if (!a) return;
    pcre2_code *re = oracle(pattern, search);
    nb_buf text = {0};
    for (int i = 0; i < n_text; i++) {
        if (!walk_text(a, seed, 400, 4, &text)) continue;
        if (!oracle_accepts(re, nb_buf_str(&text))) fail_msg("%s does not match \"%s\"", pattern, text.ptr);
        change(&text, seed);
        bool valid = nb_utf8_valid(nb_buf_str(&text)), got = walk_accepts(a, nb_buf_str(&text));
        if (!got && has_line_end(&text)) continue;
        int wanted = valid ? oracle_accepts(re, nb_buf_str(&text)) : -1;
        if (wanted >= 0 && got != wanted)
            fail_msg("%s %s \"%s\"", pattern, got ? "wrongly accepts" : "wrongly refuses", text.ptr);
        assert_true(valid || !got);
    }
    nb_buf_drop(&text);
    pcre2_code_free(re);
    nb_automaton_close(a);
}

static void texts_of_an_expression_match_it_and_others_do_not(void **state)
{
    (void)state;
    static const char *const pattern[] = {
        "abc",
        "a|b|",
        "",
        "(ab|a)(bc|c)?",
        "a*b+c?",
        "[a-c]{2,5}x{3}y{0,2}z{2,}",
        "[^a-z]+",
        "\\d{3}-\\d{4}",
        "[\\w.+-]+@[\\w-]+\\.[a-z]{2,4}",
        "(a|b)*abb",
        "((a{2}){3}){2}",
        "\\x41\\u00e9\\u20ac",
        "[é-ü]+€?",
        ".{3}",
        "a.?b",
        "(?:foo|ba[rz])+",
        "(?<n>x)(?i)yZ",
        "(?i:ab[c-e])d",
        "\\s*\\S+\\W\\D",
        "[\\d\\-x]+",
        "[]a]+",
        "[a\\]b-]+",
        "x{2",
        "a*?b+?",
        "\\.\\*\\\\\\/",
        "(|a){3}",
        "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}",
        "^abc$",
        "^(a|b)$",
        "(^a|^b)c$",
        "(?=.*b)[a-c]{2,4}",
        "(?!a|bc)[a-c]{1,3}",
        "(?=a)(?!.*c$)[a-d]*|x",
        "[😀-🙏]{1,2}",
    };
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof(pattern) / sizeof(pattern[0]); i++) compare(pattern[i], false, 200, &seed);
}

static void a_search_has_any_text_around_its_match(void **state)
{
    (void)state;
    static const char *const pattern[] = {"ab",
                                          "^ab",
                                          "ab$",
                                          "^ab$",
                                          "^a|b$",
                                          "(^a|b)c",
                                          "",
                                          "^",
                                          "$",
                                          "a*",
                                          "^(a|b)+$",
                                          "(?i)^ab",
                                          "^(?=.*[0-9])(?=.*[a-c])",
                                          "^(?!^[-a]*$)[-a]?0*b*$",
                                          "^(?!ab)a|b$"};
    uint64_t seed = 2;
    for (size_t i = 0; i < sizeof(pattern) / sizeof(pattern[0]); i++) compare(pattern[i], true, 200, &seed);
}

// ---- Random expressions

static void add_random(nb_buf *out, int depth, uint64_t *seed)
{
    static const char *const atom[] = {"a", "b", "0", "[ab]", "[^a]", "\\d", "é", ".", "[a-f0-9]", "-"};
    static const char *const suffix[] = {"", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "*?"};
    int n = 1 + (int)(walk_random(seed) % 3);
    for (int i = 0; i < n; i++) {
        if (depth > 0 && walk_random(seed) % 2) {
            nb_buf_add_c(out, walk_random(seed) % 2 ? "(" : "(?:");
            add_random(out, depth - 1, seed);
            if (walk_random(seed) % 2) {
                nb_buf_add_c(out, "|");
                add_random(out, depth - 1, seed);
            }
            nb_buf_add_c(out, ")");
        } else {
            nb_buf_add_c(out, atom[walk_random(seed) % (sizeof(atom) / sizeof(atom[0]))]);
        }
        nb_buf_add_c(out, suffix[walk_random(seed) % (sizeof(suffix) / sizeof(suffix[0]))]);
    }
}

static void random_expressions_mean_what_pcre2_says(void **state)
{
    (void)state;
    uint64_t seed = 3;
    nb_buf pattern = {0};
    for (int i = 0; i < 150; i++) {
        nb_buf_clear(&pattern);
        add_random(&pattern, 2, &seed);
        compare(pattern.ptr, i % 3 == 0, 20, &seed);
    }
    nb_buf_drop(&pattern);
}

// ---- Refusals

static void refuses(const char *pattern, const char *part)
{
    nb_automaton *a;
    nb_error err = {0};
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_REGEX, .text = nb_str_from(pattern)};
    nb_test_fails(nb_constrain_compile(&spec, &a, &err), &err, part);
}

static void what_is_not_supported_is_named_with_its_place(void **state)
{
    (void)state;
    refuses("a(?=b)", "look-ahead in its middle");
    refuses("((?=a)b)c", "look-ahead in its middle");
    refuses("a(?<!b)", "look-behind");
    refuses("(a)\\1", "back reference");
    refuses("a\\b", "word boundary");
    refuses("\\p{L}", "Unicode property");
    refuses("a++", "possessive");
    refuses("a^b", "anchor");
    refuses("(a", "at byte 2");
    refuses("a)", "\")\" without");
    refuses("[a", "class that is not closed");
    refuses("[b-a]", "goes down");
    refuses("*a", "quantifier");
    refuses("a{3,1}", "bounds");
    refuses("a\\", "backslash");
    refuses("[^\\s\\S]", "no text");
}

static void hostile_expressions_are_refused_soon(void **state)
{
    (void)state;
    nb_buf nested = {0};
    refuses("(a|b)*a(a|b){40}", "too large");
    refuses("((((a{60000}){60000}){60000}){60000})", "too large");
    refuses("(((.{999}){999}){999})*x", "too large");
    refuses("a{99999999999999999999}", "too many times");
    for (int i = 0; i < 5000; i++) nb_buf_add_c(&nested, "(");
    refuses(nested.ptr, "nested");
    nb_buf_clear(&nested);
    for (int i = 0; i < 5000; i++) nb_buf_add_c(&nested, "(a*)*");
    nb_automaton *a;
    nb_error err = {0};
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_REGEX, .text = nb_buf_str(&nested)};
    if (nb_constrain_compile(&spec, &a, &err) == NB_OK) nb_automaton_close(a);
    nb_buf_drop(&nested);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_an_expression_match_it_and_others_do_not),
        cmocka_unit_test(a_search_has_any_text_around_its_match),
        cmocka_unit_test(random_expressions_mean_what_pcre2_says),
        cmocka_unit_test(what_is_not_supported_is_named_with_its_place),
        cmocka_unit_test(hostile_expressions_are_refused_soon),
    };
    return nb_test_run("regex", tests);
}
