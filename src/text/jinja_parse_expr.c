// Expressions of the template language. Precedence, lowest first: if-else, or, and, not, comparisons, + -, ~, * / // %,
// **, unary, then attributes, calls, filters and tests, as in Jinja (where a filter binds tighter than arithmetic).
#include "text/jinja_internal.h"

#include <errno.h>
#include <stdlib.h>

static nb_node *parse_condition(nb_parser *p);
static nb_node *parse_unary(nb_parser *p, bool with_filters);

static nb_node *unary(nb_parser *p, nb_node_kind kind, nb_node *a)
{
    nb_node *node = nb_jinja_node(p, kind);
    node->a = a;
    return node;
}

static nb_node *binary(nb_parser *p, nb_node_kind kind, nb_op op, nb_node *a, nb_node *b)
{
    nb_node *node = unary(p, kind, a);
    node->op = op;
    node->b = b;
    return node;
}

// ---- Atoms

static nb_node *literal(nb_parser *p, nb_value value)
{
    nb_node *node = nb_jinja_node(p, NB_N_LITERAL);
    node->value = value;
    p->at++;
    return node;
}

static nb_value integer_value(nb_str text)
{
    int base = text.len < 2                               ? 10
               : text.ptr[1] == 'x' || text.ptr[1] == 'X' ? 16
               : text.ptr[1] == 'o' || text.ptr[1] == 'O' ? 8
               : text.ptr[1] == 'b' || text.ptr[1] == 'B' ? 2
                                                          : 10;
    errno = 0;
    int64_t value = strtoll(text.ptr + (base == 10 ? 0 : 2), NULL, base);
    if (errno == ERANGE) return (nb_value){.kind = NB_V_BIGINT, .text = text};
    return nb_value_int(value);
}

// 'a' 'b' is 'ab'.
static nb_node *parse_string(nb_parser *p)
{
    nb_text text = {0};
    const nb_token *first = p->at;
    for (; p->at->kind == NB_T_STRING; p->at++) nb_text_add(p->j, &text, p->at->text);
    p->at--;
    return literal(p, nb_value_str(p->at == first ? first->text : nb_text_str(&text)));
}

static nb_node *parse_name(nb_parser *p)
{
    nb_str name = p->at->text;
    if (nb_str_equal_c(name, "true") || nb_str_equal_c(name, "True")) return literal(p, nb_value_bool(true));
    if (nb_str_equal_c(name, "false") || nb_str_equal_c(name, "False")) return literal(p, nb_value_bool(false));
    if (nb_str_equal_c(name, "none") || nb_str_equal_c(name, "None")) return literal(p, NB_NONE);
    if (nb_str_equal_c(name, "varargs")) p->uses |= NB_USES_VARARGS;
    if (nb_str_equal_c(name, "kwargs")) p->uses |= NB_USES_KWARGS;
    if (nb_str_equal_c(name, "caller")) p->uses |= NB_USES_CALLER;
    nb_node *node = nb_jinja_node(p, NB_N_NAME);
    node->name = name;
    p->at++;
    return node;
}

static nb_node *parse_list(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_LIST);
    nb_node_list items = {0};
    nb_jinja_expect_op(p, "[");
    while (!nb_jinja_is_op(p, "]")) {
        if (items.first) nb_jinja_expect_op(p, ",");
        if (nb_jinja_is_op(p, "]")) break;
        nb_jinja_append(&items, nb_jinja_parse_expression(p));
    }
    nb_jinja_expect_op(p, "]");
    node->a = items.first;
    return node;
}

static nb_node *parse_dict(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_DICT);
    nb_node_list items = {0};
    nb_jinja_expect_op(p, "{");
    while (!nb_jinja_is_op(p, "}")) {
        if (items.first) nb_jinja_expect_op(p, ",");
        if (nb_jinja_is_op(p, "}")) break;
        nb_node *pair = unary(p, NB_N_PAIR, nb_jinja_parse_expression(p));
        nb_jinja_expect_op(p, ":");
        pair->b = nb_jinja_parse_expression(p);
        nb_jinja_append(&items, pair);
    }
    nb_jinja_expect_op(p, "}");
    node->a = items.first;
    return node;
}

