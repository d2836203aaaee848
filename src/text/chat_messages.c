// See chat_messages.h. Clients send tool calls as they got them, with the arguments as JSON text; templates loop over
// them.
#include "text/chat_messages.h"

#include <string.h>

static nb_str string_of(const json_t *value)
{
    return (nb_str){json_string_value(value), json_string_length(value)};
}

// No arguments at all are an empty object.
static int parse_arguments(json_t *function, int i_message, int i_call, nb_error *err)
{
    json_t *arguments = json_object_get(function, "arguments"), *parsed = NULL;
    char what[100];
    if (json_is_object(arguments) || json_is_array(arguments)) return NB_OK;
    if (!arguments || json_is_null(arguments) || (json_is_string(arguments) && json_string_length(arguments) == 0))
        return json_object_set_new(function, "arguments", json_object()), NB_OK;
    snprintf(what, sizeof(what), "messages[%d].tool_calls[%d].function.arguments", i_message, i_call);
    if (!json_is_string(arguments))
        return nb_error_set(err, NB_ERR_INPUT, "%s must be an object, or its JSON text", what);
    NB_TRY(nb_json_parse(string_of(arguments), what, &parsed, err));
    json_object_set_new(function, "arguments", parsed);
    return NB_OK;
}

static int prepare_calls(json_t *message, int i_message, nb_error *err)
{
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    if (!calls || json_is_null(calls)) return NB_OK;
    if (!json_is_array(calls))
        return nb_error_set(err, NB_ERR_INPUT, "messages[%d].tool_calls must be an array", i_message);
    json_array_foreach(calls, i, call)
    {
        json_t *function = json_object_get(call, "function");
        if (!json_is_object(call))
            return nb_error_set(err, NB_ERR_INPUT, "messages[%d].tool_calls[%d] must be an object", i_message, (int)i);
        if (json_is_object(function)) NB_TRY(parse_arguments(function, i_message, (int)i, err));
    }
    return NB_OK;
}

static bool are_text_parts(const json_t *parts)
{
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) if (!json_is_string(json_object_get(part, "text"))) return false;
    return json_array_size(parts) > 0;
}

static void join_text_parts(json_t *message)
{
    json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    nb_buf text = {0};
    if (!are_text_parts(content)) return;
    json_array_foreach(content, i, part)
    {
        if (i) nb_buf_add_c(&text, "\n");
        nb_buf_add_str(&text, string_of(json_object_get(part, "text")));
    }
    json_object_set_new(message, "content", json_stringn(text.ptr ? text.ptr : "", text.len));
    nb_buf_drop(&text);
}

static int prepare_all(json_t *messages, bool join_parts, nb_error *err)
{
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message)
    {
        if (!json_is_object(message)) return nb_error_set(err, NB_ERR_INPUT, "messages[%d] must be an object", (int)i);
        if (!json_is_string(json_object_get(message, "role")))
            return nb_error_set(err, NB_ERR_INPUT, "messages[%d].role must be a string", (int)i);
        NB_TRY(prepare_calls(message, (int)i, err));
        if (join_parts) join_text_parts(message);
    }
    return NB_OK;
}

int nb_chat_messages_prepare(const json_t *messages, bool join_parts, json_t **out, nb_error *err)
{
    if (!json_is_array(messages)) return nb_error_set(err, NB_ERR_INPUT, "messages must be an array");
    json_t *copy = json_deep_copy(messages);
    int code = prepare_all(copy, join_parts, err);
    if (code == NB_OK)
        *out = copy;
    else
        json_decref(copy);
    return code;
}

nb_str nb_chat_messages_last_text(const json_t *messages)
{
    size_t n = json_array_size(messages);
    json_t *content = n ? json_object_get(json_array_get(messages, n - 1), "content") : NULL;
    if (json_is_array(content))
        content = json_object_get(json_array_get(content, json_array_size(content) - 1), "text");
    return json_is_string(content) ? string_of(content) : (nb_str){0};
}
