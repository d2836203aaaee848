// Expressions: names, operators, calls of native functions.
#include "text/jinja_internal.h"

#include <math.h>
#include <string.h>

// ---- Arithmetic

_Noreturn static void fail_operands(nb_jinja *j, const char *op, nb_value a, nb_value b)
{
    if (a.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", a.text.ptr);
    if (b.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", b.text.ptr);
    nb_jinja_fail(j, "unsupported operand type(s) for %s: '%s' and '%s'", op, nb_value_type(a), nb_value_type(b));
}

static const char *op_text(nb_op op)
{
    static const char *const text[] = {
        [NB_OP_NONE] = "", [NB_OP_ADD] = "+",        [NB_OP_SUB] = "-", [NB_OP_MUL] = "*",
        [NB_OP_DIV] = "/", [NB_OP_FLOOR_DIV] = "//", [NB_OP_MOD] = "%", [NB_OP_POW] = "**",
        [NB_OP_EQ] = "==", [NB_OP_NE] = "!=",        [NB_OP_LT] = "<",  [NB_OP_LE] = "<=",
        [NB_OP_GT] = ">",  [NB_OP_GE] = ">=",        [NB_OP_IN] = "in", [NB_OP_NOT_IN] = "not in",
    };
    return text[op];
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

// base ** exponent, false when it does not fit.
static bool int_power(int64_t base, int64_t exponent, int64_t *out)
{
    int64_t result = 1;
    if (base == 0 || base == 1 || base == -1)
        exponent = exponent ? 2 - (exponent & 1) : 0; // the rest would only be slow
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(result, base, &result)) return false;
    *out = result;
    return true;
}

static nb_value int_arithmetic(nb_jinja *j, nb_op op, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool fits = true;
    if (b == 0 && (op == NB_OP_DIV || op == NB_OP_FLOOR_DIV || op == NB_OP_MOD)) nb_jinja_fail(j, "division by zero");
    switch (op) {
    case NB_OP_ADD: fits = !__builtin_add_overflow(a, b, &result); break;
    case NB_OP_SUB: fits = !__builtin_sub_overflow(a, b, &result); break;
    case NB_OP_MUL: fits = !__builtin_mul_overflow(a, b, &result); break;
    case NB_OP_DIV: return nb_value_float((double)a / (double)b);
    case NB_OP_FLOOR_DIV:
        fits = !(a == INT64_MIN && b == -1);
        if (fits) result = floor_div(a, b);
        break;
    case NB_OP_MOD: result = b == -1 ? 0 : a - floor_div(a, b) * b; break;
    default: // NB_OP_POW
        if (b < 0) return nb_value_float(pow((double)a, (double)b));
        fits = int_power(a, b, &result);
    }
    if (!fits) nb_jinja_fail(j, "an integer does not fit 64 bits");
    return nb_value_int(result);
}

static nb_value float_arithmetic(nb_jinja *j, nb_op op, double a, double b)
{
    if (b == 0 && (op == NB_OP_DIV || op == NB_OP_FLOOR_DIV || op == NB_OP_MOD))
        nb_jinja_fail(j, "float division by zero");
    switch (op) {
    case NB_OP_ADD: return nb_value_float(a + b);
    case NB_OP_SUB: return nb_value_float(a - b);
    case NB_OP_MUL: return nb_value_float(a * b);
    case NB_OP_DIV: return nb_value_float(a / b);
    case NB_OP_FLOOR_DIV: return nb_value_float(floor(a / b));
    case NB_OP_MOD: return nb_value_float(a - floor(a / b) * b);
    default: return nb_value_float(pow(a, b));
    }
}

static nb_value concat_seq(nb_jinja *j, nb_value a, nb_value b)
{
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, a.seq->n + b.seq->n);
    if (a.seq->n) memcpy(item, a.seq->item, sizeof(nb_value) * (size_t)a.seq->n);
    if (b.seq->n) memcpy(item + a.seq->n, b.seq->item, sizeof(nb_value) * (size_t)b.seq->n);
    return nb_value_seq(j, a.kind, item, a.seq->n + b.seq->n);
}

// 'ab' * 3, [1] * 3
static nb_value repeat(nb_jinja *j, nb_value v, int64_t n)
{
    if (v.kind == NB_V_STR) {
        nb_text t = {0};
        nb_text_repeat(j, &t, v.text, n);
        return nb_value_str(nb_text_str(&t));
    }
    int64_t size = v.seq->n;
    if (n <= 0 || size == 0) return nb_value_seq(j, v.kind, NULL, 0);
    if (n > NB_JINJA_MEMORY_MAX / (int64_t)sizeof(nb_value) / size) nb_jinja_fail(j, "a repeated list is too long");
    nb_jinja_charge(j, (size_t)(n * size / 16));
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, n * size);
    for (int64_t i = 0; i < n; i++) memcpy(item + i * size, v.seq->item, sizeof(nb_value) * (size_t)size);
    return nb_value_seq(j, v.kind, item, n * size);
}

