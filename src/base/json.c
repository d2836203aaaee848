// JSON by jansson. Everything that reads JSON from outside comes through nb_json_parse.
#include "base/json.h"

#include "base/json_internal.h"

// Deepest nesting of brackets outside strings. Wrong JSON may give any number; the parser then says what is wrong.
static int64_t depth_of(nb_str text)
{
    int64_t depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\') i++;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > deepest) deepest = depth;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return deepest;
}

static json_t *load(nb_str text, size_t flags, json_error_t *wrong)
{
    nb_buf marked = {0};
    if (nb_json_mark_big(text, &marked)) text = nb_buf_str(&marked);
    json_t *value = json_loadb(text.ptr, text.len, flags | JSON_ALLOW_NUL | JSON_DECODE_ANY, wrong);
    nb_buf_drop(&marked);
    return value;
}

static int parse(nb_str text, size_t flags, const char *what, json_t **out, nb_error *err)
{
    *out = NULL;
    if (depth_of(text) > NB_JSON_DEPTH_MAX) {
        return nb_error_set(err, NB_ERR_INPUT, "%s: arrays and objects are nested deeper than %d", what,
                            NB_JSON_DEPTH_MAX);
    }
    json_error_t wrong;
    *out = load(text, flags, &wrong);
    if (*out) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT, "%s: is not valid JSON: line %d column %d: %s", what, wrong.line,
                        wrong.column, wrong.text);
}

int nb_json_parse(nb_str text, const char *what, json_t **out, nb_error *err)
{
    return parse(text, JSON_REJECT_DUPLICATES, what, out, err);
}

int nb_json_parse_last(nb_str text, const char *what, json_t **out, nb_error *err)
{
    return parse(text, 0, what, out, err);
}

static const char *type_name(const json_t *value)
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

// The place in messages: "text_config.hidden_size", or "hidden_size" at the top.
typedef struct field {
    const char *path, *key;
} field;
#define FIELD_FORMAT  "%s%s%s"
#define FIELD_ARGS(f) (f).path, (f).path[0] ? "." : "", (f).key

// *value is NULL when the field is absent or null and may be.
static int find(const json_t *object, field f, nb_json_need need, const char *wanted, json_t **value, nb_error *err)
{
    *value = NULL;
    if (!json_is_object(object)) {
        return nb_error_set(err, NB_ERR_INPUT, "%s must be an object", f.path[0] ? f.path : "the value");
    }
    json_t *found = json_object_get(object, f.key);
    if (found && !json_is_null(found)) {
        *value = found;
    } else if (need == NB_JSON_REQUIRED) {
        return nb_error_set(err, NB_ERR_INPUT, FIELD_FORMAT " is missing; it must be %s", FIELD_ARGS(f), wanted);
    }
    return NB_OK;
}

static int wrong_type(field f, const char *wanted, const json_t *value, nb_error *err)
{
    return nb_error_set(err, NB_ERR_INPUT, FIELD_FORMAT " must be %s, not %s", FIELD_ARGS(f), wanted, type_name(value));
}

int nb_json_int(const json_t *object, const char *path, const char *key, nb_json_need need, int64_t *out, nb_error *err)
{
    json_t *value;
    field f = {path, key};
    NB_TRY(find(object, f, need, "an integer", &value, err));
    if (value && !json_is_integer(value)) return wrong_type(f, "an integer", value, err);
    if (value) *out = json_integer_value(value);
    return NB_OK;
}

int nb_json_double(const json_t *object, const char *path, const char *key, nb_json_need need, double *out,
                   nb_error *err)
{
    json_t *value;
    field f = {path, key};
    NB_TRY(find(object, f, need, "a number", &value, err));
    if (value && !json_is_number(value)) return wrong_type(f, "a number", value, err);
    if (value) *out = json_number_value(value);
    return NB_OK;
}

int nb_json_bool(const json_t *object, const char *path, const char *key, nb_json_need need, bool *out, nb_error *err)
{
    json_t *value;
    field f = {path, key};
    NB_TRY(find(object, f, need, "true or false", &value, err));
    if (value && !json_is_boolean(value)) return wrong_type(f, "true or false", value, err);
    if (value) *out = json_is_true(value);
    return NB_OK;
}

int nb_json_str(const json_t *object, const char *path, const char *key, nb_json_need need, nb_str *out, nb_error *err)
{
    json_t *value;
    field f = {path, key};
    NB_TRY(find(object, f, need, "a string", &value, err));
    bool is_string = json_is_string(value) && !nb_json_big_integer(value).ptr;
    if (value && !is_string) return wrong_type(f, "a string", value, err);
    if (value) *out = (nb_str){json_string_value(value), json_string_length(value)};
    return NB_OK;
}

static int append(const char *bytes, size_t n, void *user)
{
    nb_buf_add(user, bytes, n);
    return 0;
}

void nb_json_write(const json_t *value, nb_buf *out)
{
    nb_buf text = {0};
    json_dump_callback(value, append, &text, JSON_COMPACT | JSON_ENCODE_ANY);
    nb_json_unmark_big(nb_buf_str(&text), out);
    nb_buf_drop(&text);
}
