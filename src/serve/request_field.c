// See request_field.h.
#include "serve/request_field.h"

#include <stdarg.h>
#include <stdio.h>

int nb_request_refuse(nb_request_error *error, int status, const char *param, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    snprintf(error->param, sizeof(error->param), "%s", param ? param : "");
    error->status = status;
    error->code = code;
    return NB_ERR_INPUT;
}

const char *nb_field_type(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return nb_json_big_integer(value).ptr ? "an integer beyond 64 bits" : "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

nb_str nb_field_text(const json_t *string)
{
    return (nb_str){json_string_value(string), json_string_length(string)};
}

bool nb_field_given(const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    return value && !json_is_null(value);
}

static int wrong_type(const char *key, const char *wanted, const json_t *value, nb_request_error *error)
{
    return nb_request_refuse(error, 400, key, NULL, "%s must be %s, not %s", key, wanted, nb_field_type(value));
}

int nb_field_bool(const json_t *body, const char *key, bool *out, nb_request_error *error)
{
    const json_t *value = json_object_get(body, key);
    if (!nb_field_given(body, key)) return NB_OK;
    if (!json_is_boolean(value)) return wrong_type(key, "true or false", value, error);
    *out = json_is_true(value);
    return NB_OK;
}

int nb_field_int(const json_t *body, const char *key, int64_t least, int64_t most, int64_t *out,
                 nb_request_error *error)
{
    const json_t *value = json_object_get(body, key);
    if (!nb_field_given(body, key)) return NB_OK;
    if (!json_is_integer(value)) return wrong_type(key, "an integer", value, error);
    int64_t integer = json_integer_value(value);
    if (integer < least || integer > most)
        return nb_request_refuse(error, 400, key, NULL, "%s must be %lld to %lld, not %lld", key, (long long)least,
                                 (long long)most, (long long)integer);
    *out = integer;
    return NB_OK;
}

int nb_field_number(const json_t *body, const char *key, double least, double most, bool open_low, float *out,
                    nb_request_error *error)
{
    const json_t *value = json_object_get(body, key);
    if (!nb_field_given(body, key)) return NB_OK;
    if (!json_is_number(value)) return wrong_type(key, "a number", value, error);
    double number = json_number_value(value);
    if (number < least || number > most || (open_low && number == least))
        return nb_request_refuse(error, 400, key, NULL, "%s must be %s %g and at most %g, not %g", key,
                                 open_low ? "over" : "at least", least, most, number);
    *out = (float)number;
    return NB_OK;
}

int nb_field_str(const json_t *body, const char *key, nb_str *out, nb_request_error *error)
{
    const json_t *value = json_object_get(body, key);
    if (!nb_field_given(body, key)) return NB_OK;
    if (!json_is_string(value) || nb_json_big_integer(value).ptr) return wrong_type(key, "a string", value, error);
    *out = nb_field_text(value);
    return NB_OK;
}

int nb_field_array(const json_t *body, const char *key, const json_t **out, nb_request_error *error)
{
    const json_t *value = json_object_get(body, key);
    if (!nb_field_given(body, key)) return NB_OK;
    if (!json_is_array(value)) return wrong_type(key, "an array", value, error);
    *out = value;
    return NB_OK;
}

int nb_field_object(const json_t *body, const char *key, const json_t **out, nb_request_error *error)
{
    const json_t *value = json_object_get(body, key);
    if (!nb_field_given(body, key)) return NB_OK;
    if (!json_is_object(value)) return wrong_type(key, "an object", value, error);
    *out = value;
    return NB_OK;
}