static nb_node *parse_parentheses(nb_parser *p)
{
    nb_jinja_expect_op(p, "(");
    if (nb_jinja_skip_op(p, ")")) return nb_jinja_node(p, NB_N_TUPLE);
    nb_node *node = nb_jinja_parse_tuple(p, NB_TUPLE_FULL);
    nb_jinja_expect_op(p, ")");
    return node;
}

static nb_node *parse_primary(nb_parser *p)
{
    switch (p->at->kind) {
    case NB_T_NAME: return parse_name(p);
    case NB_T_STRING: return parse_string(p);
    case NB_T_INT: return literal(p, integer_value(p->at->text));
    case NB_T_FLOAT: return literal(p, nb_value_float(strtod(p->at->text.ptr, NULL)));
    default: break;
    }
    if (nb_jinja_is_op(p, "(")) return parse_parentheses(p);
    if (nb_jinja_is_op(p, "[")) return parse_list(p);
    if (nb_jinja_is_op(p, "{")) return parse_dict(p);
    nb_jinja_unexpected(p, "an expression");
}

// ---- Attributes, subscripts, calls

static nb_node *parse_argument(nb_parser *p)
{
    if (nb_jinja_skip_op(p, "**")) return unary(p, NB_N_SPLAT2, nb_jinja_parse_expression(p));
    if (nb_jinja_skip_op(p, "*")) return unary(p, NB_N_SPLAT, nb_jinja_parse_expression(p));
    bool is_keyword = p->at->kind == NB_T_NAME && p->at[1].kind == NB_T_OPERATOR && nb_str_equal_c(p->at[1].text, "=");
    if (!is_keyword) return nb_jinja_parse_expression(p);
    nb_node *node = nb_jinja_node(p, NB_N_KEYWORD);
    node->name = p->at->text;
    p->at += 2;
    node->a = nb_jinja_parse_expression(p);
    return node;
}

static nb_node *parse_arguments(nb_parser *p)
{
    nb_node_list list = {0};
    nb_jinja_expect_op(p, "(");
    while (!nb_jinja_is_op(p, ")")) {
        if (list.first) nb_jinja_expect_op(p, ",");
        if (nb_jinja_is_op(p, ")")) break;
        nb_jinja_append(&list, parse_argument(p));
    }
    nb_jinja_expect_op(p, ")");
    return list.first;
}

static nb_node *parse_attribute(nb_parser *p, nb_node *object)
{
    nb_jinja_expect_op(p, ".");
    nb_node *node = unary(p, NB_N_ATTR, object);
    if (p->at->kind == NB_T_INT) {
        node->kind = NB_N_ITEM;
        node->b = literal(p, integer_value(p->at->text));
        return node;
    }
    if (p->at->kind != NB_T_NAME) nb_jinja_unexpected(p, "a name or number");
    node->name = p->at++->text;
    return node;
}

static bool at_slice_end(nb_parser *p)
{
    return nb_jinja_is_op(p, ":") || nb_jinja_is_op(p, "]");
}

static nb_node *parse_subscript(nb_parser *p, nb_node *object)
{
    nb_jinja_expect_op(p, "[");
    nb_node *node = unary(p, NB_N_ITEM, object);
    if (!at_slice_end(p)) node->b = nb_jinja_parse_tuple(p, NB_TUPLE_FULL);
    if (nb_jinja_skip_op(p, ":")) {
        node->kind = NB_N_SLICE;
        if (!at_slice_end(p)) node->c = nb_jinja_parse_expression(p);
        if (nb_jinja_skip_op(p, ":") && !at_slice_end(p)) node->d = nb_jinja_parse_expression(p);
    } else if (!node->b) {
        nb_jinja_unexpected(p, "an index");
    }
    nb_jinja_expect_op(p, "]");
    return node;
}

static nb_node *parse_call(nb_parser *p, nb_node *callee)
{
    nb_node *node = unary(p, NB_N_CALL, callee);
    node->b = parse_arguments(p);
    return node;
}

static nb_node *parse_postfix(nb_parser *p, nb_node *node)
{
    for (;;) {
        if (nb_jinja_is_op(p, "."))
            node = parse_attribute(p, node);
        else if (nb_jinja_is_op(p, "["))
            node = parse_subscript(p, node);
        else if (nb_jinja_is_op(p, "("))
            node = parse_call(p, node);
        else
            return node;
    }
}

