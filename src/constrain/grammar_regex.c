// Translating a parsed regular expression. Anchors are resolved first: at the ends of the pattern they say whether any
// text may stand before and behind; anywhere else they are refused.
#include "constrain/grammar_regex.h"

#include "constrain/grammar_regex_internal.h"

typedef struct translator {
    nb_grammar *g;
    const nb_regex_options *options;
    nb_arena *arena;
    bool misplaced; // an anchor in the middle
} translator;

// ---- Anchors

static nb_regex_node *all_text(translator *t)
{
    nb_regex_node *node = NB_ARENA_ARRAY(t->arena, nb_regex_node, 1);
    node->kind = t->options->search ? NB_REGEX_ALL : NB_REGEX_SEQ;
    return node;
}

static nb_regex_node *pair(translator *t, nb_regex_node *a, nb_regex_node *b)
{
    nb_regex_node *seq = NB_ARENA_ARRAY(t->arena, nb_regex_node, 1);
    seq->kind = NB_REGEX_SEQ;
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

// The node as the beginning (or end) of the whole pattern: its anchors there go, and where it has none any text comes
// in.
static nb_regex_node *resolve(translator *t, nb_regex_node *node, nb_regex_kind anchor)
{
    nb_regex_node *next = node->next, *out = node;
    node->next = NULL;
    if (node->kind == anchor) {
        node->kind = NB_REGEX_SEQ;
    } else if (node->kind == NB_REGEX_ANY) {
        for (nb_regex_node **at = &node->child; *at; at = &(*at)->next) *at = resolve(t, *at, anchor);
    } else if (node->kind == NB_REGEX_SEQ && node->child) {
        nb_regex_node **at = anchor == NB_REGEX_BEGIN ? first_child(node) : last_child(node);
        *at = resolve(t, *at, anchor);
    } else {
        out = anchor == NB_REGEX_BEGIN ? pair(t, all_text(t), node) : pair(t, node, all_text(t));
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
    case NB_REGEX_END: t->misplaced = true; return nb_grammar_nothing(t->g);
    case NB_REGEX_SEQ:
    case NB_REGEX_ANY: break;
    }
    for (const nb_regex_node *child = node->child; child; child = child->next)
        nb_expr_list_add(&items, translate(t, child));
    return node->kind == NB_REGEX_SEQ ? nb_grammar_seq(t->g, &items) : nb_grammar_any(t->g, &items);
}

int nb_grammar_regex(nb_grammar *g, nb_str pattern, const nb_regex_options *options, nb_expr *out, nb_error *err)
{
    translator t = {.g = g, .options = options, .arena = nb_arena_open(0)};
    nb_regex_node *root;
    int code = nb_regex_parse(pattern, t.arena, &root, err);
    if (code == NB_OK) {
        root = resolve(&t, root, NB_REGEX_BEGIN);
        root = resolve(&t, root, NB_REGEX_END);
        *out = translate(&t, root);
    }
    if (code == NB_OK && t.misplaced)
        code = nb_error_set(err, NB_ERR_INPUT,
                            "the regular expression has an anchor that is not at its beginning or end; it is only "
                            "supported there");
    nb_arena_close(t.arena);
    return code;
}
