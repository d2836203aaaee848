// JSON by jansson, with three things added: limits on what is parsed, typed access that names the field it failed on,
// and integers beyond 64 bits (schemas and identifiers of clients hold them). Objects keep the order of their keys.
#ifndef NB_JSON_H
#define NB_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

enum { NB_JSON_DEPTH_MAX = 128 }; // nesting of arrays and objects in anything from outside

// `what` names the text in error messages ("config.json", "the request body"). Duplicate keys are errors. Depth is
// checked before parsing, so hostile nesting costs no stack. A NUL inside a string is accepted.
int nb_json_parse(nb_str text, const char *what, json_t **out, nb_error *err);

// The same for texts of which other readers take the last of duplicate keys, as Python and JavaScript do.
int nb_json_parse_last(nb_str text, const char *what, json_t **out, nb_error *err);

// An integer that does not fit 64 bits is parsed as a string: this mark and its digits. nb_json_write writes the digits
// again; everywhere else it is no integer. Gives the digits, or an empty slice when `value` is not such a string.
#define NB_JSON_INTEGER_MARK "\0integer:"
nb_str nb_json_big_integer(const json_t *value);

// Field access: `path` is the name of `object` in messages ("text_config"; "" for the top). A missing or null field
// leaves *out as it is unless `required`. Wrong type: NB_ERR_INPUT "text_config.hidden_size must be an integer, ...".
typedef enum nb_json_need { NB_JSON_OPTIONAL, NB_JSON_REQUIRED } nb_json_need;
int nb_json_int(const json_t *object, const char *path, const char *key, nb_json_need need, int64_t *out,
                nb_error *err);
int nb_json_double(const json_t *object, const char *path, const char *key, nb_json_need need, double *out,
                   nb_error *err);
int nb_json_bool(const json_t *object, const char *path, const char *key, nb_json_need need, bool *out, nb_error *err);
int nb_json_str(const json_t *object, const char *path, const char *key, nb_json_need need, nb_str *out, nb_error *err);

// Compact text of a value, keys in order, non-ASCII kept; appended to `out`.
void nb_json_write(const json_t *value, nb_buf *out);

#endif
