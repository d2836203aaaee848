// Requests of /v1/responses, converted into chat requests. Nothing is kept between requests: fields that would need it
// are refused.
#include <stdio.h>
#include <string.h>

#include "serve/request_convert.h"
#include "serve/responses_tools.h"

static const nb_convert_name names[] = {
    {"messages", "input"},
    {"max_completion_tokens", "max_output_tokens"},
    {"reasoning_effort", "reasoning.effort"},
    {"response_format", "text.format"},
    {0},
};

// ---- What this server does not do

static int refuse_unsupported(const json_t *body, nb_request_error *error)
{
    static const char *const stateful[] = {"previous_response_id", "conversation"};
    bool background = false;
    for (size_t i = 0; i < sizeof(stateful) / sizeof(stateful[0]); i++)
        if (nb_field_given(body, stateful[i]))
            return nb_request_refuse(error, 400, stateful[i], "unsupported_parameter",
                                     "%s is not supported: this server keeps no responses; send the whole "
                                     "conversation as input",
                                     stateful[i]);
    if (nb_field_given(body, "prompt"))
        return nb_request_refuse(error, 400, "prompt", "unsupported_parameter",
                                 "prompt is not supported: this server keeps no prompts; use instructions and input");
    NB_TRY(nb_field_bool(body, "background", &background, error));
    if (!background) return NB_OK;
    return nb_request_refuse(error, 400, "background", "unsupported_parameter",
                             "background is not supported: this server keeps no responses; use \"stream\": true");
}

// What else may be included does not exist here, so nothing is missing without it.
static int read_include(const json_t *body, nb_responses_request *out, nb_request_error *error)
{
    const json_t *include = NULL, *entry;
    int64_t n_top = 0;
    size_t i;
    NB_TRY(nb_field_int(body, "top_logprobs", 0, NB_TOP_LOGPROBS_MAX, &n_top, error));
    NB_TRY(nb_field_array(body, "include", &include, error));
    bool wanted = n_top > 0;
    json_array_foreach(include, i, entry)
    {
        if (!json_is_string(entry))
            return nb_request_refuse(error, 400, "include", NULL, "include must hold strings, not %s",
                                     nb_field_type(entry));
        wanted |= !strcmp(json_string_value(entry), "message.output_text.logprobs");
        out->wants_encrypted |= !strcmp(json_string_value(entry), "reasoning.encrypted_content");
    }
    if (!wanted) return NB_OK;
    return nb_request_refuse(error, 400, n_top > 0 ? "top_logprobs" : "include", "unsupported_parameter",
                             "log-probabilities are not available here; use /v1/chat/completions");
}

// Fields that are accepted and change nothing still have a type.
static int check_types(const json_t *body, nb_request_error *error)
{
    const json_t *object = NULL;
    nb_str text = {0};
    bool store = false;
    NB_TRY(nb_field_bool(body, "store", &store, error));
    NB_TRY(nb_field_str(body, "truncation", &text, error));
    NB_TRY(nb_field_object(body, "metadata", &object, error));
    return nb_field_object(body, "stream_options", &object, error);
}

// ---- Input

static const char *const message_types[] = {"input_text", "output_text", "text", "refusal", NULL};
static const char *const reasoning_types[] = {"reasoning_text", "summary_text", "text", NULL};

static int add_message(nb_conversation *c, const json_t *item, const char *at, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    json_t *content = NULL;
    nb_str role = {0};
    NB_TRY(nb_convert_str(item, at, "role", true, &role, error));
    snprintf(path, sizeof(path), "%s.content", at);
    NB_TRY(nb_convert_content(json_object_get(item, "content"), path, message_types, &content, error));
    if (nb_str_equal_c(role, "user")) {
        nb_conversation_message(c, "user", content);
    } else if (nb_str_equal_c(role, "assistant")) {
        nb_conversation_text(c, "assistant", content);
    } else if (nb_str_equal_c(role, "system") || nb_str_equal_c(role, "developer")) {
        nb_buf text = nb_convert_text(content);
        nb_conversation_system(c, nb_buf_str(&text));
        nb_buf_drop(&text);
        json_decref(content);
    } else {
        json_decref(content);
        snprintf(path, sizeof(path), "%s.role", at);
        return nb_request_refuse(error, 400, path, NULL, "%s must be user, assistant, system or developer", path);
    }
    return NB_OK;
}