// ---- Filters and tests

static nb_node *parse_filter(nb_parser *p, nb_node *input)
{
    nb_node *node = unary(p, NB_N_FILTER, input);
    if (p->at->kind != NB_T_NAME) nb_jinja_unexpected(p, "the name of a filter");
    node->name = p->at++->text;
    if (nb_jinja_is_op(p, "(")) node->b = parse_arguments(p);
    return node;
}

nb_node *nb_jinja_parse_filters(nb_parser *p, nb_node *input)
{
    nb_node *node = parse_filter(p, input);
    while (nb_jinja_skip_op(p, "|")) node = parse_filter(p, node);
    return node;
}

// `x is divisibleby 3`: an argument without parentheses.
static bool at_test_argument(nb_parser *p)
{
    if (p->at->kind == NB_T_NAME)
        return !nb_jinja_is_name(p, "else") && !nb_jinja_is_name(p, "or") && !nb_jinja_is_name(p, "and");
    return p->at->kind == NB_T_STRING || p->at->kind == NB_T_INT || p->at->kind == NB_T_FLOAT ||
           nb_jinja_is_op(p, "[") || nb_jinja_is_op(p, "{");
}

static nb_node *parse_test(nb_parser *p, nb_node *input)
{
    bool negated = nb_jinja_skip_name(p, "not");
    nb_node *node = unary(p, NB_N_TEST, input);
    if (p->at->kind != NB_T_NAME) nb_jinja_unexpected(p, "the name of a test");
    node->name = p->at++->text;
    if (nb_jinja_is_op(p, "("))
        node->b = parse_arguments(p);
    else if (nb_jinja_is_name(p, "is"))
        nb_jinja_unexpected(p, "one test only");
    else if (at_test_argument(p))
        node->b = parse_postfix(p, parse_primary(p));
    return negated ? unary(p, NB_N_NOT, node) : node;
}

static nb_node *parse_filters_and_tests(nb_parser *p, nb_node *node)
{
    for (;;) {
        if (nb_jinja_skip_op(p, "|"))
            node = parse_filter(p, node);
        else if (nb_jinja_skip_name(p, "is"))
            node = parse_test(p, node);
        else if (nb_jinja_is_op(p, "("))
            node = parse_call(p, node);
        else
            return node;
    }
}

// ---- Operators

static nb_node *parse_unary(nb_parser *p, bool with_filters)
{
    nb_jinja_enter(p->j);
    nb_node *node;
    if (nb_jinja_skip_op(p, "-"))
        node = unary(p, NB_N_NEGATE, parse_unary(p, false));
    else if (nb_jinja_skip_op(p, "+"))
        node = unary(p, NB_N_PLUS, parse_unary(p, false));
    else
        node = parse_primary(p);
    node = parse_postfix(p, node);
    if (with_filters) node = parse_filters_and_tests(p, node);
    nb_jinja_leave(p->j);
    return node;
}

typedef struct op_name {
    const char *text;
    nb_op op;
} op_name;

static nb_op skip_op_of(nb_parser *p, const op_name *names)
{
    for (; names->text; names++)
        if (nb_jinja_skip_op(p, names->text)) return names->op;
    return NB_OP_NONE;
}

static nb_node *parse_power(nb_parser *p)
{
    nb_node *left = parse_unary(p, true);
    while (nb_jinja_skip_op(p, "**")) left = binary(p, NB_N_BINARY, NB_OP_POW, left, parse_unary(p, true));
    return left;
}

static nb_node *parse_product(nb_parser *p)
{
    static const op_name names[] = {{"*", NB_OP_MUL}, {"/", NB_OP_DIV}, {"//", NB_OP_FLOOR_DIV}, {"%", NB_OP_MOD}, {0}};
    nb_node *left = parse_power(p);
    for (nb_op op; (op = skip_op_of(p, names));) left = binary(p, NB_N_BINARY, op, left, parse_power(p));
    return left;
}

static nb_node *parse_concat(nb_parser *p)
{
    nb_node *first = parse_product(p);
    if (!nb_jinja_is_op(p, "~")) return first;
    nb_node_list operands = {0};
    nb_jinja_append(&operands, first);
    while (nb_jinja_skip_op(p, "~")) nb_jinja_append(&operands, parse_product(p));
    return unary(p, NB_N_CONCAT, operands.first);
}