static bool is_repeatable(nb_value v)
{
    return v.kind == NB_V_STR || v.kind == NB_V_LIST || v.kind == NB_V_TUPLE;
}

// A macro's result and other numbers apart, what + and * and % mean for text and lists; NB_V_ABSENT: nothing.
static nb_value container_arithmetic(nb_jinja *j, nb_op op, nb_value a, nb_value b)
{
    int64_t n;
    if (op == NB_OP_ADD && a.kind == b.kind && a.kind == NB_V_STR) {
        nb_text t = {0};
        nb_text_add(j, &t, a.text);
        nb_text_add(j, &t, b.text);
        return nb_value_str(nb_text_str(&t));
    }
    if (op == NB_OP_ADD && a.kind == b.kind && (a.kind == NB_V_LIST || a.kind == NB_V_TUPLE))
        return concat_seq(j, a, b);
    if (op == NB_OP_MUL && is_repeatable(a) && nb_value_is_int(b, &n)) return repeat(j, a, n);
    if (op == NB_OP_MUL && is_repeatable(b) && nb_value_is_int(a, &n)) return repeat(j, b, n);
    if (op == NB_OP_MOD && a.kind == NB_V_STR) return nb_value_str(nb_text_percent(j, a.text, b));
    return (nb_value){0};
}

nb_value nb_jinja_binary(nb_jinja *j, nb_op op, nb_value a, nb_value b)
{
    int64_t i, k;
    double x, y;
    if (nb_value_is_int(a, &i) && nb_value_is_int(b, &k)) return int_arithmetic(j, op, i, k);
    if (nb_value_is_number(a, &x) && nb_value_is_number(b, &y)) return float_arithmetic(j, op, x, y);
    nb_value result = container_arithmetic(j, op, a, b);
    if (result.kind == NB_V_ABSENT) fail_operands(j, op_text(op), a, b);
    return result;
}

// ---- Comparisons

bool nb_jinja_contains(nb_jinja *j, nb_value container, nb_value item)
{
    if (container.kind == NB_V_STR) {
        nb_str needle = nb_value_need_str(j, item, "what is looked for in a string");
        nb_jinja_charge(j, container.text.len / 64);
        return nb_str_find(container.text, needle, 0) >= 0;
    }
    if (container.kind == NB_V_DICT) return nb_value_get(j, container.dict, item) != NULL;
    nb_seq items = nb_value_items(j, container);
    for (int64_t i = 0; i < items.n; i++)
        if (nb_value_equal(j, items.item[i], item)) return true;
    return false;
}

static bool compare(nb_jinja *j, nb_op op, nb_value a, nb_value b)
{
    switch (op) {
    case NB_OP_EQ: return nb_value_equal(j, a, b);
    case NB_OP_NE: return !nb_value_equal(j, a, b);
    case NB_OP_IN: return nb_jinja_contains(j, b, a);
    case NB_OP_NOT_IN: return !nb_jinja_contains(j, b, a);
    case NB_OP_LT: return nb_value_compare(j, a, b, "<") < 0;
    case NB_OP_LE: return nb_value_compare(j, a, b, "<=") <= 0;
    case NB_OP_GT: return nb_value_compare(j, a, b, ">") > 0;
    default: return nb_value_compare(j, a, b, ">=") >= 0;
    }
}

// 1 < x < 3 evaluates x once and stops at the first false.
static nb_value eval_compare(nb_jinja *j, const nb_node *node)
{
    nb_value left = nb_jinja_eval(j, node->a);
    for (const nb_node *operand = node->b; operand; operand = operand->next) {
        nb_value right = nb_jinja_eval(j, operand->a);
        if (!compare(j, operand->op, left, right)) return nb_value_bool(false);
        left = right;
    }
    return nb_value_bool(true);
}

