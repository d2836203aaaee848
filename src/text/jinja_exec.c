// Statements: output, conditions, loops, assignments, macros. Scopes follow Jinja: a loop's body, a macro, `with` and
// call blocks have their own, `if` has none; a `set` inside a loop is forgotten at the end of the turn.
#include "text/jinja_internal.h"

#include <string.h>

typedef struct nb_variable {
    struct nb_variable *next;
    nb_str name;
    nb_value value;
} nb_variable;

// ---- Scopes

static nb_scope *push_scope(nb_jinja *j, nb_scope *parent)
{
    nb_scope *before = j->scope, *scope = NB_JINJA_ARRAY(j, nb_scope, 1);
    scope->parent = parent;
    j->scope = scope;
    return before;
}

static nb_variable *find_variable(const nb_scope *scope, nb_str name)
{
    for (nb_variable *v = scope->first; v; v = v->next)
        if (nb_str_equal(v->name, name)) return v;
    return NULL;
}

void nb_jinja_define(nb_jinja *j, nb_str name, nb_value value)
{
    nb_variable *v = find_variable(j->scope, name);
    if (!v) {
        v = NB_JINJA_ARRAY(j, nb_variable, 1);
        *v = (nb_variable){.next = j->scope->first, .name = name};
        j->scope->first = v;
    }
    v->value = value;
}

nb_value nb_jinja_lookup(nb_jinja *j, nb_str name)
{
    for (const nb_scope *scope = j->scope; scope; scope = scope->parent) {
        nb_jinja_charge(j, 1);
        const nb_variable *v = find_variable(scope, name);
        if (v) return v->value;
    }
    const nb_native *global = nb_jinja_find(nb_jinja_globals, name);
    if (global) return (nb_value){.kind = NB_V_FUNCTION, .native = global};
    return nb_value_undefined(j, "'%.*s' is undefined", (int)name.len, name.ptr);
}

// ---- Assignment

static void assign(nb_jinja *j, const nb_node *target, nb_value value);

static void unpack(nb_jinja *j, const nb_node *target, nb_value value)
{
    nb_seq items = nb_value_items(j, value);
    int64_t n = 0;
    for (const nb_node *t = target->a; t; t = t->next, n++) {
        if (n >= items.n) nb_jinja_fail(j, "there are not enough values to unpack");
        assign(j, t, items.item[n]);
    }
    if (n != items.n) nb_jinja_fail(j, "there are too many values to unpack (expected %d)", (int)n);
}

static void assign(nb_jinja *j, const nb_node *target, nb_value value)
{
    if (target->kind == NB_N_NAME) {
        nb_jinja_define(j, target->name, value);
    } else if (target->kind == NB_N_NAMESPACE_ATTR) {
        nb_value space = nb_jinja_lookup(j, target->name);
        if (space.kind != NB_V_NAMESPACE) nb_jinja_fail(j, "cannot assign attribute on non-namespace object");
        nb_value_set(j, space.dict, nb_value_str(target->a->name), value);
    } else {
        unpack(j, target, value);
    }
}

// Runs statements into a text of their own.
static nb_value capture(nb_jinja *j, const nb_node *body)
{
    nb_text text = {0}, *before = j->out;
    j->out = &text;
    nb_jinja_exec(j, body);
    j->out = before;
    return nb_value_str(nb_text_str(&text));
}

// The input of a filter that has none in the tree: the text of the block around it, which is kept as a variable.
static const nb_str filter_input = {"|", 1};

nb_value nb_jinja_exec_filter_input(nb_jinja *j)
{
    return nb_jinja_lookup(j, filter_input);
}

static nb_value filter_block(nb_jinja *j, const nb_node *filter, const nb_node *body)
{
    nb_scope *before = push_scope(j, j->scope);
    nb_value text = capture(j, body);
    if (filter) {
        nb_jinja_define(j, filter_input, text);
        text = nb_jinja_eval(j, filter);
    }
    j->scope = before;
    return text;
}

// ---- Loops

