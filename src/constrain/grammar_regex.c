// Translating a parsed regular expression. Anchors are resolved first: at the ends of the pattern they say whether any
// text may stand before and behind; anywhere else they are refused. A look-ahead at the beginning is an intersection,
// or a difference, with all texts that begin with it.
#include "constrain/grammar_regex.h"

#include "constrain/grammar_regex_internal.h"

typedef struct translator {
    nb_grammar *g;
    const nb_regex_options *options;
    nb_arena *arena;
    bool misplaced; // an anchor or a look-ahead in the middle
} translator;

// ---- Anchors

static nb_regex_node *new_node(translator *t, nb_regex_kind kind)
{
    nb_regex_node *node = NB_ARENA_ARRAY(t->arena, nb_regex_node, 1);
    node->kind = kind;
    return node;
}

static nb_regex_node *pair(translator *t, nb_regex_node *a, nb_regex_node *b)
{
    nb_regex_node *seq = new_node(t, NB_REGEX_SEQ);
    seq->child = a;
    a->next = b;
    b->next = NULL;
    return seq;
}

// Flags leave empty nodes, which are not what a pattern begins with.
static nb_regex_node **first_child(nb_regex_node *node)
{
    nb_regex_node **at = &node->child;
    while ((*at)->next && (*at)->kind == NB_REGEX_SEQ && !(*at)->child) at = &(*at)->next;
    return at;
}

static nb_regex_node **last_child(nb_regex_node *node)
{
    nb_regex_node **at = &node->child;
    while ((*at)->next) at = &(*at)->next;
    return at;
}

// The node as the beginning (or end) of the whole pattern: its anchors there go, and where it has none `fill` comes in:
// NB_REGEX_ALL for any text, an empty NB_REGEX_SEQ for none.
static nb_regex_node *resolve(translator *t, nb_regex_node *node, nb_regex_kind anchor, nb_regex_kind fill)
{
    nb_regex_node *next = node->next, *out = node;
    node->next = NULL;
    if (node->kind == anchor) {
        node->kind = NB_REGEX_SEQ;
    } else if (node->kind == NB_REGEX_ANY) {
        for (nb_regex_node **at = &node->child; *at; at = &(*at)->next) *at = resolve(t, *at, anchor, fill);
    } else if (node->kind == NB_REGEX_SEQ && node->child) {
        nb_regex_node **at = anchor == NB_REGEX_BEGIN ? first_child(node) : last_child(node);
        if ((*at)->kind != NB_REGEX_AHEAD)
            *at = resolve(t, *at, anchor, fill);
        else if (anchor == NB_REGEX_END)
            (*at)->next = new_node(t, fill);
        else if (fill == NB_REGEX_ALL)
            t->misplaced = true; // a look-ahead where a match begins, wherever that is
    } else {
        out = anchor == NB_REGEX_BEGIN ? pair(t, new_node(t, fill), node) : pair(t, node, new_node(t, fill));
    }
    out->next = next;
    return out;
}

// ---- Expressions

static nb_expr chars(translator *t, const nb_char_set *set)
{
    return t->options->chars ? t->options->chars(t->g, set) : nb_grammar_chars(t->g, set);
}

static nb_expr translate_all(translator *t)
{
    nb_char_set set = {0};
    nb_char_set_add(&set, 0, NB_CHAR_LAST);
    nb_expr x = nb_grammar_repeat(t->g, chars(t, &set), 0, NB_REPEAT_FOREVER);
    nb_char_set_drop(&set);
    return x;
}

static nb_expr translate(translator *t, const nb_regex_node *node)
{
    nb_expr_list items = {0};
    switch (node->kind) {
    case NB_REGEX_SET: return chars(t, &node->set);
    case NB_REGEX_ALL: return translate_all(t);
    case NB_REGEX_REPEAT: return nb_grammar_repeat(t->g, translate(t, node->child), node->lo, node->hi);
    case NB_REGEX_BEGIN:
    case NB_REGEX_AHEAD:
    case NB_REGEX_END: t->misplaced = true; return nb_grammar_nothing(t->g);
    case NB_REGEX_SEQ:
    case NB_REGEX_ANY: break;
    }
    for (const nb_regex_node *child = node->child; child; child = child->next)
        nb_expr_list_add(&items, translate(t, child));
    return node->kind == NB_REGEX_SEQ ? nb_grammar_seq(t->g, &items) : nb_grammar_any(t->g, &items);
}

static bool is_empty(const nb_regex_node *node)
{
    return node->kind == NB_REGEX_SEQ && !node->child;
}

// An alternative of the whole pattern, with the look-aheads that it begins with.
static nb_expr translate_branch(translator *t, const nb_regex_node *branch)
{
    nb_expr_list items = {0};
    const nb_regex_node *rest = branch->child;
    while (rest && (is_empty(rest) || rest->kind == NB_REGEX_AHEAD)) rest = rest->next;
    for (const nb_regex_node *child = rest; child; child = child->next) nb_expr_list_add(&items, translate(t, child));
    nb_expr x = nb_grammar_seq(t->g, &items);
    for (const nb_regex_node *child = branch->child; child != rest; child = child->next) {
        if (is_empty(child)) continue;
        nb_regex_node *ahead = resolve(t, child->child, NB_REGEX_BEGIN, NB_REGEX_SEQ);
        nb_expr y = translate(t, resolve(t, ahead, NB_REGEX_END, NB_REGEX_ALL));
        x = child->hi ? nb_grammar_both(t->g, x, y) : nb_grammar_minus(t->g, x, y);
    }
    return x;
}

static nb_expr translate_root(translator *t, nb_regex_node *root)
{
    nb_regex_kind fill = t->options->search ? NB_REGEX_ALL : NB_REGEX_SEQ;
    nb_expr_list forms = {0};
    root = resolve(t, root, NB_REGEX_BEGIN, fill);
    root = resolve(t, root, NB_REGEX_END, fill);
    for (const nb_regex_node *branch = root->child; branch; branch = branch->next)
        nb_expr_list_add(&forms, translate_branch(t, branch));
    return nb_grammar_any(t->g, &forms);
}

int nb_grammar_regex(nb_grammar *g, nb_str pattern, const nb_regex_options *options, nb_expr *out, nb_error *err)
{
    translator t = {.g = g, .options = options, .arena = nb_arena_open(0)};
    nb_regex_node *root;
    int code = nb_regex_parse(pattern, t.arena, &root, err);
    if (code == NB_OK) *out = translate_root(&t, root);
    if (code == NB_OK && t.misplaced)
        code =
            nb_error_set(err, NB_ERR_INPUT,
                         "the regular expression has an anchor or a look-ahead in its middle; they are only supported "
                         "at its ends: ^ and (?=...) at the beginning, $ at the end");
    nb_arena_close(t.arena);
    return code;
}
