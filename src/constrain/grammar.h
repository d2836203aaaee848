// The one intermediate form of everything that constrains output: rules over bytes. Schemas, regular expressions, GBNF
// and choices are translated into it (grammar_*.h), and automaton.h compiles it. Expressions are numbers; they may be
// used any number of times. What the program calls a character is a code point in UTF-8.
//
// A grammar has limits (nodes, rules). Passing one is remembered and reported by nb_automaton_compile, so that the
// functions here cannot fail and front ends need no check after each of them.
#ifndef NB_GRAMMAR_H
#define NB_GRAMMAR_H

#include "base/error.h"
#include "base/str.h"
#include "constrain/char_set.h"

enum {
    NB_GRAMMAR_NODES_MAX = 1 << 20, // expressions
    NB_GRAMMAR_RULES_MAX = 1 << 16,
    NB_GRAMMAR_BYTES_MAX = 16 << 20, // of all literals
    NB_GRAMMAR_REPEAT_MAX = 1 << 16, // bounds of one repetition
    NB_REPEAT_FOREVER = -1,
};

typedef int32_t nb_expr;

typedef enum nb_expr_kind {
    NB_EXPR_NOTHING, // no text at all
    NB_EXPR_EMPTY,   // the empty text
    NB_EXPR_BYTES,   // literal[first .. first + n)
    NB_EXPR_RANGE,   // one byte, a to b
    NB_EXPR_SEQ,     // child[first .. first + n), one behind the other
    NB_EXPR_ANY,     // one of child[first .. first + n)
    NB_EXPR_REPEAT,  // a, from lo to hi times
    NB_EXPR_CALL,    // rule a
    NB_EXPR_BOTH,    // texts that are in a and in b; neither may contain calls
    NB_EXPR_MINUS,   // texts of a that are not in b; the same
    NB_EXPR_GRAPH,   // arcs arc[a .. a + b) between `lo` states; from state 0 to state 1
} nb_expr_kind;

typedef struct nb_expr_node {
    nb_expr_kind kind;
    int32_t a, b;   // operands; of BYTES, SEQ and ANY: first and n
    int32_t lo, hi; // of REPEAT; lo of GRAPH: the number of states
} nb_expr_node;

typedef struct nb_arc { // what may be read from one state of a graph to another
    int32_t from, to;
    nb_expr x;
} nb_arc;

typedef struct nb_graph { // arcs being collected; zero-initialise
    nb_arc *arc;
    int32_t n, cap;
    int32_t n_state; // states are numbers from 0 on
} nb_graph;

typedef struct nb_grammar {
    nb_expr_node *node; // [n_node]
    int32_t n_node, cap_node;
    nb_expr *child;
    int32_t n_child, cap_child;
    nb_arc *arc;
    int32_t n_arc, cap_arc;
    nb_buf literal;
    nb_expr *rule; // [n_rule]; NB_EXPR_NOTHING until it is defined
    nb_str *name;  // [n_rule], borrowed
    int32_t n_rule, cap_rule;
    int32_t root; // rule
    bool overflow;
} nb_grammar;

typedef struct nb_expr_list { // operands being collected; zero-initialise
    nb_expr *at;
    int32_t n, cap;
} nb_expr_list;

void nb_grammar_open(nb_grammar *g);
void nb_grammar_close(nb_grammar *g);

nb_expr nb_grammar_nothing(nb_grammar *g);
nb_expr nb_grammar_empty(nb_grammar *g);
nb_expr nb_grammar_bytes(nb_grammar *g, nb_str bytes);
nb_expr nb_grammar_text(nb_grammar *g, const char *c_string);
nb_expr nb_grammar_range(nb_grammar *g, uint8_t lo, uint8_t hi);
nb_expr nb_grammar_chars(nb_grammar *g, const nb_char_set *set); // one character of the set, as UTF-8
nb_expr nb_grammar_any_char(nb_grammar *g);
nb_expr nb_grammar_seq(nb_grammar *g, nb_expr_list *items); // takes the list: it is empty afterwards
nb_expr nb_grammar_any(nb_grammar *g, nb_expr_list *items); // the same
nb_expr nb_grammar_seq2(nb_grammar *g, nb_expr a, nb_expr b);
nb_expr nb_grammar_any2(nb_grammar *g, nb_expr a, nb_expr b);
nb_expr nb_grammar_repeat(nb_grammar *g, nb_expr a, int64_t lo, int64_t hi); // hi may be NB_REPEAT_FOREVER
nb_expr nb_grammar_optional(nb_grammar *g, nb_expr a);
nb_expr nb_grammar_both(nb_grammar *g, nb_expr a, nb_expr b);
nb_expr nb_grammar_minus(nb_grammar *g, nb_expr a, nb_expr b);
nb_expr nb_grammar_call(nb_grammar *g, int32_t rule);
void nb_graph_add(nb_graph *graph, int32_t from, nb_expr x, int32_t to);
nb_expr nb_grammar_graph(nb_grammar *g, nb_graph *graph); // takes the arcs: it is empty afterwards

int32_t nb_grammar_rule(nb_grammar *g, nb_str name); // a new rule; the name is for messages and must outlive g
void nb_grammar_define(nb_grammar *g, int32_t rule, nb_expr x);

void nb_expr_list_add(nb_expr_list *list, nb_expr x);

#endif
