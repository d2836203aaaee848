// JSON by jansson, with two things added: limits on what is parsed, and typed access that names the field it failed on.
// Objects keep the order of their keys.
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

// Field access: `path` is the name of `object` in messages ("text_config"; "" for the top). A missing or null field
// leaves *out as it is unless `required`. Wrong type: NB_ERR_INPUT "text_config.hidden_size must be an integer, ...".
typedef enum nb_json_need { NB_JSON_OPTIONAL, NB_JSON_REQUIRED } nb_json_need;
int nb_json_int(const json_t *object, const char *path, const char *key, nb_json_need need, int64_t *out, nb_error *err);
int nb_json_double(const json_t *object, const char *path, const char *key, nb_json_need need, double *out, nb_error *err);
int nb_json_bool(const json_t *object, const char *path, const char *key, nb_json_need need, bool *out, nb_error *err);
int nb_json_str(const json_t *object, const char *path, const char *key, nb_json_need need, nb_str *out, nb_error *err);

// Compact text of a value, keys in order, non-ASCII kept; appended to `out`.
void nb_json_write(const json_t *value, nb_buf *out);

#endif
