// JSON Schema (draft 2020-12) as a grammar of the JSON texts that satisfy it.
//
// What is written is a subset of what is valid: properties come in the order of the schema, properties that it does not
// name only where additionalProperties or patternProperties allow them in so many words, strings under a pattern
// without needless escapes. Whatever is written is valid: a keyword that cannot be kept is refused by its name and
// place, and none that matters is passed over.
#ifndef NB_GRAMMAR_SCHEMA_H
#define NB_GRAMMAR_SCHEMA_H

#include "base/json.h"
#include "constrain/grammar_json.h"

enum {
    NB_SCHEMA_TEXT_MAX = 1 << 20,    // bytes of the schema
    NB_SCHEMA_RULES_MAX = 20000,     // schemas inside a schema, those that combinations make included
    NB_SCHEMA_COMBINED_MAX = 256,    // branches of anyOf and allOf together
    NB_SCHEMA_FLAT_MAX = 100 * 1000, // schemas merged, each time it happens
    NB_SCHEMA_BYTES_MAX = 64 << 20,  // of the texts of all rules
    NB_SCHEMA_LENGTH_MAX = 20000,    // characters that minLength and maxLength may count
    NB_SCHEMA_PATTERNS_MAX = 16,     // that hold for one string
    NB_SCHEMA_REFS_MAX = 64,         // references that lead to references
};

// Adds the rules of `schema`, which must outlive the call only.
int nb_grammar_schema(nb_grammar_json *json, const json_t *schema, nb_expr *out, nb_error *err);

#endif
