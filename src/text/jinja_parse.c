// Statements of the template language. Tags that make no sense in a chat template (include, import, extends, block) are
// unknown tags. {% generation %} marks what a model wrote, for training; here it is a plain scope, as in transformers.
#include "text/jinja_internal.h"

#include <string.h>

static nb_node *parse_until(nb_parser *p, const char *const *ends);

nb_node *nb_jinja_node(nb_parser *p, nb_node_kind kind)
{
    nb_node *node = NB_JINJA_ARRAY(p->j, nb_node, 1);
    node->kind = kind;
    node->line = p->at->line;
    return node;
}

void nb_jinja_append(nb_node_list *list, nb_node *node)
{
    if (list->last)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
}

static const char *describe(const nb_token *token)
{
    static const char *const name[] = {
        [NB_T_END] = "the end of the template",
        [NB_T_TEXT] = "text",
        [NB_T_BLOCK_BEGIN] = "{%",
        [NB_T_BLOCK_END] = "%}",
        [NB_T_PRINT_BEGIN] = "{{",
        [NB_T_PRINT_END] = "}}",
        [NB_T_STRING] = "a string",
        [NB_T_NAME] = NULL,
        [NB_T_INT] = NULL,
        [NB_T_FLOAT] = NULL,
        [NB_T_OPERATOR] = NULL,
    };
    return name[token->kind];
}

void nb_jinja_unexpected(nb_parser *p, const char *wanted)
{
    const char *got = describe(p->at);
    p->j->line = p->at->line;
    if (got) nb_jinja_fail(p->j, "expected %s, got %s", wanted, got);
    nb_jinja_fail(p->j, "expected %s, got '%.*s'", wanted, (int)p->at->text.len, p->at->text.ptr);
}

bool nb_jinja_is_op(const nb_parser *p, const char *op)
{
    return p->at->kind == NB_T_OPERATOR && nb_str_equal_c(p->at->text, op);
}

bool nb_jinja_is_name(const nb_parser *p, const char *name)
{
    return p->at->kind == NB_T_NAME && nb_str_equal_c(p->at->text, name);
}

bool nb_jinja_skip_op(nb_parser *p, const char *op)
{
    bool found = nb_jinja_is_op(p, op);
    p->at += found;
    return found;
}

bool nb_jinja_skip_name(nb_parser *p, const char *name)
{
    bool found = nb_jinja_is_name(p, name);
    p->at += found;
    return found;
}

void nb_jinja_expect_op(nb_parser *p, const char *op)
{
    char wanted[8];
    snprintf(wanted, sizeof(wanted), "'%s'", op);
    if (!nb_jinja_skip_op(p, op)) nb_jinja_unexpected(p, wanted);
}

static void expect(nb_parser *p, nb_token_kind kind, const char *wanted)
{
    if (p->at->kind != kind) nb_jinja_unexpected(p, wanted);
    p->at++;
}

// The body of a statement: from behind its tag to behind the end tag `end`.
static nb_node *parse_body(nb_parser *p, const char *end)
{
    expect(p, NB_T_BLOCK_END, "%}");
    nb_node *body = parse_until(p, (const char *const[]){end, NULL});
    p->at++;
    expect(p, NB_T_BLOCK_END, "%}");
    return body;
}

// ---- Targets of assignments

static void check_target(nb_parser *p, const nb_node *target)
{
    if (target->kind == NB_N_TUPLE || target->kind == NB_N_LIST) {
        for (const nb_node *item = target->a; item; item = item->next) check_target(p, item);
    } else if (target->kind != NB_N_NAME) {
        nb_jinja_unexpected(p, "a name to assign to");
    }
}

static nb_node *parse_target(nb_parser *p)
{
    nb_node *target = nb_jinja_parse_tuple(p, NB_TUPLE_TARGET);
    check_target(p, target);
    return target;
}