static void exec_turns(nb_jinja *j, nb_loop *loop)
{
    nb_scope *before = j->scope;
    for (loop->index = 0; loop->index < loop->n && j->jump != NB_JUMP_BREAK; loop->index++) {
        nb_jinja_charge(j, 1);
        push_scope(j, loop->scope);
        nb_jinja_define(j, NB_STR("loop"), (nb_value){.kind = NB_V_LOOP, .loop = loop});
        assign(j, loop->node->a, loop->item[loop->index]);
        j->jump = NB_JUMP_NONE;
        nb_jinja_exec(j, loop->node->d);
    }
    j->jump = NB_JUMP_NONE;
    j->scope = before;
}

static bool is_wanted(nb_jinja *j, const nb_node *node, nb_value item)
{
    nb_scope *before = push_scope(j, j->scope);
    assign(j, node->a, item);
    bool wanted = nb_value_truth(nb_jinja_eval(j, node->c));
    j->scope = before;
    return wanted;
}

static nb_seq wanted_items(nb_jinja *j, const nb_node *node, nb_seq items)
{
    nb_value *kept = NB_JINJA_ARRAY(j, nb_value, items.n);
    int64_t n = 0;
    for (int64_t i = 0; i < items.n; i++)
        if (is_wanted(j, node, items.item[i])) kept[n++] = items.item[i];
    return (nb_seq){.item = kept, .n = n};
}

static void exec_loop(nb_jinja *j, const nb_node *node, nb_value iterable, int64_t depth)
{
    nb_seq items = nb_value_items(j, iterable);
    if (node->c) items = wanted_items(j, node, items);
    nb_loop *loop = NB_JINJA_ARRAY(j, nb_loop, 1);
    *loop = (nb_loop){.node = node, .scope = j->scope, .item = items.item, .n = items.n, .depth = depth};
    exec_turns(j, loop);
    if (items.n == 0) nb_jinja_exec(j, node->e);
}

nb_value nb_jinja_call_loop(nb_jinja *j, const nb_loop *loop, const nb_args *args)
{
    if (!loop->node->recursive || args->n != 1) nb_jinja_fail(j, "loop(...) needs one argument and a recursive loop");
    nb_text text = {0}, *out = j->out;
    nb_scope *before = j->scope;
    j->out = &text;
    j->scope = loop->scope;
    exec_loop(j, loop->node, args->item[0], loop->depth + 1);
    j->scope = before;
    j->out = out;
    return nb_value_str(nb_text_str(&text));
}

// ---- Macros

static nb_value take_named(const nb_args *args, nb_str name)
{
    for (int64_t i = 0; i < args->n_named; i++)
        if (nb_str_equal(args->named[i].name, name)) return args->named[i].value;
    return (nb_value){0};
}

static bool is_param(const nb_node *node, nb_str name)
{
    for (const nb_node *param = node->b; param; param = param->next)
        if (nb_str_equal(param->name, name)) return true;
    return false;
}

static void bind_params(nb_jinja *j, const nb_node *node, const nb_args *args)
{
    int64_t i = 0;
    for (const nb_node *param = node->b; param; param = param->next, i++) {
        nb_value value = i < args->n ? args->item[i] : take_named(args, param->name);
        if (value.kind == NB_V_ABSENT)
            value = param->a ? nb_jinja_eval(j, param->a)
                             : nb_value_undefined(j, "parameter '%.*s' was not provided", (int)param->name.len,
                                                  param->name.ptr);
        nb_jinja_define(j, param->name, value);
    }
    int64_t n_more = args->n > i ? args->n - i : 0;
    if (node->uses & NB_USES_VARARGS)
        nb_jinja_define(j, NB_STR("varargs"), nb_value_seq(j, NB_V_TUPLE, n_more ? args->item + i : NULL, n_more));
    else if (n_more)
        nb_jinja_fail(j, "macro '%.*s' takes not more than %d arguments", (int)node->name.len, node->name.ptr, (int)i);
}

