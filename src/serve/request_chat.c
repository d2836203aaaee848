// Requests of /v1/chat/completions: messages, tools, and what the chat template gets.
#include "serve/request.h"

#include <stdio.h>
#include <string.h>

#include "text/tool_schema.h"

// ---- Messages

static int check_part(const json_t *part, const char *at, nb_request_error *error)
{
    const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
    if (!json_is_object(part)) return nb_request_refuse(error, 400, at, NULL, "%s must be an object", at);
    if (!json_is_string(type)) return nb_request_refuse(error, 400, at, NULL, "%s.type must be a string", at);
    if (strcmp(json_string_value(type), "text") && strcmp(json_string_value(type), "refusal"))
        return nb_request_refuse(error, 400, at, "unsupported_content",
                                 "%s has the type \"%.40s\"; this server reads text only", at, json_string_value(type));
    if (!strcmp(json_string_value(type), "text") && !json_is_string(text))
        return nb_request_refuse(error, 400, at, NULL, "%s.text must be a string", at);
    return NB_OK;
}

static int check_content(const json_t *content, size_t i_message, nb_request_error *error)
{
    char at[64];
    const json_t *part;
    size_t i;
    snprintf(at, sizeof(at), "messages[%zu].content", i_message);
    if (!content || json_is_null(content) || json_is_string(content)) return NB_OK;
    if (!json_is_array(content))
        return nb_request_refuse(error, 400, at, NULL, "%s must be a string or an array of parts, not %s", at,
                                 nb_field_type(content));
    json_array_foreach(content, i, part)
    {
        snprintf(at, sizeof(at), "messages[%zu].content[%zu]", i_message, i);
        NB_TRY(check_part(part, at, error));
    }
    return NB_OK;
}

static int check_call(const json_t *call, const char *at, nb_request_error *error)
{
    const json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
    if (!json_is_object(call)) return nb_request_refuse(error, 400, at, NULL, "%s must be an object", at);
    if (!json_is_object(function)) return nb_request_refuse(error, 400, at, NULL, "%s.function must be an object", at);
    if (!json_is_string(json_object_get(function, "name")))
        return nb_request_refuse(error, 400, at, NULL, "%s.function.name must be a string", at);
    if (arguments && !json_is_string(arguments) && !json_is_object(arguments) && !json_is_null(arguments))
        return nb_request_refuse(error, 400, at, NULL, "%s.function.arguments must be a string or an object, not %s",
                                 at, nb_field_type(arguments));
    return NB_OK;
}

static int check_calls(const json_t *calls, size_t i_message, nb_request_error *error)
{
    char at[64];
    const json_t *call;
    size_t i;
    snprintf(at, sizeof(at), "messages[%zu].tool_calls", i_message);
    if (!calls || json_is_null(calls)) return NB_OK;
    if (!json_is_array(calls))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an array, not %s", at, nb_field_type(calls));
    json_array_foreach(calls, i, call)
    {
        snprintf(at, sizeof(at), "messages[%zu].tool_calls[%zu]", i_message, i);
        NB_TRY(check_call(call, at, error));
    }
    return NB_OK;
}

static int check_message(const json_t *message, size_t i, nb_request_error *error)
{
    char at[64];
    snprintf(at, sizeof(at), "messages[%zu]", i);
    if (!json_is_object(message))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(message));
    snprintf(at, sizeof(at), "messages[%zu].role", i);
    const json_t *role = json_object_get(message, "role");
    if (!json_is_string(role) || json_string_length(role) == 0)
        return nb_request_refuse(error, 400, at, NULL, "%s must be a string that is not empty", at);
    NB_TRY(check_content(json_object_get(message, "content"), i, error));
    return check_calls(json_object_get(message, "tool_calls"), i, error);
}

int nb_request_chat_messages(const json_t *body, const json_t **out, nb_request_error *error)
{
    const json_t *message;
    size_t i;
    *out = NULL;
    NB_TRY(nb_field_array(body, "messages", out, error));
    if (json_array_size(*out) == 0)
        return nb_request_refuse(error, 400, "messages", NULL, "messages must hold at least one message");
    if (json_array_size(*out) > NB_REQUEST_MESSAGES_MAX)
        return nb_request_refuse(error, 400, "messages", NULL, "messages holds more than %d messages",
                                 NB_REQUEST_MESSAGES_MAX);
    json_array_foreach(*out, i, message) NB_TRY(check_message(message, i, error));
    return NB_OK;
}

