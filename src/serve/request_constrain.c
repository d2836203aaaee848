// What a request says about the form of its output: response_format, structured_outputs, the older guided_* fields.
// At most one of them may be given.
#include "serve/request.h"

#include <string.h>

enum { NB_REQUEST_CHOICE_STRINGS_MAX = 65536 };

static int set(nb_generation *g, nb_constrain_spec spec, nb_request_error *error)
{
    if (g->constrain.kind != NB_CONSTRAIN_NONE)
        return nb_request_refuse(error, 400, spec.param, NULL, "%s and %s exclude each other", g->constrain.param,
                                 spec.param);
    spec.compact = g->constrain.compact;
    g->constrain = spec;
    return NB_OK;
}

// ---- One kind each; `key` is the field of `body`, `param` its full name

// The field's value, NULL where it is not given.
static const json_t *given(const json_t *body, const char *key)
{
    return nb_field_given(body, key) ? json_object_get(body, key) : NULL;
}

static int wrong_type(const char *param, const char *wanted, const json_t *value, nb_request_error *error)
{
    return nb_request_refuse(error, 400, param, NULL, "%s must be %s, not %s", param, wanted, nb_field_type(value));
}

static bool is_string(const json_t *value)
{
    return json_is_string(value) && !nb_json_big_integer(value).ptr;
}

static int read_text(const json_t *body, const char *key, const char *param, nb_constrain_kind kind, nb_generation *g,
                     nb_request_error *error)
{
    const json_t *value = given(body, key);
    if (!value) return NB_OK;
    if (!is_string(value)) return wrong_type(param, "a string", value, error);
    return set(g, (nb_constrain_spec){.kind = kind, .param = param, .text = nb_field_text(value)}, error);
}

static int read_choices(const json_t *body, const char *key, const char *param, nb_generation *g,
                        nb_request_error *error)
{
    const json_t *value = given(body, key), *choice;
    size_t i;
    if (!value) return NB_OK;
    if (!json_is_array(value)) return wrong_type(param, "an array of strings", value, error);
    if (json_array_size(value) == 0 || json_array_size(value) > NB_REQUEST_CHOICE_STRINGS_MAX)
        return nb_request_refuse(error, 400, param, NULL, "%s must hold 1 to %d strings", param,
                                 NB_REQUEST_CHOICE_STRINGS_MAX);
    json_array_foreach(value, i, choice)
    {
        if (!is_string(choice))
            return nb_request_refuse(error, 400, param, NULL, "%s[%zu] must be a string, not %s", param, i,
                                     nb_field_type(choice));
    }
    return set(g, (nb_constrain_spec){.kind = NB_CONSTRAIN_CHOICE, .param = param, .value = value}, error);
}

// A schema: an object or a boolean, or the text of one.
static int read_schema(const json_t *body, const char *key, const char *param, nb_generation *g,
                       nb_request_error *error)
{
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_SCHEMA, .param = param, .value = json_object_get(body, key)};
    if (!nb_field_given(body, key)) return NB_OK;
    if (is_string(spec.value)) {
        spec.text = nb_field_text(spec.value);
        spec.value = NULL;
    } else if (!json_is_object(spec.value) && !json_is_boolean(spec.value)) {
        return nb_request_refuse(error, 400, param, NULL, "%s must be a JSON schema, not %s", param,
                                 nb_field_type(spec.value));
    }
    return set(g, spec, error);
}

static int read_bool(const json_t *body, const char *key, const char *param, bool *out, nb_request_error *error)
{
    const json_t *value = given(body, key);
    *out = json_is_true(value);
    return !value || json_is_boolean(value) ? NB_OK : wrong_type(param, "true or false", value, error);
}

static int read_object(const json_t *body, const char *key, const char *param, nb_generation *g,
                       nb_request_error *error)
{
    bool wanted;
    NB_TRY(read_bool(body, key, param, &wanted, error));
    return wanted ? set(g, (nb_constrain_spec){.kind = NB_CONSTRAIN_OBJECT, .param = param}, error) : NB_OK;
}

// ---- response_format

static int read_response_format(const json_t *body, nb_generation *g, nb_request_error *error)
{
    const json_t *format = NULL, *schema = NULL;
    nb_str type = NB_STR("");
    NB_TRY(nb_field_object(body, "response_format", &format, error));
    if (!format) return NB_OK;
    const json_t *value = json_object_get(format, "type");
    if (json_is_string(value)) type = nb_field_text(value);
    if (nb_str_equal_c(type, "text")) return NB_OK;
    if (nb_str_equal_c(type, "json_object"))
        return set(g, (nb_constrain_spec){.kind = NB_CONSTRAIN_OBJECT, .param = "response_format"}, error);
    if (!nb_str_equal_c(type, "json_schema"))
        return nb_request_refuse(error, 400, "response_format", NULL,
                                 "response_format.type must be \"text\", \"json_object\" or \"json_schema\"");
    schema = json_object_get(format, "json_schema");
    if (!json_is_object(schema) || !nb_field_given(schema, "schema"))
        return nb_request_refuse(error, 400, "response_format", NULL,
                                 "response_format.json_schema.schema is missing: it must hold the JSON schema");
    return read_schema(schema, "schema", "response_format", g, error);
}

// ---- All of it

static int read_structured_outputs(const json_t *body, nb_generation *g, nb_request_error *error)
{
    const json_t *s = NULL;
    NB_TRY(nb_field_object(body, "structured_outputs", &s, error));
    if (!s) return NB_OK;
    if (nb_field_given(s, "structural_tag") || nb_field_given(s, "whitespace_pattern"))
        return nb_request_refuse(error, 400, "structured_outputs", "unsupported_parameter",
                                 "structured_outputs.structural_tag and whitespace_pattern are not supported");
    NB_TRY(read_bool(s, "disable_any_whitespace", "structured_outputs.disable_any_whitespace", &g->constrain.compact,
                     error));
    NB_TRY(read_schema(s, "json", "structured_outputs.json", g, error));
    NB_TRY(read_object(s, "json_object", "structured_outputs.json_object", g, error));
    NB_TRY(read_text(s, "regex", "structured_outputs.regex", NB_CONSTRAIN_REGEX, g, error));
    NB_TRY(read_choices(s, "choice", "structured_outputs.choice", g, error));
    return read_text(s, "grammar", "structured_outputs.grammar", NB_CONSTRAIN_GRAMMAR, g, error);
}

int nb_request_constrain(const json_t *body, nb_generation *g, nb_request_error *error)
{
    NB_TRY(read_response_format(body, g, error));
    NB_TRY(read_structured_outputs(body, g, error));
    NB_TRY(read_schema(body, "guided_json", "guided_json", g, error));
    NB_TRY(read_text(body, "guided_regex", "guided_regex", NB_CONSTRAIN_REGEX, g, error));
    NB_TRY(read_choices(body, "guided_choice", "guided_choice", g, error));
    return read_text(body, "guided_grammar", "guided_grammar", NB_CONSTRAIN_GRAMMAR, g, error);
}