// ---- Containers

static int64_t count_nodes(const nb_node *list)
{
    int64_t n = 0;
    for (; list; list = list->next) n++;
    return n;
}

static nb_value eval_items(nb_jinja *j, nb_value_kind kind, const nb_node *list)
{
    int64_t n = 0;
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, count_nodes(list));
    for (; list; list = list->next) item[n++] = nb_jinja_eval(j, list);
    return nb_value_seq(j, kind, item, n);
}

static nb_value eval_dict(nb_jinja *j, const nb_node *node)
{
    nb_value v = nb_value_dict(j, count_nodes(node->a));
    for (const nb_node *pair = node->a; pair; pair = pair->next) {
        nb_value key = nb_jinja_eval(j, pair->a);
        nb_value_set(j, v.dict, key, nb_jinja_eval(j, pair->b));
    }
    return v;
}

static nb_value eval_concat(nb_jinja *j, const nb_node *node)
{
    nb_text t = {0};
    for (const nb_node *operand = node->a; operand; operand = operand->next)
        nb_text_add_value(j, &t, nb_jinja_eval(j, operand));
    return nb_value_str(nb_text_str(&t));
}

static nb_value eval_slice(nb_jinja *j, const nb_node *node)
{
    nb_value v = nb_jinja_eval(j, node->a), bound[3] = {{0}};
    if (node->b) bound[0] = nb_jinja_eval(j, node->b);
    if (node->c) bound[1] = nb_jinja_eval(j, node->c);
    if (node->d) bound[2] = nb_jinja_eval(j, node->d);
    return nb_value_slice(j, v, bound);
}

// ---- Arguments and calls

typedef struct arg_list {
    nb_value *item;
    nb_named *named;
    int64_t n, n_named;
} arg_list;

// How many positional and named arguments there are at most, with *list and **dict counted by their content.
static arg_list new_arg_list(nb_jinja *j, const nb_node *args, const nb_value *splat)
{
    int64_t n = 0, n_named = 0;
    for (; args; args = args->next) {
        if (args->kind == NB_N_SPLAT)
            n += (splat++)->seq->n;
        else if (args->kind == NB_N_SPLAT2)
            n_named += (splat++)->dict->n;
        else
            *(args->kind == NB_N_KEYWORD ? &n_named : &n) += 1;
    }
    return (arg_list){.item = NB_JINJA_ARRAY(j, nb_value, n), .named = NB_JINJA_ARRAY(j, nb_named, n_named)};
}

static nb_value eval_splat(nb_jinja *j, const nb_node *node)
{
    nb_value v = nb_jinja_eval(j, node->a);
    if (node->kind == NB_N_SPLAT2) {
        if (v.kind != NB_V_DICT) nb_jinja_fail(j, "argument after ** must be a mapping, not %s", nb_value_type(v));
        return v;
    }
    nb_seq items = nb_value_items(j, v);
    return nb_value_list(j, items.item, items.n);
}

static void add_splat(nb_jinja *j, arg_list *list, const nb_node *node, nb_value v)
{
    for (int64_t i = 0; node->kind == NB_N_SPLAT && i < v.seq->n; i++) list->item[list->n++] = v.seq->item[i];
    for (int64_t i = 0; node->kind == NB_N_SPLAT2 && i < v.dict->n; i++)
        list->named[list->n_named++] = (nb_named){nb_value_need_str(j, v.dict->key[i], "a keyword"), v.dict->item[i]};
}

nb_args nb_jinja_eval_args(nb_jinja *j, const nb_node *args)
{
    nb_value *splat = NB_JINJA_ARRAY(j, nb_value, count_nodes(args)), *next_splat = splat;
    for (const nb_node *a = args; a; a = a->next)
        if (a->kind == NB_N_SPLAT || a->kind == NB_N_SPLAT2) *next_splat++ = eval_splat(j, a);
    arg_list list = new_arg_list(j, args, splat);
    for (const nb_node *a = args; a; a = a->next) {
        if (a->kind == NB_N_SPLAT || a->kind == NB_N_SPLAT2)
            add_splat(j, &list, a, *splat++);
        else if (a->kind == NB_N_KEYWORD)
            list.named[list.n_named++] = (nb_named){a->name, nb_jinja_eval(j, a->a)};
        else
            list.item[list.n++] = nb_jinja_eval(j, a);
    }
    return (nb_args){list.item, list.n, list.named, list.n_named};
}