// ---- Tools

static int check_tool(const json_t *tool, size_t i, nb_request_error *error)
{
    char at[64];
    snprintf(at, sizeof(at), "tools[%zu]", i);
    const json_t *function = json_object_get(tool, "function"), *type = json_object_get(tool, "type");
    const json_t *name = json_object_get(function, "name"), *parameters = json_object_get(function, "parameters");
    if (!json_is_object(tool))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(tool));
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "function")))
        return nb_request_refuse(error, 400, at, NULL, "%s.type must be \"function\"", at);
    if (!json_is_object(function)) return nb_request_refuse(error, 400, at, NULL, "%s.function must be an object", at);
    if (!json_is_string(name) || json_string_length(name) == 0)
        return nb_request_refuse(error, 400, at, NULL, "%s.function.name must be a string that is not empty", at);
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters))
        return nb_request_refuse(error, 400, at, NULL, "%s.function.parameters must be an object, not %s", at,
                                 nb_field_type(parameters));
    return NB_OK;
}

// An empty array means no tools.
int nb_request_tools(const json_t *body, const json_t **out, nb_request_error *error)
{
    const json_t *tool;
    size_t i;
    *out = NULL;
    NB_TRY(nb_field_array(body, "tools", out, error));
    json_array_foreach(*out, i, tool) NB_TRY(check_tool(tool, i, error));
    if (json_array_size(*out) == 0) *out = NULL;
    return NB_OK;
}

static int read_tool_name(const json_t *choice, nb_chat_request *out, nb_request_error *error)
{
    const json_t *name = json_object_get(json_object_get(choice, "function"), "name");
    if (!json_is_string(name))
        return nb_request_refuse(error, 400, "tool_choice", NULL,
                                 "tool_choice must be \"none\", \"auto\", \"required\" or "
                                 "{\"type\": \"function\", \"function\": {\"name\": ...}}");
    out->tool_choice = NB_TOOL_CHOICE_REQUIRED;
    out->tool_name = nb_field_text(name);
    if (nb_tool_schema_has(out->tools, out->tool_name)) return NB_OK;
    return nb_request_refuse(error, 400, "tool_choice", NULL,
                             "tool_choice names the function \"%.80s\", which is not in tools", out->tool_name.ptr);
}

static int read_tool_choice(const json_t *body, nb_chat_request *out, nb_request_error *error)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    out->tool_choice = out->tools ? NB_TOOL_CHOICE_AUTO : NB_TOOL_CHOICE_NONE;
    if (!nb_field_given(body, "tool_choice")) return NB_OK;
    const char *word = json_is_string(choice) ? json_string_value(choice) : "";
    if (!strcmp(word, "auto")) return NB_OK;
    if (!strcmp(word, "none")) {
        out->tool_choice = NB_TOOL_CHOICE_NONE;
        return NB_OK;
    }
    if (strcmp(word, "required") != 0) return read_tool_name(choice, out, error);
    out->tool_choice = NB_TOOL_CHOICE_REQUIRED;
    if (out->tools) return NB_OK;
    return nb_request_refuse(error, 400, "tool_choice", NULL, "tool_choice \"required\" needs tools");
}

static bool has_strict(const json_t *tools)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        if (json_is_true(json_object_get(function, "strict"))) return true;
    }
    return false;
}

// Calls that must come, and strict ones that may, constrain the output. The server's tool-call format is added later.
static int constrain_calls(nb_chat_request *out, nb_request_error *error)
{
    nb_generation *g = &out->generation;
    bool forced = out->tool_choice == NB_TOOL_CHOICE_REQUIRED;
    bool strict = out->tool_choice == NB_TOOL_CHOICE_AUTO && has_strict(out->tools);
    if (!forced && (!strict || g->constrain.kind != NB_CONSTRAIN_NONE)) return NB_OK;
    if (g->constrain.kind != NB_CONSTRAIN_NONE)
        return nb_request_refuse(error, 400, "tool_choice", NULL, "tool_choice and %s exclude each other",
                                 g->constrain.param);
    g->constrain = (nb_constrain_spec){
        .kind = NB_CONSTRAIN_TOOLS,
        .value = out->tools,
        .param = "tools",
        .tools = {.name = out->tool_name,
                  .several = out->parallel_tool_calls && !out->tool_name.len,
                  .free_text = !forced},
    };
    return NB_OK;
}

// ---- The template's variables

