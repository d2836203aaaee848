// Requests of /v1/messages (Anthropic's API), converted into chat requests.
#include <stdio.h>
#include <string.h>

#include "serve/request_convert.h"

static const nb_convert_name names[] = {
    {"reasoning_effort", "output_config.effort"},
    {"response_format", "output_config.format"},
    {"stop", "stop_sequences"},
    {0},
};

static const char *const text_types[] = {"text", NULL};

// ---- System

// A line for accounting that clients put in front and that differs in each request: with it no prompt would begin like
// an earlier one, and the prefix cache would find nothing.
static bool is_billing_line(nb_str text)
{
    return nb_str_starts(text, NB_STR("x-anthropic-billing-header:"));
}

static int add_system(nb_conversation *c, const json_t *system, const char *at, nb_request_error *error)
{
    json_t *content = NULL, *part;
    size_t i;
    NB_TRY(nb_convert_content(system, at, text_types, &content, error));
    if (json_is_string(content)) nb_conversation_system(c, nb_field_text(content));
    if (json_is_array(content)) json_array_foreach(content, i, part)
        {
            nb_str text = nb_field_text(json_object_get(part, "text"));
            if (!is_billing_line(text)) nb_conversation_system(c, text);
        }
    json_decref(content);
    return NB_OK;
}

// ---- Blocks of messages

static int add_text(nb_conversation *c, const json_t *block, const char *at, bool is_user, nb_request_error *error)
{
    nb_str text = {0};
    NB_TRY(nb_convert_str(block, at, "text", true, &text, error));
    nb_conversation_text(c, is_user ? "user" : "assistant", json_stringn(text.ptr, text.len));
    return NB_OK;
}

static int add_thinking(nb_conversation *c, const json_t *block, const char *at, nb_request_error *error)
{
    nb_str thinking = {0}, signature = {0};
    NB_TRY(nb_convert_str(block, at, "thinking", true, &thinking, error));
    NB_TRY(nb_convert_str(block, at, "signature", false, &signature, error)); // ours says nothing: not looked at
    nb_conversation_reasoning(c, thinking);
    return NB_OK;
}

static int add_tool_use(nb_conversation *c, const json_t *block, const char *at, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    json_t *input = json_object_get(block, "input");
    nb_str id = {0}, name = {0};
    NB_TRY(nb_convert_str(block, at, "id", true, &id, error));
    NB_TRY(nb_convert_str(block, at, "name", true, &name, error));
    snprintf(path, sizeof(path), "%s.input", at);
    if (!json_is_object(input))
        return nb_request_refuse(error, 400, path, NULL, "%s must be an object%s%s", path, input ? ", not " : "",
                                 input ? nb_field_type(input) : "");
    nb_conversation_call(c, id, name, json_incref(input));
    return NB_OK;
}

static int add_tool_result(nb_conversation *c, const json_t *block, const char *at, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    json_t *content = NULL;
    nb_str id = {0};
    NB_TRY(nb_convert_str(block, at, "tool_use_id", true, &id, error));
    snprintf(path, sizeof(path), "%s.content", at);
    NB_TRY(nb_convert_content(json_object_get(block, "content"), path, text_types, &content, error));
    nb_conversation_result(c, id, content);
    return NB_OK;
}

static int add_block(nb_conversation *c, const json_t *block, const char *at, bool is_user, nb_request_error *error)
{
    nb_str type = {0};
    if (!json_is_object(block))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(block));
    NB_TRY(nb_convert_str(block, at, "type", true, &type, error));
    if (nb_str_equal_c(type, "text")) return add_text(c, block, at, is_user, error);
    if (is_user && nb_str_equal_c(type, "tool_result")) return add_tool_result(c, block, at, error);
    if (!is_user && nb_str_equal_c(type, "thinking")) return add_thinking(c, block, at, error);
    if (!is_user && nb_str_equal_c(type, "redacted_thinking")) return NB_OK; // only its author can read it
    if (!is_user && nb_str_equal_c(type, "tool_use")) return add_tool_use(c, block, at, error);
    return nb_request_refuse(error, 400, at, "unsupported_content",
                             "%s has the type \"%.40s\"; this server reads text only, and takes %s", at, type.ptr,
                             is_user ? "text and tool_result blocks from users"
                                     : "text, thinking and tool_use blocks from assistants");
}