// Named arguments that are no parameters: `caller`, and the rest as kwargs if the macro mentions them.
static void bind_further(nb_jinja *j, const nb_node *node, const nb_args *args)
{
    nb_value rest = nb_value_dict(j, args->n_named);
    for (int64_t i = 0; i < args->n_named; i++) {
        nb_str name = args->named[i].name;
        if (is_param(node, name)) continue;
        if ((node->uses & NB_USES_CALLER) && nb_str_equal_c(name, "caller"))
            nb_jinja_define(j, name, args->named[i].value);
        else if (node->uses & NB_USES_KWARGS)
            nb_value_set(j, rest.dict, nb_value_str(name), args->named[i].value);
        else
            nb_jinja_fail(j, "macro '%.*s' takes no keyword argument '%.*s'", (int)node->name.len, node->name.ptr,
                          (int)name.len, name.ptr);
    }
    if (node->uses & NB_USES_KWARGS) nb_jinja_define(j, NB_STR("kwargs"), rest);
}

nb_value nb_jinja_call_macro(nb_jinja *j, const nb_macro *macro, const nb_args *args)
{
    nb_scope *before = push_scope(j, macro->scope);
    bind_params(j, macro->node, args);
    bind_further(j, macro->node, args);
    nb_value text = capture(j, macro->node->c);
    j->scope = before;
    return text;
}

static nb_value make_macro(nb_jinja *j, const nb_node *node)
{
    nb_macro *macro = NB_JINJA_ARRAY(j, nb_macro, 1);
    *macro = (nb_macro){.node = node, .scope = j->scope};
    return (nb_value){.kind = NB_V_MACRO, .macro = macro};
}

static void exec_call_block(nb_jinja *j, const nb_node *node)
{
    nb_value callee = nb_jinja_eval(j, node->a->a);
    nb_args args = nb_jinja_eval_args(j, node->a->b);
    nb_named *named = NB_JINJA_ARRAY(j, nb_named, args.n_named + 1);
    if (args.n_named) memcpy(named, args.named, sizeof(*named) * (size_t)args.n_named);
    named[args.n_named++] = (nb_named){NB_STR("caller"), make_macro(j, node)};
    args.named = named;
    nb_text_add_value(j, j->out, nb_jinja_call(j, callee, &args));
}

// ---- All of it

static void exec_if(nb_jinja *j, const nb_node *node)
{
    for (; node; node = node->c) {
        if (node->a && !nb_value_truth(nb_jinja_eval(j, node->a))) continue;
        nb_jinja_exec(j, node->b);
        return;
    }
}

// Values are computed outside the new scope, as Jinja has it.
static void exec_with(nb_jinja *j, const nb_node *node)
{
    nb_scope *outer = push_scope(j, j->scope), *inner = j->scope;
    for (const nb_node *set = node->a; set; set = set->next) {
        j->scope = outer;
        nb_value value = nb_jinja_eval(j, set->b);
        j->scope = inner;
        assign(j, set->a, value);
    }
    nb_jinja_exec(j, node->c);
    j->scope = outer;
}

static void exec(nb_jinja *j, const nb_node *node)
{
    switch (node->kind) {
    case NB_N_TEXT: nb_text_add(j, j->out, node->name); break;
    case NB_N_OUTPUT: nb_text_add_value(j, j->out, nb_jinja_eval(j, node->a)); break;
    case NB_N_IF: exec_if(j, node); break;
    case NB_N_FOR: exec_loop(j, node, nb_jinja_eval(j, node->b), 0); break;
    case NB_N_SET: assign(j, node->a, nb_jinja_eval(j, node->b)); break;
    case NB_N_SET_BLOCK: assign(j, node->a, filter_block(j, node->b, node->c)); break;
    case NB_N_MACRO: nb_jinja_define(j, node->name, make_macro(j, node)); break;
    case NB_N_CALL_BLOCK: exec_call_block(j, node); break;
    case NB_N_FILTER_BLOCK: nb_text_add_value(j, j->out, filter_block(j, node->a, node->c)); break;
    case NB_N_WITH: exec_with(j, node); break;
    case NB_N_BREAK: j->jump = NB_JUMP_BREAK; break;
    case NB_N_CONTINUE: j->jump = NB_JUMP_CONTINUE; break;
    default: nb_jinja_fail(j, "an expression stands where a statement should");
    }
}

void nb_jinja_exec(nb_jinja *j, const nb_node *list)
{
    nb_jinja_enter(j);
    for (const nb_node *node = list; node && j->jump == NB_JUMP_NONE; node = node->next) {
        nb_jinja_charge(j, 1);
        j->line = node->line;
        exec(j, node);
    }
    nb_jinja_leave(j);
}
