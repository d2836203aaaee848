// What the files of the schema compiler share.
//
// Every schema inside the schema becomes a rule when it is first called, found again by its text, and waits in a queue
// until it is compiled: so recursion in a schema is recursion of rules, never of this program. Compiling begins by
// flattening: references and allOf are merged into one object without them (grammar_schema_merge.c).
#ifndef NB_GRAMMAR_SCHEMA_INTERNAL_H
#define NB_GRAMMAR_SCHEMA_INTERNAL_H

#include "base/arena.h"
#include "constrain/grammar_schema.h"
#include "text/tool_schema.h"

// In flat schemas: nothing satisfies it.
#define NB_SCHEMA_NEVER "!never"

typedef struct nb_schema_task {
    json_t *schema; // owned
    const char *path;
    int32_t rule;
} nb_schema_task;

typedef struct nb_schema {
    nb_grammar_json *json;
    nb_grammar *g;
    const json_t *root;
    json_t *rules; // a schema's text -> its rule
    nb_schema_task *task;
    int32_t n_task, cap_task;
    nb_arena *arena;
    int64_t n_flat, n_byte; // schemas flattened; bytes of all texts
    bool raw;               // strings stand as they are, not as JSON
    nb_error *err;
} nb_schema;

// A queue for the schemas inside `root`, to which references lead. Running it compiles all that were called.
void nb_schema_open(nb_schema *s, nb_grammar_json *json, const json_t *root, nb_error *err);
int nb_schema_run(nb_schema *s);
void nb_schema_close(nb_schema *s);

int nb_schema_refuse(nb_schema *s, const char *path, const char *keyword, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
const char *nb_schema_path(nb_schema *s, const char *path, const char *keyword, const char *key); // key may be NULL

json_t *nb_schema_set(const json_t *names); // an object with the strings of an array as its keys; new

// A call of the schema's rule.
nb_expr nb_schema_call(nb_schema *s, const json_t *schema, const char *path);
// The same of what satisfies both; either may be NULL.
nb_expr nb_schema_call_both(nb_schema *s, const json_t *a, const json_t *b, const char *path);
json_t *nb_schema_both(const json_t *a, const json_t *b); // {"allOf": [a, b]}, new

// A new object without $ref, allOf, const and annotations; draft 7's forms of items are turned into today's.
int nb_schema_flatten(nb_schema *s, const json_t *schema, const char *path, int depth, json_t **out);

// Keywords (grammar_schema_keywords.c): refuses what is not supported or has a wrong shape.
int nb_schema_check(nb_schema *s, const json_t *schema, const char *path);
bool nb_schema_is_known(const char *keyword);                        // has an effect
bool nb_schema_is_one_of(const char *word, const char *const *list); // up to NULL
int nb_schema_read_types(nb_schema *s, const json_t *type, const char *path, unsigned *out);

// NB_TYPE_* that a flat schema allows; what it does not say follows from its keywords.
unsigned nb_schema_types(const json_t *flat);
unsigned nb_schema_type_of(const json_t *value); // NB_TYPE_NUMBER: a fraction
json_t *nb_schema_write_types(unsigned types);

// Values of one type under a flat schema.
int nb_schema_string(nb_schema *s, const json_t *flat, const char *path, nb_expr *out);
int nb_schema_number(nb_schema *s, const json_t *flat, const char *path, bool integer, nb_expr *out);
int nb_schema_object(nb_schema *s, const json_t *flat, const char *path, nb_expr *out);
int nb_schema_array(nb_schema *s, const json_t *flat, const char *path, nb_expr *out);
int nb_schema_enum(nb_schema *s, const json_t *flat, const char *path, nb_expr *out);

// Inside of strings (of JSON, or raw) without calls: `*free` (and no expression) when the schema says nothing about it.
int nb_schema_content(nb_schema *s, const json_t *flat, const char *path, bool *free, nb_expr *out);
// `*idle` (and no expression): a name that JSON Schema does not know, which means nothing.
int nb_schema_format(nb_schema *s, const char *name, const char *path, bool *idle, nb_expr *out);
double nb_schema_value(const json_t *number); // also of integers beyond 64 bits
bool nb_schema_number_fits(const json_t *flat, const json_t *number);

// A count such as minLength: `fallback` when it is absent.
int nb_schema_count(nb_schema *s, const json_t *flat, const char *path, const char *keyword, int64_t fallback,
                    int64_t *out);

// The schema with a oneOf that may be read as anyOf, because no text fits two of its branches; new, also on failure.
int nb_schema_one_of(nb_schema *s, const json_t *flat, const char *path, json_t **out);
// Whether no text written for `a` satisfies `b`. False: perhaps.
bool nb_schema_apart(nb_schema *s, const json_t *a, const json_t *b, int depth);

#endif