static int add_message(nb_conversation *c, const json_t *message, const char *at, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    const json_t *content = json_object_get(message, "content"), *block;
    nb_str role = {0};
    size_t i;
    if (!json_is_object(message))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(message));
    NB_TRY(nb_convert_str(message, at, "role", true, &role, error));
    snprintf(path, sizeof(path), "%s.content", at);
    if (nb_str_equal_c(role, "system")) return add_system(c, content, path, error);
    bool is_user = nb_str_equal_c(role, "user");
    if (!is_user && !nb_str_equal_c(role, "assistant"))
        return nb_request_refuse(error, 400, at, NULL, "%s.role must be user, assistant or system", at);
    if (json_is_string(content) && !nb_json_big_integer(content).ptr) {
        nb_conversation_text(c, is_user ? "user" : "assistant", json_deep_copy(content));
        return NB_OK;
    }
    if (!json_is_array(content))
        return nb_request_refuse(error, 400, path, NULL, "%s must be a string or an array of blocks", path);
    json_array_foreach(content, i, block)
    {
        snprintf(path, sizeof(path), "%s.content[%zu]", at, i);
        NB_TRY(add_block(c, block, path, is_user, error));
    }
    return NB_OK;
}

static int add_messages(nb_conversation *c, const json_t *body, nb_request_error *error)
{
    char at[NB_CONVERT_PATH_BYTES];
    const json_t *messages = NULL, *message;
    size_t i;
    NB_TRY(add_system(c, json_object_get(body, "system"), "system", error));
    NB_TRY(nb_field_array(body, "messages", &messages, error));
    if (json_array_size(messages) > NB_REQUEST_MESSAGES_MAX)
        return nb_request_refuse(error, 400, "messages", NULL, "messages holds more than %d messages",
                                 NB_REQUEST_MESSAGES_MAX);
    if (json_array_size(messages) == 0)
        return nb_request_refuse(error, 400, "messages", NULL, "messages must hold at least one message");
    json_array_foreach(messages, i, message)
    {
        snprintf(at, sizeof(at), "messages[%zu]", i);
        NB_TRY(add_message(c, message, at, error));
    }
    return NB_OK;
}

// An answer that was begun is continued.
static bool ends_in_begun_answer(const json_t *messages)
{
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *role = json_object_get(last, "role");
    return role && !strcmp(json_string_value(role), "assistant") && !json_object_get(last, "tool_calls");
}

static int convert_messages(const json_t *body, json_t *chat, nb_request_error *error)
{
    nb_conversation c = nb_conversation_begin(chat);
    int code = add_messages(&c, body, error);
    nb_conversation_end(&c);
    json_object_set_new(chat, "continue_final_message", json_boolean(ends_in_begun_answer(c.messages)));
    return code;
}

// ---- Tools

// {"name", "description", "input_schema"} becomes {"type": "function", "function": {..., "parameters"}}.
static int convert_tool(const json_t *tool, const char *at, json_t *out, nb_request_error *error)
{
    json_t *schema = json_object_get(tool, "input_schema");
    nb_str type = NB_STR("custom"), name = {0}, description = {0};
    if (!json_is_object(tool))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(tool));
    NB_TRY(nb_convert_str(tool, at, "type", false, &type, error));
    if (!nb_str_equal_c(type, "custom")) return NB_OK;
    NB_TRY(nb_convert_str(tool, at, "name", true, &name, error));
    NB_TRY(nb_convert_str(tool, at, "description", false, &description, error));
    if (!json_is_object(schema))
        return nb_request_refuse(error, 400, at, NULL, "%s.input_schema must be an object", at);
    json_t *function = json_object(), *strict = json_object_get(tool, "strict");
    json_object_set_new(function, "name", json_stringn(name.ptr, name.len));
    if (description.ptr) json_object_set_new(function, "description", json_stringn(description.ptr, description.len));
    json_object_set(function, "parameters", schema);
    if (strict) json_object_set(function, "strict", strict);
    json_array_append_new(out, json_pack("{s:s, s:o}", "type", "function", "function", function));
    return NB_OK;
}

static int convert_tools(const json_t *body, json_t *chat, nb_request_error *error)
{
    char at[NB_CONVERT_PATH_BYTES];
    const json_t *tools = NULL, *tool;
    size_t i;
    NB_TRY(nb_field_array(body, "tools", &tools, error));
    if (!tools) return NB_OK;
    json_t *converted = json_array();
    json_object_set_new(chat, "tools", converted);
    json_array_foreach(tools, i, tool)
    {
        snprintf(at, sizeof(at), "tools[%zu]", i);
        NB_TRY(convert_tool(tool, at, converted, error));
    }
    return nb_convert_check_tools(tools, converted, "custom", error);
}

static int convert_tool_choice(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *choice = NULL;
    nb_str type = {0}, name = {0};
    bool one_call = false;
    NB_TRY(nb_field_object(body, "tool_choice", &choice, error));
    if (!choice) return NB_OK;
    NB_TRY(nb_convert_str(choice, "tool_choice", "type", true, &type, error));
    NB_TRY(nb_field_bool(choice, "disable_parallel_tool_use", &one_call, error));
    if (one_call) json_object_set_new(chat, "parallel_tool_calls", json_false());
    if (nb_str_equal_c(type, "auto") || nb_str_equal_c(type, "none")) {
        json_object_set_new(chat, "tool_choice", json_stringn(type.ptr, type.len));
    } else if (nb_str_equal_c(type, "any")) {
        json_object_set_new(chat, "tool_choice", json_string("required"));
    } else if (nb_str_equal_c(type, "tool")) {
        NB_TRY(nb_convert_str(choice, "tool_choice", "name", true, &name, error));
        json_object_set_new(
            chat, "tool_choice",
            json_pack("{s:s, s:{s:o}}", "type", "function", "function", "name", json_stringn(name.ptr, name.len)));
    } else {
        return nb_request_refuse(error, 400, "tool_choice", NULL, "tool_choice.type must be auto, any, tool or none");
    }
    return NB_OK;
}

