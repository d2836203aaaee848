// The body of /v1/chat/completions: messages, tools and template variables beside the shared fields; rendered to a
// prompt.
#include <string.h>

#include "serve/api_request.h"

static int want_messages(nb_api_request *r, nb_fault *fault)
{
    r->messages = json_object_get(r->body, "messages");
    size_t n = json_array_size(r->messages), i;
    if (!json_is_array(r->messages) || n == 0 || n > NB_API_MESSAGES_MAX)
        return nb_fault_set(fault, 400, "messages", NULL, "messages must be a list of 1 to %d messages",
                            NB_API_MESSAGES_MAX);
    const json_t *message;
    json_array_foreach(r->messages, i, message)
    {
        const json_t *content = json_object_get(message, "content");
        if (!json_is_string(json_object_get(message, "role")))
            return nb_fault_set(fault, 400, "messages", NULL, "messages[%zu] must be an object with a role", i);
        if (content && !json_is_string(content) && !json_is_array(content) && !json_is_null(content))
            return nb_fault_set(fault, 400, "messages", NULL,
                                "messages[%zu].content must be a string or a list of parts", i);
        const json_t *calls = json_object_get(message, "tool_calls");
        if (calls && !json_is_array(calls) && !json_is_null(calls))
            return nb_fault_set(fault, 400, "messages", NULL, "messages[%zu].tool_calls must be a list", i);
    }
    return NB_OK;
}

static int want_tool_list(nb_api_request *r, nb_fault *fault)
{
    const json_t *tools = json_object_get(r->body, "tools"), *tool;
    if (!tools || json_is_null(tools)) return NB_OK;
    if (!json_is_array(tools) || json_array_size(tools) > NB_API_TOOLS_MAX)
        return nb_fault_set(fault, 400, "tools", NULL, "tools must be a list of at most %d tools", NB_API_TOOLS_MAX);
    size_t i;
    json_array_foreach(tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function");
        if (!json_is_string(json_object_get(function, "name")))
            return nb_fault_set(fault, 400, "tools", NULL,
                                "tools[%zu] must be {\"type\": \"function\", \"function\": {\"name\": ...}}", i);
    }
    r->tools = json_array_size(tools) ? tools : NULL;
    return NB_OK;
}

static int want_tools(const nb_api_options *api, nb_api_request *r, nb_fault *fault)
{
    NB_TRY(want_tool_list(r, fault));
    const json_t *choice = json_object_get(r->body, "tool_choice");
    const char *name = json_string_value(choice);
    bool given = choice && !json_is_null(choice);
    if (given && !json_is_object(choice) &&
        !(name && (!strcmp(name, "none") || !strcmp(name, "auto") || !strcmp(name, "required"))))
        return nb_fault_set(fault, 400, "tool_choice", NULL,
                            "tool_choice must be \"none\", \"auto\", \"required\" or a function");
    if (given && !r->tools && !(name && !strcmp(name, "none")))
        return nb_fault_set(fault, 400, "tool_choice", NULL, "tool_choice needs tools");
    if (given && (json_is_object(choice) || !strcmp(name, "required")))
        return nb_fault_set(fault, 400, "tool_choice", NULL,
                            "this server cannot force a tool call yet: tool_choice may be \"auto\" or \"none\"");
    if (!r->tools || (name && !strcmp(name, "none"))) return NB_OK;
    if (!api->auto_tool_choice || api->tool == NB_TOOL_NONE)
        return nb_fault_set(fault, 400, "tool_choice", NULL,
                            "tools need a server started with --enable-auto-tool-choice and --tool-call-parser");
    r->parse_tools = true;
    return NB_OK;
}