typedef struct param_name {
    nb_str name;
    bool optional;
} param_name;

// Splits "old new ?count".
static int64_t split_params(const char *params, param_name out[NB_JINJA_PARAM_MAX])
{
    int64_t n = 0;
    while (*params) {
        bool optional = *params == '?';
        params += optional;
        size_t len = strcspn(params, " ");
        out[n++] = (param_name){{params, len}, optional};
        params += len + (params[len] == ' ');
    }
    return n;
}

static void bind_named(nb_jinja *j, const nb_native *native, const param_name *param, int64_t n, const nb_named *named,
                       nb_value *bound)
{
    for (int64_t i = 0; i < n; i++) {
        if (!nb_str_equal(param[i].name, named->name)) continue;
        if (bound[i].kind != NB_V_ABSENT)
            nb_jinja_fail(j, "%s() got multiple values for '%.*s'", native->name, (int)named->name.len,
                          named->name.ptr);
        bound[i] = named->value;
        return;
    }
    nb_jinja_fail(j, "%s() got an unexpected keyword argument '%.*s'", native->name, (int)named->name.len,
                  named->name.ptr);
}

nb_value nb_jinja_apply(nb_jinja *j, const nb_native *native, nb_value self, const nb_args *args)
{
    if (!native->params) return native->fn(j, self, args);
    param_name param[NB_JINJA_PARAM_MAX];
    nb_value bound[NB_JINJA_PARAM_MAX] = {{0}};
    int64_t n = split_params(native->params, param);
    if (args->n > n) nb_jinja_fail(j, "%s() takes %d arguments, %d were given", native->name, (int)n, (int)args->n);
    for (int64_t i = 0; i < args->n; i++) bound[i] = args->item[i];
    for (int64_t i = 0; i < args->n_named; i++) bind_named(j, native, param, n, &args->named[i], bound);
    for (int64_t i = 0; i < n; i++)
        if (!param[i].optional && bound[i].kind == NB_V_ABSENT)
            nb_jinja_fail(j, "%s() needs the argument '%.*s'", native->name, (int)param[i].name.len, param[i].name.ptr);
    return native->fn(j, self, &(nb_args){.item = bound, .n = n});
}

nb_value nb_jinja_call(nb_jinja *j, nb_value callee, const nb_args *args)
{
    nb_value result = NB_NONE;
    nb_jinja_enter(j);
    switch (callee.kind) {
    case NB_V_FUNCTION: result = nb_jinja_apply(j, callee.native, NB_NONE, args); break;
    case NB_V_METHOD: result = nb_jinja_apply(j, callee.bound->native, callee.bound->self, args); break;
    case NB_V_MACRO: result = nb_jinja_call_macro(j, callee.macro, args); break;
    case NB_V_LOOP: result = nb_jinja_call_loop(j, callee.loop, args); break;
    case NB_V_UNDEFINED: nb_jinja_fail(j, "%s", callee.text.ptr);
    default: nb_jinja_fail(j, "'%s' object is not callable", nb_value_type(callee));
    }
    nb_jinja_leave(j);
    return result;
}

nb_value nb_jinja_apply_filter(nb_jinja *j, nb_str name, nb_value input, const nb_args *args)
{
    const nb_native *native = nb_jinja_find_filter(name);
    if (!native) nb_jinja_fail(j, "there is no filter '%.*s'", (int)name.len, name.ptr);
    return nb_jinja_apply(j, native, input, args);
}

bool nb_jinja_apply_test(nb_jinja *j, nb_str name, nb_value input, const nb_args *args)
{
    const nb_native *native = nb_jinja_find(nb_jinja_tests, name);
    if (!native) nb_jinja_fail(j, "there is no test '%.*s'", (int)name.len, name.ptr);
    return nb_value_truth(nb_jinja_apply(j, native, input, args));
}

static nb_value eval_call(nb_jinja *j, const nb_node *node)
{
    nb_value callee = nb_jinja_eval(j, node->a);
    nb_args args = nb_jinja_eval_args(j, node->b);
    return nb_jinja_call(j, callee, &args);
}

