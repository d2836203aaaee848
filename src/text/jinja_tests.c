// Tests: `x is NAME`.
#include "text/jinja_internal.h"

#define TEST(name, condition)                                                 \
    static nb_value test_##name(nb_jinja *j, nb_value v, const nb_args *args) \
    {                                                                         \
        (void)j, (void)v, (void)args;                                         \
        return nb_value_bool(condition);                                      \
    }

static bool is_int(nb_value v)
{
    return v.kind == NB_V_INT || v.kind == NB_V_BIGINT;
}

static bool is_iterable(nb_value v)
{
    return nb_value_is_seq(v) || v.kind == NB_V_STR || v.kind == NB_V_DICT || v.kind == NB_V_UNDEFINED ||
           v.kind == NB_V_LOOP;
}

static bool is_sequence(nb_value v)
{
    return is_iterable(v) && v.kind != NB_V_ITERATOR && v.kind != NB_V_LOOP && v.kind != NB_V_VIEW;
}

static bool is_callable(nb_value v)
{
    return v.kind == NB_V_MACRO || v.kind == NB_V_FUNCTION || v.kind == NB_V_METHOD;
}

// All letters of s are of the given case, and there is one.
static bool has_case(nb_jinja *j, nb_value v, nb_text_case mode, nb_text_case other)
{
    nb_str s = nb_text_of(j, v);
    return nb_str_equal(nb_text_cased(j, s, mode), s) && !nb_str_equal(nb_text_cased(j, s, other), s);
}

// Same object: for values that Python shares (None, booleans, small integers) or that are one thing here.
static bool is_same(nb_jinja *j, nb_value a, nb_value b)
{
    if (a.kind != b.kind) return false;
    if (nb_value_is_seq(a) || a.kind == NB_V_DICT || a.kind == NB_V_NAMESPACE) return a.seq == b.seq;
    return nb_value_equal(j, a, b);
}

static int64_t remainder_of(nb_jinja *j, nb_value v, nb_value by)
{
    return nb_value_need_int(j, nb_jinja_binary(j, NB_OP_MOD, v, by), "the operand");
}

TEST(boolean, v.kind == NB_V_BOOL)
TEST(callable, is_callable(v))
TEST(defined, v.kind != NB_V_UNDEFINED)
TEST(undefined, v.kind == NB_V_UNDEFINED)
TEST(none, v.kind == NB_V_NONE)
TEST(true, v.kind == NB_V_BOOL && v.truth)
TEST(false, v.kind == NB_V_BOOL && !v.truth)
TEST(float, v.kind == NB_V_FLOAT)
TEST(integer, is_int(v))
TEST(number, is_int(v) || v.kind == NB_V_BOOL || v.kind == NB_V_FLOAT)
TEST(string, v.kind == NB_V_STR)
TEST(mapping, v.kind == NB_V_DICT)
TEST(sequence, is_sequence(v))
TEST(iterable, is_iterable(v))
TEST(escaped, false) // there is no marked-up text here
TEST(upper, has_case(j, v, NB_CASE_UPPER, NB_CASE_LOWER))
TEST(lower, has_case(j, v, NB_CASE_LOWER, NB_CASE_UPPER))
TEST(odd, remainder_of(j, v, nb_value_int(2)) == 1)
TEST(even, remainder_of(j, v, nb_value_int(2)) == 0)
TEST(divisibleby, remainder_of(j, v, args->item[0]) == 0)
TEST(eq, nb_value_equal(j, v, args->item[0]))
TEST(ne, !nb_value_equal(j, v, args->item[0]))
TEST(lt, nb_value_compare(j, v, args->item[0], "<") < 0)
TEST(le, nb_value_compare(j, v, args->item[0], "<=") <= 0)
TEST(gt, nb_value_compare(j, v, args->item[0], ">") > 0)
TEST(ge, nb_value_compare(j, v, args->item[0], ">=") >= 0)
TEST(in, nb_jinja_contains(j, args->item[0], v))
TEST(sameas, is_same(j, v, args->item[0]))
TEST(filter, nb_jinja_find_filter(nb_text_of(j, v)) != NULL)
TEST(test, nb_jinja_find(nb_jinja_tests, nb_text_of(j, v)) != NULL)

const nb_native nb_jinja_tests[] = {
    {"boolean", "", test_boolean},
    {"callable", "", test_callable},
    {"defined", "", test_defined},
    {"divisibleby", "num", test_divisibleby},
    {"==", "other", test_eq},
    {"eq", "other", test_eq},
    {"equalto", "other", test_eq},
    {"!=", "other", test_ne},
    {"ne", "other", test_ne},
    {"<", "other", test_lt},
    {"lt", "other", test_lt},
    {"lessthan", "other", test_lt},
    {"<=", "other", test_le},
    {"le", "other", test_le},
    {">", "other", test_gt},
    {"gt", "other", test_gt},
    {"greaterthan", "other", test_gt},
    {">=", "other", test_ge},
    {"ge", "other", test_ge},
    {"escaped", "", test_escaped},
    {"even", "", test_even},
    {"false", "", test_false},
    {"filter", "", test_filter},
    {"float", "", test_float},
    {"in", "seq", test_in},
    {"integer", "", test_integer},
    {"iterable", "", test_iterable},
    {"lower", "", test_lower},
    {"mapping", "", test_mapping},
    {"none", "", test_none},
    {"number", "", test_number},
    {"odd", "", test_odd},
    {"sameas", "other", test_sameas},
    {"sequence", "", test_sequence},
    {"string", "", test_string},
    {"test", "", test_test},
    {"true", "", test_true},
    {"undefined", "", test_undefined},
    {"upper", "", test_upper},
    {0},
};