static int want_variables(nb_api_request *r, nb_fault *fault)
{
    json_t *kwargs = json_object_get(r->body, "chat_template_kwargs"),
           *thinking = json_object_get(r->body, "enable_thinking"),
           *effort = json_object_get(r->body, "reasoning_effort");
    r->variables = json_object();
    if (kwargs && !json_is_null(kwargs) && !json_is_object(kwargs))
        return nb_fault_set(fault, 400, "chat_template_kwargs", NULL, "chat_template_kwargs must be an object");
    if (thinking && !json_is_null(thinking) && !json_is_boolean(thinking))
        return nb_fault_set(fault, 400, "enable_thinking", NULL, "enable_thinking must be true or false");
    if (effort && !json_is_null(effort) && !json_is_string(effort))
        return nb_fault_set(fault, 400, "reasoning_effort", NULL, "reasoning_effort must be a string");
    if (json_is_string(effort)) {
        json_object_set(r->variables, "reasoning_effort", effort);
        if (!strcmp(json_string_value(effort), "none"))
            json_object_set_new(r->variables, "enable_thinking", json_false());
    }
    if (json_is_boolean(thinking)) json_object_set(r->variables, "enable_thinking", thinking);
    if (json_is_object(kwargs)) json_object_update(r->variables, kwargs);
    return NB_OK;
}

static int want_logprobs(nb_api_request *r, nb_fault *fault)
{
    bool logprobs = false;
    int64_t top = 0;
    NB_TRY(nb_api_want_bool(r->body, "logprobs", &logprobs, fault));
    NB_TRY(nb_api_want_int(r->body, "top_logprobs", 0, NB_TOP_LOGPROBS_MAX, &top, fault));
    if (top > 0 && !logprobs)
        return nb_fault_set(fault, 400, "top_logprobs", NULL, "top_logprobs needs logprobs: true");
    r->n_top = logprobs ? (int)top : -1;
    return NB_OK;
}

static int want_max_tokens(nb_api_request *r, nb_fault *fault)
{
    r->max_tokens = -1;
    NB_TRY(nb_api_want_int(r->body, "max_tokens", 1, INT32_MAX, &r->max_tokens, fault));
    return nb_api_want_int(r->body, "max_completion_tokens", 1, INT32_MAX, &r->max_tokens, fault);
}

static int render(const nb_api_options *api, nb_api_request *r, nb_fault *fault)
{
    if (!api->chat)
        return nb_fault_set(fault, 400, NULL, NULL, "this checkpoint has no chat template; use /v1/completions");
    bool generation = true, open = false;
    NB_TRY(nb_api_want_bool(r->body, "add_generation_prompt", &generation, fault));
    NB_TRY(nb_api_want_bool(r->body, "continue_final_message", &open, fault));
    nb_chat_input input = {.messages = r->messages,
                           .tools = r->tools,
                           .variables = r->variables,
                           .add_generation_prompt = generation && !open,
                           .continue_final_message = open};
    nb_buf text = {0};
    int code = nb_chat_render(api->chat, &input, &text, &fault->err);
    if (code != NB_OK) {
        nb_error why = fault->err;
        code = nb_fault_set(fault, 400, "messages", NULL, "%s", why.text);
    } else {
        r->prompt->text = nb_arena_str(r->arena, nb_buf_str(&text));
        code = nb_api_prompt_encode(api, r, r->prompt->text, &r->prompt->ids, fault);
    }
    nb_buf_drop(&text);
    return code;
}

static int parse(const nb_api_options *api, nb_str body, nb_api_request *r, nb_fault *fault)
{
    if (nb_json_parse(body, "the request body", &r->body, &fault->err) != NB_OK) {
        nb_error why = fault->err;
        return nb_fault_set(fault, 400, NULL, NULL, "%s", why.text);
    }
    if (!json_is_object(r->body)) return nb_fault_set(fault, 400, NULL, NULL, "the request body must be a JSON object");
    NB_TRY(nb_api_request_common(api, r, fault));
    NB_TRY(want_messages(r, fault));
    NB_TRY(want_tools(api, r, fault));
    NB_TRY(want_variables(r, fault));
    NB_TRY(want_logprobs(r, fault));
    NB_TRY(want_max_tokens(r, fault));
    return render(api, r, fault);
}

int nb_api_request_chat(const nb_api_options *api, nb_str body, nb_api_request *out, nb_fault *fault)
{
    *out = (nb_api_request){.arena = nb_arena_open(0), .chat = true, .n_prompt = 1};
    *fault = (nb_fault){0};
    out->prompt = NB_ARENA_ARRAY(out->arena, nb_prompt, 1);
    int code = parse(api, body, out, fault);
    if (code != NB_OK) nb_api_request_drop(out);
    return code;
}