static nb_node *parse_set_target(nb_parser *p)
{
    bool is_attribute =
        p->at->kind == NB_T_NAME && p->at[1].kind == NB_T_OPERATOR && nb_str_equal_c(p->at[1].text, ".");
    if (!is_attribute) return parse_target(p);
    nb_node *target = nb_jinja_node(p, NB_N_NAMESPACE_ATTR);
    target->name = p->at->text;
    p->at += 2;
    target->a = nb_jinja_node(p, NB_N_NAME);
    target->a->name = p->at->text;
    expect(p, NB_T_NAME, "the name of an attribute");
    return target;
}

// ---- Statements, each from behind its first word

static nb_node *parse_if(nb_parser *p)
{
    nb_node *first = nb_jinja_node(p, NB_N_IF), *branch = first;
    for (;;) {
        branch->a = nb_jinja_parse_tuple(p, NB_TUPLE_NO_IF);
        expect(p, NB_T_BLOCK_END, "%}");
        branch->b = parse_until(p, (const char *const[]){"elif", "else", "endif", NULL});
        if (!nb_jinja_skip_name(p, "elif")) break;
        branch = branch->c = nb_jinja_node(p, NB_N_IF);
    }
    if (nb_jinja_skip_name(p, "else")) {
        branch->c = nb_jinja_node(p, NB_N_IF);
        branch->c->b = parse_body(p, "endif");
    } else {
        p->at++;
        expect(p, NB_T_BLOCK_END, "%}");
    }
    return first;
}

static nb_node *parse_for(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_FOR);
    node->a = parse_target(p);
    if (!nb_jinja_skip_name(p, "in")) nb_jinja_unexpected(p, "'in'");
    node->b = nb_jinja_parse_tuple(p, NB_TUPLE_NO_IF);
    if (nb_jinja_skip_name(p, "if")) node->c = nb_jinja_parse_expression(p);
    node->recursive = nb_jinja_skip_name(p, "recursive");
    expect(p, NB_T_BLOCK_END, "%}");
    p->n_loop++;
    node->d = parse_until(p, (const char *const[]){"else", "endfor", NULL});
    p->n_loop--;
    if (nb_jinja_skip_name(p, "else")) {
        node->e = parse_body(p, "endfor");
    } else {
        p->at++;
        expect(p, NB_T_BLOCK_END, "%}");
    }
    return node;
}

static nb_node *parse_set(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_SET);
    node->a = parse_set_target(p);
    if (nb_jinja_skip_op(p, "=")) {
        node->b = nb_jinja_parse_tuple(p, NB_TUPLE_FULL);
        expect(p, NB_T_BLOCK_END, "%}");
        return node;
    }
    node->kind = NB_N_SET_BLOCK;
    if (nb_jinja_skip_op(p, "|")) node->b = nb_jinja_parse_filters(p, NULL);
    node->c = parse_body(p, "endset");
    return node;
}

static nb_node *parse_params(nb_parser *p)
{
    nb_node_list params = {0};
    nb_jinja_expect_op(p, "(");
    while (!nb_jinja_is_op(p, ")")) {
        if (params.first) nb_jinja_expect_op(p, ",");
        nb_node *param = nb_jinja_node(p, NB_N_PARAM);
        param->name = p->at->text;
        expect(p, NB_T_NAME, "the name of a parameter");
        if (nb_jinja_skip_op(p, "=")) param->a = nb_jinja_parse_expression(p);
        nb_jinja_append(&params, param);
    }
    nb_jinja_expect_op(p, ")");
    return params.first;
}

// Body of a macro or call block: it is a function of its own, so loops around it do not count.
static void parse_function_body(nb_parser *p, nb_node *node, const char *end)
{
    nb_parser outer = *p;
    p->n_loop = 0;
    p->uses = 0;
    node->c = parse_body(p, end);
    node->uses = p->uses;
    p->n_loop = outer.n_loop;
    p->uses = outer.uses;
}

static nb_node *parse_macro(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_MACRO);
    node->name = p->at->text;
    expect(p, NB_T_NAME, "the name of the macro");
    node->b = parse_params(p);
    parse_function_body(p, node, "endmacro");
    return node;
}

