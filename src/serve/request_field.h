// Typed access to the fields of a request. Every error names its field, so that the client is told which one is wrong.
// A field that is absent or null leaves *out as it is.
#ifndef NB_REQUEST_FIELD_H
#define NB_REQUEST_FIELD_H

#include "base/arena.h"
#include "base/json.h"

// What is wrong with a request: the parts of OpenAI's error object.
typedef struct nb_request_error {
    int status;       // 400, 404, ...
    char param[128];  // the field, "" when it is none
    const char *code; // a word for programs, or NULL
    char message[1024];
} nb_request_error;

// Fills the error and returns NB_ERR_INPUT. `param` may be NULL.
int nb_request_refuse(nb_request_error *error, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

int nb_field_bool(const json_t *body, const char *key, bool *out, nb_request_error *error);
int nb_field_int(const json_t *body, const char *key, int64_t least, int64_t most, int64_t *out,
                 nb_request_error *error);
// NaN and infinities cannot occur in JSON. `open_low`: the least value itself is not allowed.
int nb_field_number(const json_t *body, const char *key, double least, double most, bool open_low, float *out,
                    nb_request_error *error);
int nb_field_str(const json_t *body, const char *key, nb_str *out, nb_request_error *error);
int nb_field_array(const json_t *body, const char *key, const json_t **out, nb_request_error *error);
int nb_field_object(const json_t *body, const char *key, const json_t **out, nb_request_error *error);

bool nb_field_given(const json_t *body, const char *key); // there, and not null
const char *nb_field_type(const json_t *value);           // "a string", "null", ... for messages
nb_str nb_field_text(const json_t *string);

#endif
