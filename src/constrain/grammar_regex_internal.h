// A parsed regular expression: grammar_regex_parse.c makes it, grammar_regex.c translates it.
#ifndef NB_GRAMMAR_REGEX_INTERNAL_H
#define NB_GRAMMAR_REGEX_INTERNAL_H

#include "base/arena.h"
#include "constrain/grammar_regex.h"

typedef enum nb_regex_kind {
    NB_REGEX_SET,    // one character
    NB_REGEX_SEQ,    // all children
    NB_REGEX_ANY,    // one child
    NB_REGEX_REPEAT, // the child, lo to hi times
    NB_REGEX_BEGIN,
    NB_REGEX_END,
    NB_REGEX_AHEAD, // what follows begins with the child, or (hi 0) does not
    NB_REGEX_ALL,   // any text: what may stand around a match
} nb_regex_kind;

typedef struct nb_regex_node {
    nb_regex_kind kind;
    nb_char_set set;             // its ranges are in the arena
    struct nb_regex_node *child; // the first
    struct nb_regex_node *next;  // of the same parent
    int64_t lo, hi;
} nb_regex_node;

int nb_regex_parse(nb_str pattern, nb_arena *arena, nb_regex_node **out, nb_error *err);

#endif