static nb_value eval_filter(nb_jinja *j, const nb_node *node)
{
    nb_value input = node->a ? nb_jinja_eval(j, node->a) : nb_jinja_exec_filter_input(j);
    nb_args args = nb_jinja_eval_args(j, node->b);
    return nb_jinja_apply_filter(j, node->name, input, &args);
}

static nb_value eval_test(nb_jinja *j, const nb_node *node)
{
    nb_value input = nb_jinja_eval(j, node->a);
    nb_args args = nb_jinja_eval_args(j, node->b);
    return nb_value_bool(nb_jinja_apply_test(j, node->name, input, &args));
}

// ---- All of it

static nb_value eval_sign(nb_jinja *j, const nb_node *node)
{
    nb_value v = nb_jinja_eval(j, node->a);
    int64_t integer;
    double real;
    bool negate = node->kind == NB_N_NEGATE;
    if (nb_value_is_int(v, &integer)) return negate ? int_arithmetic(j, NB_OP_SUB, 0, integer) : nb_value_int(integer);
    if (nb_value_is_number(v, &real)) return nb_value_float(negate ? -real : real);
    if (v.kind == NB_V_UNDEFINED) nb_jinja_fail(j, "%s", v.text.ptr);
    nb_jinja_fail(j, "bad operand type for unary %s: '%s'", negate ? "-" : "+", nb_value_type(v));
}

static nb_value eval_logic(nb_jinja *j, const nb_node *node)
{
    nb_value left = nb_jinja_eval(j, node->a);
    return nb_value_truth(left) == (node->kind == NB_N_OR) ? left : nb_jinja_eval(j, node->b);
}

static nb_value eval_if_else(nb_jinja *j, const nb_node *node)
{
    if (nb_value_truth(nb_jinja_eval(j, node->a))) return nb_jinja_eval(j, node->b);
    return node->c ? nb_jinja_eval(j, node->c) : nb_value_undefined(j, "a condition was false and has no else");
}

static nb_value eval_binary(nb_jinja *j, const nb_node *node)
{
    nb_value left = nb_jinja_eval(j, node->a);
    return nb_jinja_binary(j, node->op, left, nb_jinja_eval(j, node->b));
}

static nb_value eval_item(nb_jinja *j, const nb_node *node)
{
    nb_value left = nb_jinja_eval(j, node->a);
    return nb_value_item(j, left, nb_jinja_eval(j, node->b));
}

static nb_value eval(nb_jinja *j, const nb_node *node)
{
    switch (node->kind) {
    case NB_N_LITERAL: return node->value;
    case NB_N_NAME: return nb_jinja_lookup(j, node->name);
    case NB_N_LIST: return eval_items(j, NB_V_LIST, node->a);
    case NB_N_TUPLE: return eval_items(j, NB_V_TUPLE, node->a);
    case NB_N_DICT: return eval_dict(j, node);
    case NB_N_ATTR: return nb_value_attr(j, nb_jinja_eval(j, node->a), node->name);
    case NB_N_ITEM: return eval_item(j, node);
    case NB_N_SLICE: return eval_slice(j, node);
    case NB_N_CALL: return eval_call(j, node);
    case NB_N_FILTER: return eval_filter(j, node);
    case NB_N_TEST: return eval_test(j, node);
    case NB_N_NOT: return nb_value_bool(!nb_value_truth(nb_jinja_eval(j, node->a)));
    case NB_N_NEGATE:
    case NB_N_PLUS: return eval_sign(j, node);
    case NB_N_AND:
    case NB_N_OR: return eval_logic(j, node);
    case NB_N_BINARY: return eval_binary(j, node);
    case NB_N_CONCAT: return eval_concat(j, node);
    case NB_N_COMPARE: return eval_compare(j, node);
    case NB_N_IF_ELSE: return eval_if_else(j, node);
    default: nb_jinja_fail(j, "a statement stands where a value should");
    }
}

nb_value nb_jinja_eval(nb_jinja *j, const nb_node *node)
{
    nb_jinja_enter(j);
    nb_jinja_charge(j, 1);
    j->line = node->line;
    nb_value v = eval(j, node);
    nb_jinja_leave(j);
    return v;
}