// Templates loop over arguments, so they must be an object.
static int add_call(nb_conversation *c, const json_t *item, const char *at, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    nb_str id = {0}, name = {0}, space = {0}, text = NB_STR("{}");
    json_t *arguments = NULL;
    nb_error err = {0};
    NB_TRY(nb_convert_str(item, at, "call_id", true, &id, error));
    NB_TRY(nb_convert_str(item, at, "name", true, &name, error));
    NB_TRY(nb_convert_str(item, at, "namespace", false, &space, error));
    NB_TRY(nb_convert_str(item, at, "arguments", false, &text, error));
    snprintf(path, sizeof(path), "%s.arguments", at);
    if (text.len == 0) text = NB_STR("{}");
    if (nb_json_parse(text, path, &arguments, &err) != NB_OK)
        return nb_request_refuse(error, 400, path, NULL, "%s", err.text);
    if (!json_is_object(arguments)) {
        json_decref(arguments);
        return nb_request_refuse(error, 400, path, NULL, "%s must be the JSON text of an object", path);
    }
    nb_buf full = nb_responses_tool_name(space, name);
    nb_conversation_call(c, id, nb_buf_str(&full), arguments);
    nb_buf_drop(&full);
    return NB_OK;
}

static int add_call_output(nb_conversation *c, const json_t *item, const char *at, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    json_t *output = NULL;
    nb_str id = {0};
    NB_TRY(nb_convert_str(item, at, "call_id", true, &id, error));
    snprintf(path, sizeof(path), "%s.output", at);
    NB_TRY(nb_convert_content(json_object_get(item, "output"), path, message_types, &output, error));
    nb_conversation_result(c, id, output);
    return NB_OK;
}

// The text of a list of parts, if it has any and `out` is still empty.
static int read_reasoning(const json_t *item, const char *at, const char *key, nb_buf *out, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    json_t *content = NULL;
    snprintf(path, sizeof(path), "%s.%s", at, key);
    NB_TRY(nb_convert_content(json_object_get(item, key), path, reasoning_types, &content, error));
    nb_buf text = nb_convert_text(content);
    if (out->len == 0) nb_buf_add_str(out, nb_buf_str(&text));
    nb_buf_drop(&text);
    json_decref(content);
    return NB_OK;
}

// The reasoning itself, or its summary, or what stands for an encrypted one: they are the same here.
static int add_reasoning(nb_conversation *c, const json_t *item, const char *at, nb_request_error *error)
{
    nb_str encrypted = {0}, mark = NB_STR(NB_RESPONSES_ENCRYPTED_MARK);
    nb_buf text = {0};
    int code = nb_convert_str(item, at, "encrypted_content", false, &encrypted, error);
    if (code == NB_OK) code = read_reasoning(item, at, "content", &text, error);
    if (code == NB_OK) code = read_reasoning(item, at, "summary", &text, error);
    if (text.len == 0 && nb_str_starts(encrypted, mark))
        nb_buf_add_str(&text, nb_str_slice(encrypted, mark.len, encrypted.len));
    if (code == NB_OK && text.len) nb_conversation_reasoning(c, nb_buf_str(&text));
    nb_buf_drop(&text);
    return code;
}

static int add_item(nb_conversation *c, const json_t *item, const char *at, nb_request_error *error)
{
    nb_str type = NB_STR("message"); // a message may leave it out
    if (!json_is_object(item))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(item));
    NB_TRY(nb_convert_str(item, at, "type", false, &type, error));
    if (nb_str_equal_c(type, "message")) return add_message(c, item, at, error);
    if (nb_str_equal_c(type, "function_call")) return add_call(c, item, at, error);
    if (nb_str_equal_c(type, "function_call_output")) return add_call_output(c, item, at, error);
    if (nb_str_equal_c(type, "reasoning")) return add_reasoning(c, item, at, error);
    return nb_request_refuse(error, 400, at, "unsupported_content",
                             "%s has the type \"%.40s\"; this server takes message, reasoning, function_call and "
                             "function_call_output",
                             at, type.ptr);
}

static int add_items(nb_conversation *c, const json_t *input, nb_request_error *error)
{
    char at[NB_CONVERT_PATH_BYTES];
    const json_t *item;
    size_t i;
    if (json_array_size(input) > NB_REQUEST_MESSAGES_MAX)
        return nb_request_refuse(error, 400, "input", NULL, "input holds more than %d items", NB_REQUEST_MESSAGES_MAX);
    json_array_foreach(input, i, item)
    {
        snprintf(at, sizeof(at), "input[%zu]", i);
        NB_TRY(add_item(c, item, at, error));
    }
    return NB_OK;
}

