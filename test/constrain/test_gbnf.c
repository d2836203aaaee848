// Grammars in GBNF: what they accept, and what is refused.
#include "support/check.h"
#include "support/walker.h"

#include <string.h>

#include "constrain/constrain.h"

static int compile(const char *grammar, nb_automaton **out, nb_error *err)
{
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_GRAMMAR, .text = nb_str_from(grammar)};
    return nb_constrain_compile(&spec, out, err);
}

// `yes` and `no` are lists that end with NULL.
static void check(const char *grammar, const char *const *yes, const char *const *no)
{
    nb_automaton *a;
    nb_error err = {0};
    nb_test_ok(compile(grammar, &a, &err), &err);
    for (; *yes; yes++)
        if (!walk_accepts(a, nb_str_from(*yes))) fail_msg("refuses \"%s\"", *yes);
    for (; *no; no++)
        if (walk_accepts(a, nb_str_from(*no))) fail_msg("accepts \"%s\"", *no);
    nb_automaton_close(a);
}

#define LIST(...)                       \
    (const char *const[])               \
    {                                   \
        __VA_ARGS__ __VA_OPT__(, ) NULL \
    }

static void notation_means_what_llama_cpp_says(void **state)
{
    (void)state;
    check("root ::= \"a\" | \"b\"+ \"c\"?", LIST("a", "b", "bbc"), LIST("", "ab", "c", "acc"));
    check("root ::= [a-c] [^a-c] .", LIST("axy", "b\n€"), LIST("aax", "ax", "dxx"));
    check("# first\nroot ::= item (\",\" item)* # list\nitem ::=\n  [0-9]{2}\n  | \"x\"{0,1} \"y\"\n",
          LIST("12", "xy,y,34"), LIST("1", "12,", "x"));
    check("root ::= \"\\x41\\u00e9\\\"\\n\\\\\"", LIST("A\xc3\xa9\"\n\\"), LIST("A"));
    check("root ::= \"\" | (\"a\" | ) \"b\"", LIST("", "ab", "b"), LIST("a"));
    check("root::=a-1\na-1::=\"k\"{2,}", LIST("kk", "kkkk"), LIST("k"));
}

static void rules_may_call_each_other_and_themselves(void **state)
{
    (void)state;
    check("root ::= \"(\" root \")\" root | \"\"", LIST("", "()", "(())()", "((()()))"), LIST("(", ")(", "(()"));
    check("root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"c\"", LIST("c", "aca", "abbcbba"), LIST("abcab", "aa"));
    check("root ::= sum\nsum ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" sum \")\"", LIST("1+(2+3)+44", "((7))"),
          LIST("1+", "(1", "1)"));
    // Two rules that begin alike are both followed.
    check("root ::= a | b\na ::= \"x\" a \"1\" | \"x1\"\nb ::= \"x\" b \"2\" | \"x2\"", LIST("x1", "xx22", "xxx111"),
          LIST("xx12", "xx1"));
    check("root ::= list\nlist ::= \"i\" list | \"i\"", LIST("i", "iiiiiiii"), LIST("", "j"));
    check("root ::= (e)* \"x\"\ne ::= \"a\" | \"\"", LIST("x", "aax"), LIST("a"));
}

static void a_long_text_needs_no_more_memory_than_its_nesting(void **state)
{
    (void)state;
    nb_automaton *a;
    nb_error err = {0};
    nb_buf text = {0};
    nb_test_ok(compile("root ::= \"[\" (item (\",\" item)*)? \"]\"\nitem ::= \"1\" | root", &a, &err), &err);
    nb_buf_add_c(&text, "[1");
    for (int i = 0; i < 100000; i++) nb_buf_add_c(&text, ",[1,[1]]");
    nb_buf_add_c(&text, "]");
    assert_true(walk_accepts(a, nb_buf_str(&text)));
    nb_buf_drop(&text);
    nb_automaton_close(a);
}

static void refuses(const char *grammar, const char *part)
{
    nb_automaton *a;
    nb_error err = {0};
    nb_test_fails(compile(grammar, &a, &err), &err, part);
}

static void mistakes_are_named_with_their_line(void **state)
{
    (void)state;
    refuses("", "no rule \"root\"");
    refuses("start: \"a\"", "name ::=");
    refuses("root ::= a", "\"a\", which it does not define");
    refuses("root ::= \"a\"\nroot ::= \"b\"", "line 2 of the grammar has a rule that was defined before");
    refuses("root ::= \"a", "not closed");
    refuses("root ::= [a", "not closed");
    refuses("root ::= (\"a\"", "not closed");
    refuses("root ::= \"a\" )", "no rule where one must begin");
    refuses("root ::= [b-a]", "goes down");
    refuses("root ::= \"a\"{2", "braces");
    refuses("root ::= \"\\q\"", "escape");
    refuses("root ::= <[1]>", "not expected");
    refuses("root ::= \"a\"??????????", "too many quantifiers");
}

static void what_can_never_end_or_begin_is_refused(void **state)
{
    (void)state;
    refuses("root ::= root \"a\" | \"a\"", "\"root\" is left-recursive");
    refuses("root ::= a\na ::= b? c\nb ::= \"x\"\nc ::= a \"y\" | \"z\"", "left-recursive");
    refuses("root ::= \"a\" root", "no text");
    refuses("root ::= \"a\" x\nx ::= \"b\" y\ny ::= \"c\" x", "no text");
}

static void hostile_grammars_are_refused_or_bounded(void **state)
{
    (void)state;
    nb_automaton *a;
    nb_error err = {0};
    nb_buf text = {0};
    nb_buf_add_c(&text, "root ::= r0\n");
    for (int i = 0; i < 3000; i++) nb_buf_printf(&text, "r%d ::= r%d \"x\" | r%d \"y\" | \"\"\n", i, i + 1, i + 1);
    nb_buf_add_c(&text, "r3000 ::= \"z\"");
    nb_test_ok(compile(text.ptr, &a, &err), &err); // too many stacks at once: reading stops, and says so
    nb_matcher *m = nb_matcher_open(a);
    assert_false(nb_matcher_read(m, NB_STR("z")));
    nb_matcher_close(m);
    nb_automaton_close(a);
    nb_buf_clear(&text);
    for (int i = 0; i < 70000; i++) nb_buf_printf(&text, "r%d::=\"x\"\n", i);
    nb_buf_add_c(&text, "root::=r1");
    refuses(text.ptr, "too large");
    nb_buf_drop(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notation_means_what_llama_cpp_says),
        cmocka_unit_test(rules_may_call_each_other_and_themselves),
        cmocka_unit_test(a_long_text_needs_no_more_memory_than_its_nesting),
        cmocka_unit_test(mistakes_are_named_with_their_line),
        cmocka_unit_test(what_can_never_end_or_begin_is_refused),
        cmocka_unit_test(hostile_grammars_are_refused_or_bounded),
    };
    return nb_test_run("gbnf", tests);
}
