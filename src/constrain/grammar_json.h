// JSON as grammar: the pieces that schemas are made of. Rules are made once per grammar and shared.
//
// White space is what people and printers write: nothing, a space, or a line's end with an indentation; and one space
// behind a colon. More would let a model that has lost its way write spaces forever. Numbers have at most 18 digits on
// each side of the point, so that every parser reads them as they are.
//
// Strings have a plain form, in which every text has exactly one encoding (so that lengths and patterns can be counted
// and combined), and a free form with all of JSON's escapes.
#ifndef NB_GRAMMAR_JSON_H
#define NB_GRAMMAR_JSON_H

#include "base/json.h"
#include "constrain/grammar.h"

enum {
    NB_JSON_INDENT_MAX = 64, // blanks at the beginning of a line
    NB_JSON_DIGITS_MAX = 18,
};

typedef struct nb_grammar_json {
    nb_grammar *g;
    bool compact;                                                       // no white space at all
    int32_t line, string, plain, number, integer, value, object, array; // rules
} nb_grammar_json;

void nb_grammar_json_open(nb_grammar_json *j, nb_grammar *g, bool compact);

// Where a line may end: behind an opening bracket or a comma, and before a closing bracket.
nb_expr nb_grammar_json_line(const nb_grammar_json *j);
nb_expr nb_grammar_json_colon(const nb_grammar_json *j);
nb_expr nb_grammar_json_char(nb_grammar *g, const nb_char_set *set); // plain form; as nb_regex_chars_fn
nb_expr nb_grammar_json_any_char(nb_grammar *g);                     // plain form
nb_expr nb_grammar_json_quoted(nb_grammar *g, nb_expr content);
nb_expr nb_grammar_json_text(nb_grammar *g, nb_str text); // one string's content in plain form, without quotes
nb_expr nb_grammar_json_literal(const nb_grammar_json *j, const json_t *value);
nb_expr nb_grammar_json_integer(nb_grammar *g); // any; contains no calls, as all that follows
nb_expr nb_grammar_json_decimal(nb_grammar *g); // a number without an exponent

#endif