static nb_node *parse_call_block(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_CALL_BLOCK);
    node->name = NB_STR("caller");
    if (nb_jinja_is_op(p, "(")) node->b = parse_params(p);
    node->a = nb_jinja_parse_expression(p);
    if (node->a->kind != NB_N_CALL) nb_jinja_unexpected(p, "a call");
    parse_function_body(p, node, "endcall");
    return node;
}

static nb_node *parse_filter_block(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_FILTER_BLOCK);
    node->a = nb_jinja_parse_filters(p, NULL);
    node->c = parse_body(p, "endfilter");
    return node;
}

static nb_node *parse_with(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_WITH);
    nb_node_list sets = {0};
    while (p->at->kind != NB_T_BLOCK_END) {
        if (sets.first) nb_jinja_expect_op(p, ",");
        nb_node *set = nb_jinja_node(p, NB_N_SET);
        set->a = parse_target(p);
        nb_jinja_expect_op(p, "=");
        set->b = nb_jinja_parse_expression(p);
        nb_jinja_append(&sets, set);
    }
    node->a = sets.first;
    node->c = parse_body(p, "endwith");
    return node;
}

static nb_node *parse_generation(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_WITH);
    node->c = parse_body(p, "endgeneration");
    return node;
}

static nb_node *parse_jump(nb_parser *p, nb_node_kind kind)
{
    nb_node *node = nb_jinja_node(p, kind);
    if (p->n_loop == 0) nb_jinja_unexpected(p, "a loop around break and continue");
    expect(p, NB_T_BLOCK_END, "%}");
    return node;
}

static nb_node *parse_break(nb_parser *p)
{
    return parse_jump(p, NB_N_BREAK);
}
static nb_node *parse_continue(nb_parser *p)
{
    return parse_jump(p, NB_N_CONTINUE);
}

static const struct {
    const char *name;
    nb_node *(*parse)(nb_parser *p);
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"with", parse_with},
    {"call", parse_call_block},
    {"break", parse_break},
    {"filter", parse_filter_block},
    {"continue", parse_continue},
    {"generation", parse_generation},
};

static nb_node *parse_statement(nb_parser *p)
{
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
        if (nb_jinja_skip_name(p, statements[i].name)) return statements[i].parse(p);
    nb_jinja_unexpected(p, "a known tag");
}

static nb_node *parse_output(nb_parser *p)
{
    p->at++;
    nb_node *node = nb_jinja_node(p, NB_N_OUTPUT);
    node->a = nb_jinja_parse_tuple(p, NB_TUPLE_FULL);
    expect(p, NB_T_PRINT_END, "}}");
    return node;
}

static nb_node *parse_text(nb_parser *p)
{
    nb_node *node = nb_jinja_node(p, NB_N_TEXT);
    node->name = p->at++->text;
    return node;
}

static bool at_end_tag(nb_parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (nb_jinja_is_name(p, *ends)) return true;
    return false;
}

// Statements up to a tag whose first word is in `ends`, where the parser then stands; without ends, to the very end.
static nb_node *parse_until(nb_parser *p, const char *const *ends)
{
    nb_node_list list = {0};
    nb_jinja_enter(p->j);
    while (p->at->kind != NB_T_END) {
        if (p->at->kind == NB_T_TEXT) {
            nb_jinja_append(&list, parse_text(p));
        } else if (p->at->kind == NB_T_PRINT_BEGIN) {
            nb_jinja_append(&list, parse_output(p));
        } else {
            p->at++;
            if (at_end_tag(p, ends)) break;
            nb_jinja_append(&list, parse_statement(p));
        }
    }
    if (p->at->kind == NB_T_END && *ends) nb_jinja_unexpected(p, *ends);
    nb_jinja_leave(p->j);
    return list.first;
}

nb_node *nb_jinja_parse(nb_jinja *j, nb_str source)
{
    nb_parser p = {.j = j, .at = nb_jinja_lex(j, source)};
    return parse_until(&p, (const char *const[]){NULL});
}
