// Constrained output: from what a request asks for to the tokens that may come next.
//
// A constrainer belongs to a tokenizer: it has the vocabulary's trie, the masks found so far and the automata compiled
// last, so that a schema that comes again costs nothing. Any thread; a program is shared and counted.
#ifndef NB_CONSTRAIN_H
#define NB_CONSTRAIN_H

#include "base/json.h"
#include "constrain/grammar_tools.h"
#include "constrain/matcher.h"

enum { // automata that are kept for later requests
    NB_CONSTRAIN_PROGRAMS_MAX = 256,
    NB_CONSTRAIN_PROGRAM_BYTES = 128 << 20,
};

typedef enum nb_constrain_kind {
    NB_CONSTRAIN_NONE,
    NB_CONSTRAIN_OBJECT,  // any JSON object
    NB_CONSTRAIN_SCHEMA,  // JSON that satisfies `value`
    NB_CONSTRAIN_REGEX,   // `text`
    NB_CONSTRAIN_CHOICE,  // one of the strings in the array `value`
    NB_CONSTRAIN_GRAMMAR, // `text`: GBNF
    NB_CONSTRAIN_TOOLS,   // calls of the tools `value`, as `tools` says
} nb_constrain_kind;

typedef struct nb_constrain_spec { // borrowed
    nb_constrain_kind kind;
    const json_t *value;
    nb_str text;
    nb_tool_rules tools;
    bool compact;      // JSON without white space
    const char *param; // the request's field that says so, for messages
} nb_constrain_spec;

typedef struct nb_constrainer nb_constrainer;
typedef struct nb_program nb_program;

nb_constrainer *nb_constrainer_open(const nb_tokenizer *tokenizer, int32_t vocab_size);
void nb_constrainer_close(nb_constrainer *constrainer);
nb_mask_cache *nb_constrainer_masks(nb_constrainer *constrainer);
int32_t nb_constrainer_words(const nb_constrainer *constrainer); // of a mask

// NB_ERR_INPUT, NB_ERR_LIMIT: a message for the client that says what is wrong with the spec.
int nb_constrainer_compile(nb_constrainer *constrainer, const nb_constrain_spec *spec, nb_program **out, nb_error *err);
nb_program *nb_program_take(nb_program *program);
void nb_program_drop(nb_program *program); // NULL is fine
const nb_automaton *nb_program_automaton(const nb_program *program);

// The spec as an automaton, without keeping it. For tests and benchmarks, and for the function above.
int nb_constrain_compile(const nb_constrain_spec *spec, nb_automaton **out, nb_error *err);

#endif
