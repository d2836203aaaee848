// GBNF, the grammar notation of llama.cpp, which is also what vLLM's "grammar" takes:
//
//   root  ::= "yes" | number ("," ws number)*     # a comment
//   number ::= "-"? [0-9]{1,9}
//   ws    ::= [ \t\n]*
//
// Rules (the first to run is "root"), literals, classes, ".", groups, "|", and the quantifiers * + ? {n} {n,} {n,m}.
// Lines mean nothing: a rule goes on until the next name with "::=".
#ifndef NB_GRAMMAR_GBNF_H
#define NB_GRAMMAR_GBNF_H

#include "constrain/grammar.h"

enum {
    NB_GBNF_BYTES_MAX = 1 << 20,
    NB_GBNF_DEPTH_MAX = 100,     // nested groups
    NB_GBNF_QUANTIFIERS_MAX = 8, // behind one item
};

// Adds the rules of `text`, which must outlive g, and calls the one named "root".
int nb_grammar_gbnf(nb_grammar *g, nb_str text, nb_expr *out, nb_error *err);

#endif