static int convert_input(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *input = json_object_get(body, "input");
    nb_str instructions = {0};
    NB_TRY(nb_field_str(body, "instructions", &instructions, error));
    if (!nb_field_given(body, "input")) return nb_request_refuse(error, 400, "input", NULL, "input is missing");
    bool is_text = json_is_string(input) && !nb_json_big_integer(input).ptr;
    if (!is_text && !json_is_array(input))
        return nb_request_refuse(error, 400, "input", NULL, "input must be a string or an array of items, not %s",
                                 nb_field_type(input));
    int code = NB_OK;
    nb_conversation c = nb_conversation_begin(chat);
    if (instructions.len) nb_conversation_system(&c, instructions);
    if (is_text)
        nb_conversation_message(&c, "user", json_deep_copy(input));
    else
        code = add_items(&c, input, error);
    nb_conversation_end(&c);
    return code;
}

// ---- The rest

static int convert_reasoning(const json_t *body, nb_responses_request *out, nb_request_error *error)
{
    const json_t *reasoning = NULL;
    nb_str effort = {0}, summary = {0};
    NB_TRY(nb_field_object(body, "reasoning", &reasoning, error));
    NB_TRY(nb_convert_str(reasoning, "reasoning", "effort", false, &effort, error));
    if (effort.ptr) json_object_set_new(out->chat_body, "reasoning_effort", json_stringn(effort.ptr, effort.len));
    NB_TRY(nb_convert_str(reasoning, "reasoning", "generate_summary", false, &summary, error)); // its older name
    NB_TRY(nb_convert_str(reasoning, "reasoning", "summary", false, &summary, error));
    out->wants_summary = summary.ptr && !nb_str_equal_c(summary, "none");
    return NB_OK;
}

// {"type": "json_schema", "name", "schema", ...} becomes {"type": "json_schema", "json_schema": {...}}.
static int convert_format(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *text = NULL;
    nb_str type = {0};
    NB_TRY(nb_field_object(body, "text", &text, error));
    json_t *format = json_object_get(text, "format");
    if (!nb_field_given(text, "format")) return NB_OK;
    if (!json_is_object(format))
        return nb_request_refuse(error, 400, "text.format", NULL, "text.format must be an object, not %s",
                                 nb_field_type(format));
    NB_TRY(nb_convert_str(format, "text.format", "type", true, &type, error));
    if (!nb_str_equal_c(type, "json_schema")) {
        json_object_set(chat, "response_format", format);
        return NB_OK;
    }
    json_t *schema = json_copy(format), *converted = json_object();
    json_object_del(schema, "type");
    json_object_set_new(converted, "type", json_string("json_schema"));
    json_object_set_new(converted, "json_schema", schema);
    json_object_set_new(chat, "response_format", converted);
    return NB_OK;
}

static int convert(const json_t *body, nb_responses_request *out, nb_request_error *error)
{
    json_t *chat = out->chat_body;
    NB_TRY(refuse_unsupported(body, error));
    NB_TRY(read_include(body, out, error));
    NB_TRY(check_types(body, error));
    NB_TRY(convert_input(body, chat, error));
    NB_TRY(nb_responses_convert_tools(body, chat, error));
    NB_TRY(convert_reasoning(body, out, error));
    NB_TRY(convert_format(body, chat, error));
    json_t *most = json_object_get(body, "max_output_tokens"), *parallel = json_object_get(body, "parallel_tool_calls");
    if (most) json_object_set(chat, "max_completion_tokens", most);
    if (parallel) json_object_set(chat, "parallel_tool_calls", parallel);
    return NB_OK;
}

int nb_request_responses(const json_t *body, const nb_request_limits *limits, nb_arena *arena,
                         nb_responses_request *out, nb_request_error *error)
{
    *out = (nb_responses_request){.body = body, .chat_body = nb_convert_begin(body)};
    int code = convert(body, out, error);
    if (code == NB_OK) code = nb_convert_end(out->chat_body, names, limits, arena, &out->chat, error);
    if (code == NB_OK) return NB_OK;
    json_decref(out->chat_body);
    *out = (nb_responses_request){0};
    return code;
}

void nb_request_responses_drop(nb_responses_request *request)
{
    nb_request_chat_drop(&request->chat);
    json_decref(request->chat_body);
}