static nb_node *parse_sum(nb_parser *p)
{
    static const op_name names[] = {{"+", NB_OP_ADD}, {"-", NB_OP_SUB}, {0}};
    nb_node *left = parse_concat(p);
    for (nb_op op; (op = skip_op_of(p, names));) left = binary(p, NB_N_BINARY, op, left, parse_concat(p));
    return left;
}

static nb_op skip_comparison(nb_parser *p)
{
    static const op_name names[] = {
        {"==", NB_OP_EQ}, {"!=", NB_OP_NE}, {"<", NB_OP_LT}, {"<=", NB_OP_LE}, {">", NB_OP_GT}, {">=", NB_OP_GE}, {0}};
    if (nb_jinja_skip_name(p, "in")) return NB_OP_IN;
    bool not_in = nb_jinja_is_name(p, "not") && p->at[1].kind == NB_T_NAME && nb_str_equal_c(p->at[1].text, "in");
    if (!not_in) return skip_op_of(p, names);
    p->at += 2;
    return NB_OP_NOT_IN;
}

static nb_node *parse_comparison(nb_parser *p)
{
    nb_node *first = parse_sum(p);
    nb_node_list operands = {0};
    for (nb_op op; (op = skip_comparison(p));) {
        nb_node *operand = unary(p, NB_N_OPERAND, parse_sum(p));
        operand->op = op;
        nb_jinja_append(&operands, operand);
    }
    return operands.first ? binary(p, NB_N_COMPARE, NB_OP_NONE, first, operands.first) : first;
}

static nb_node *parse_not(nb_parser *p)
{
    if (!nb_jinja_skip_name(p, "not")) return parse_comparison(p);
    nb_jinja_enter(p->j);
    nb_node *node = unary(p, NB_N_NOT, parse_not(p));
    nb_jinja_leave(p->j);
    return node;
}

static nb_node *parse_and(nb_parser *p)
{
    nb_node *left = parse_not(p);
    while (nb_jinja_skip_name(p, "and")) left = binary(p, NB_N_AND, NB_OP_NONE, left, parse_not(p));
    return left;
}

static nb_node *parse_or(nb_parser *p)
{
    nb_node *left = parse_and(p);
    while (nb_jinja_skip_name(p, "or")) left = binary(p, NB_N_OR, NB_OP_NONE, left, parse_and(p));
    return left;
}

static nb_node *parse_condition(nb_parser *p)
{
    nb_node *node = parse_or(p);
    while (nb_jinja_skip_name(p, "if")) {
        nb_node *choice = nb_jinja_node(p, NB_N_IF_ELSE);
        choice->b = node;
        choice->a = parse_or(p);
        if (nb_jinja_skip_name(p, "else")) choice->c = nb_jinja_parse_expression(p);
        node = choice;
    }
    return node;
}

nb_node *nb_jinja_parse_expression(nb_parser *p)
{
    nb_jinja_enter(p->j);
    nb_node *node = parse_condition(p);
    nb_jinja_leave(p->j);
    return node;
}

static nb_node *parse_tuple_item(nb_parser *p, nb_tuple_style style)
{
    if (style == NB_TUPLE_TARGET) return parse_primary(p);
    return style == NB_TUPLE_NO_IF ? parse_or(p) : nb_jinja_parse_expression(p);
}

static bool at_tuple_end(nb_parser *p)
{
    return p->at->kind == NB_T_BLOCK_END || p->at->kind == NB_T_PRINT_END || nb_jinja_is_op(p, ")") ||
           nb_jinja_is_op(p, "]") || nb_jinja_is_op(p, "=") || nb_jinja_is_name(p, "in") ||
           nb_jinja_is_name(p, "recursive");
}

nb_node *nb_jinja_parse_tuple(nb_parser *p, nb_tuple_style style)
{
    nb_node *first = parse_tuple_item(p, style);
    if (!nb_jinja_is_op(p, ",")) return first;
    nb_node_list items = {0};
    nb_jinja_append(&items, first);
    while (nb_jinja_skip_op(p, ",") && !at_tuple_end(p)) nb_jinja_append(&items, parse_tuple_item(p, style));
    return unary(p, NB_N_TUPLE, items.first);
}
