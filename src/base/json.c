// JSON by jansson. Everything that reads JSON from outside comes through nb_json_parse.
#include "base/json.h"

#include <string.h>

#define INTEGER_MARK_JSON "\\u0000integer:" // NB_JSON_INTEGER_MARK inside a JSON string

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

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static bool is_big_integer(nb_str number)
{
    bool negative = number.len > 0 && number.ptr[0] == '-';
    nb_str digits = nb_str_slice(number, negative, number.len), limit = NB_STR("9223372036854775807");
    if (digits.len < limit.len || digits.ptr[0] == '0') return false;
    for (size_t i = 0; i < digits.len; i++)
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return false;
    if (digits.len > limit.len) return true;
    return memcmp(digits.ptr, limit.ptr, limit.len) > 0 && !(negative && nb_str_equal_c(digits, "9223372036854775808"));
}

// Copies `text` with integers beyond 64 bits as marked strings; false, and nothing in `out`, when there are none.
static bool mark_big_integers(nb_str text, nb_buf *out)
{
    bool in_string = false;
    size_t copied = 0;
    for (size_t i = 0, end; i < text.len; i = end) {
        char c = text.ptr[i];
        end = i + 1;
        if (c == '"') in_string = !in_string;
        if (in_string && c == '\\') end++;
        if (in_string || !is_number_char(c)) continue;
        while (end < text.len && is_number_char(text.ptr[end])) end++;
        nb_str number = nb_str_slice(text, i, end);
        if (!is_big_integer(number)) continue;
        nb_buf_add_str(out, nb_str_slice(text, copied, i));
        nb_buf_printf(out, "\"" INTEGER_MARK_JSON "%.*s\"", (int)number.len, number.ptr);
        copied = end;
    }
    if (out->len) nb_buf_add_str(out, nb_str_slice(text, copied, text.len));
    return out->len > 0;
}

nb_str nb_json_big_integer(const json_t *value)
{
    nb_str s = {json_string_value(value), json_string_length(value)}, mark = NB_STR(NB_JSON_INTEGER_MARK);
    return s.ptr && nb_str_starts(s, mark) ? nb_str_slice(s, mark.len, s.len) : (nb_str){0};
}

static json_t *load(nb_str text, json_error_t *wrong)
{
    nb_buf marked = {0};
    if (mark_big_integers(text, &marked)) text = nb_buf_str(&marked);
    json_t *value = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, wrong);
    nb_buf_drop(&marked);
    return value;
}

int nb_json_parse(nb_str text, const char *what, json_t **out, nb_error *err)
{
    *out = NULL;
    if (depth_of(text) > NB_JSON_DEPTH_MAX) {
        return nb_error_set(err, NB_ERR_INPUT, "%s: arrays and objects are nested deeper than %d", what,
                            NB_JSON_DEPTH_MAX);
    }
    json_error_t wrong;
    *out = load(text, &wrong);
    if (*out) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT, "%s: is not valid JSON: line %d column %d: %s", what, wrong.line,
                        wrong.column, wrong.text);
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

// Takes the quotes and marks from integers that mark_big_integers made strings of, from offset `from` on.
static void unmark_big_integers(nb_buf *out, size_t from)
{
    nb_str mark = NB_STR("\"" INTEGER_MARK_JSON), text = nb_buf_str(out);
    int64_t at = nb_str_find(text, mark, from);
    size_t n = at < 0 ? out->len : (size_t)at;
    for (size_t copied = n; copied < text.len;) {
        at = nb_str_find(text, mark, copied);
        size_t end = at < 0 ? text.len : (size_t)at;
        memmove(out->ptr + n, out->ptr + copied, end - copied);
        n += end - copied;
        for (copied = at < 0 ? end : end + mark.len; at >= 0 && out->ptr[copied] != '"';)
            out->ptr[n++] = out->ptr[copied++];
        copied += at >= 0; // the closing quote
    }
    out->len = n;
    if (out->ptr) out->ptr[n] = 0;
}

void nb_json_write(const json_t *value, nb_buf *out)
{
    size_t from = out->len;
    json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY);
    unmark_big_integers(out, from);
}