// ---- The rest

// Who does not ask for thinking does not expect blocks of it, unless the server's own fields say otherwise.
static int convert_thinking(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *thinking = NULL;
    nb_str type = NB_STR("disabled");
    int64_t budget = 0;
    NB_TRY(nb_field_object(body, "thinking", &thinking, error));
    if (thinking) NB_TRY(nb_convert_str(thinking, "thinking", "type", true, &type, error));
    NB_TRY(nb_field_int(thinking, "budget_tokens", 0, INT32_MAX, &budget, error)); // nothing is cut off by it
    bool on = nb_str_equal_c(type, "enabled") || nb_str_equal_c(type, "adaptive");
    if (!on && !nb_str_equal_c(type, "disabled"))
        return nb_request_refuse(error, 400, "thinking", NULL, "thinking.type must be enabled, adaptive or disabled");
    bool decided = nb_field_given(body, "enable_thinking") ||
                   nb_field_given(json_object_get(body, "chat_template_kwargs"), "enable_thinking");
    if (decided && !thinking) return NB_OK;
    json_object_set_new(chat, "enable_thinking", json_boolean(on));
    json_object_set_new(chat, "include_reasoning", json_boolean(on));
    return NB_OK;
}

static int convert_output(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *output = NULL, *format = NULL;
    json_t *schema;
    nb_str effort = {0}, type = {0};
    NB_TRY(nb_field_object(body, "output_config", &output, error));
    NB_TRY(nb_convert_str(output, "output_config", "effort", false, &effort, error));
    if (effort.ptr) json_object_set_new(chat, "reasoning_effort", json_stringn(effort.ptr, effort.len));
    NB_TRY(nb_field_object(output, "format", &format, error));
    if (!format) return NB_OK;
    NB_TRY(nb_convert_str(format, "output_config.format", "type", true, &type, error));
    schema = json_object_get(format, "schema");
    if (!nb_str_equal_c(type, "json_schema") || !json_is_object(schema))
        return nb_request_refuse(error, 400, "output_config.format", NULL,
                                 "output_config.format must be {\"type\": \"json_schema\", \"schema\": {...}}");
    json_object_set_new(
        chat, "response_format",
        json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name", "output", "schema", schema));
    return NB_OK;
}

static int convert_stop(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *stop = NULL;
    NB_TRY(nb_field_array(body, "stop_sequences", &stop, error));
    if (stop) json_object_set(chat, "stop", (json_t *)stop);
    return NB_OK;
}

// Clients that hear this code go on without a thread.
static int refuse_thread(const json_t *body, nb_request_error *error)
{
    if (!nb_field_given(body, "thread")) return NB_OK;
    return nb_request_refuse(error, 400, "thread", "thread_unsupported_request",
                             "thread is not supported: this server keeps no conversations; send all messages");
}

static int convert(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *metadata = NULL;
    NB_TRY(refuse_thread(body, error));
    NB_TRY(convert_messages(body, chat, error));
    NB_TRY(convert_tools(body, chat, error));
    NB_TRY(convert_tool_choice(body, chat, error));
    NB_TRY(convert_thinking(body, chat, error));
    NB_TRY(convert_output(body, chat, error));
    NB_TRY(convert_stop(body, chat, error));
    return nb_field_object(body, "metadata", &metadata, error);
}

int nb_request_messages(const json_t *body, const nb_request_limits *limits, bool only_count, nb_arena *arena,
                        nb_messages_request *out, nb_request_error *error)
{
    *out = (nb_messages_request){.chat_body = nb_convert_begin(body)};
    json_t *most = json_object_get(body, "max_tokens");
    if (most) json_object_set(out->chat_body, "max_tokens", most);
    int code = convert(body, out->chat_body, error);
    if (code == NB_OK && !only_count && !nb_field_given(body, "max_tokens"))
        code = nb_request_refuse(error, 400, "max_tokens", NULL, "max_tokens is missing");
    if (code == NB_OK) code = nb_convert_end(out->chat_body, names, limits, arena, &out->chat, error);
    if (code == NB_OK) return NB_OK;
    json_decref(out->chat_body);
    *out = (nb_messages_request){0};
    return code;
}

void nb_request_messages_drop(nb_messages_request *request)
{
    nb_request_chat_drop(&request->chat);
    json_decref(request->chat_body);
}