static int check_effort(nb_str effort, nb_request_error *error)
{
    static const char *const known[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (nb_str_equal_c(effort, known[i])) return NB_OK;
    return nb_request_refuse(error, 400, "reasoning_effort", NULL,
                             "reasoning_effort must be one of none, minimal, low, medium, high, xhigh, max");
}

// chat_template_kwargs first, then the fields that have a name of their own. An effort of "none" turns thinking off.
int nb_request_template_variables(const json_t *body, json_t **out, nb_request_error *error)
{
    const json_t *kwargs = NULL, *documents = NULL;
    nb_str effort = {0};
    bool thinking = false;
    NB_TRY(nb_field_object(body, "chat_template_kwargs", &kwargs, error));
    NB_TRY(nb_field_array(body, "documents", &documents, error));
    NB_TRY(nb_field_bool(body, "enable_thinking", &thinking, error));
    NB_TRY(nb_field_str(body, "reasoning_effort", &effort, error));
    if (effort.ptr) NB_TRY(check_effort(effort, error));
    json_t *variables = kwargs ? json_deep_copy(kwargs) : json_object();
    if (documents) json_object_set_new(variables, "documents", json_deep_copy(documents));
    if (effort.ptr) json_object_set_new(variables, "reasoning_effort", json_stringn(effort.ptr, effort.len));
    if (nb_field_given(body, "enable_thinking"))
        json_object_set_new(variables, "enable_thinking", json_boolean(thinking));
    else if (nb_str_equal_c(effort, "none") && !json_object_get(variables, "enable_thinking"))
        json_object_set_new(variables, "enable_thinking", json_false());
    *out = variables;
    return NB_OK;
}

// ---- All of it

static int read_logprobs(const json_t *body, nb_generation *g, nb_request_error *error)
{
    bool logprobs = false;
    int64_t n_top = 0;
    NB_TRY(nb_field_bool(body, "logprobs", &logprobs, error));
    NB_TRY(nb_field_int(body, "top_logprobs", 0, NB_TOP_LOGPROBS_MAX, &n_top, error));
    if (n_top > 0 && !logprobs)
        return nb_request_refuse(error, 400, "top_logprobs", NULL, "top_logprobs needs \"logprobs\": true");
    if (logprobs) g->n_top = n_top;
    return NB_OK;
}

static int read_max_tokens(const json_t *body, nb_generation *g, nb_request_error *error)
{
    NB_TRY(nb_field_int(body, "max_completion_tokens", 1, INT32_MAX, &g->max_tokens, error));
    if (g->max_tokens == 0) return nb_request_refuse(error, 400, "max_tokens", NULL, "max_tokens must be at least 1");
    return NB_OK;
}

static int read_turn(const json_t *body, nb_chat_request *out, nb_request_error *error)
{
    NB_TRY(nb_field_bool(body, "continue_final_message", &out->continue_final_message, error));
    out->add_generation_prompt = !out->continue_final_message;
    NB_TRY(nb_field_bool(body, "add_generation_prompt", &out->add_generation_prompt, error));
    NB_TRY(nb_field_bool(body, "parallel_tool_calls", &out->parallel_tool_calls, error));
    NB_TRY(nb_field_bool(body, "include_reasoning", &out->include_reasoning, error));
    if (out->continue_final_message && out->add_generation_prompt)
        return nb_request_refuse(error, 400, "continue_final_message", NULL,
                                 "continue_final_message and add_generation_prompt exclude each other");
    return NB_OK;
}

int nb_request_chat(const json_t *body, const nb_request_limits *limits, nb_arena *arena, nb_chat_request *out,
                    nb_request_error *error)
{
    *out = (nb_chat_request){.parallel_tool_calls = true, .include_reasoning = true};
    NB_TRY(nb_request_generation(body, limits, arena, &out->generation, error));
    out->generation.reasons = true;
    NB_TRY(read_max_tokens(body, &out->generation, error));
    NB_TRY(read_logprobs(body, &out->generation, error));
    NB_TRY(nb_request_chat_messages(body, &out->messages, error));
    NB_TRY(nb_request_tools(body, &out->tools, error));
    NB_TRY(read_tool_choice(body, out, error));
    NB_TRY(read_turn(body, out, error));
    NB_TRY(constrain_calls(out, error));
    return nb_request_template_variables(body, &out->variables, error);
}

void nb_request_chat_drop(nb_chat_request *request)
{
    json_decref(request->variables);
}
