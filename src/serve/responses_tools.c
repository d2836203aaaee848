// See responses_tools.h.
#include "serve/responses_tools.h"

#include <stdio.h>

#include "serve/request_convert.h"

// ---- Names

#define BETWEEN "__" // as tools of other servers are named, too

nb_buf nb_responses_tool_name(nb_str space, nb_str name)
{
    nb_buf full = {0};
    nb_buf_add_str(&full, space);
    if (space.len) nb_buf_add_c(&full, BETWEEN);
    nb_buf_add_str(&full, name);
    return full;
}

static bool is_namespace(const json_t *tool)
{
    const json_t *type = json_object_get(tool, "type");
    return json_is_string(type) && nb_str_equal_c(nb_field_text(type), "namespace");
}

void nb_responses_split_name(const json_t *body, nb_str full, nb_str *space, nb_str *name)
{
    const json_t *tool;
    size_t i;
    *space = (nb_str){0};
    *name = full;
    json_array_foreach(json_object_get(body, "tools"), i, tool)
    {
        nb_str own = nb_field_text(json_object_get(tool, "name"));
        nb_str rest = nb_str_slice(full, own.len, full.len);
        if (!is_namespace(tool) || !nb_str_starts(full, own) || !nb_str_starts(rest, NB_STR(BETWEEN))) continue;
        *space = own;
        *name = nb_str_slice(rest, sizeof(BETWEEN) - 1, rest.len);
        return;
    }
}

// ---- Tools

// {"type": "function", "name", ...} becomes {"type": "function", "function": {"name", ...}}.
static json_t *nested(const json_t *flat, nb_str space)
{
    json_t *function = json_copy((json_t *)flat), *tool = json_object();
    nb_buf full = nb_responses_tool_name(space, nb_field_text(json_object_get(flat, "name")));
    json_object_del(function, "type");
    json_object_set_new(function, "name", json_stringn(full.ptr, full.len));
    json_object_set_new(tool, "type", json_string("function"));
    json_object_set_new(tool, "function", function);
    nb_buf_drop(&full);
    return tool;
}

static int add_function(const json_t *tool, const char *at, nb_str space, json_t *out, nb_request_error *error)
{
    const json_t *parameters = json_object_get(tool, "parameters");
    nb_str name = {0};
    NB_TRY(nb_convert_str(tool, at, "name", true, &name, error));
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters))
        return nb_request_refuse(error, 400, at, NULL, "%s.parameters must be an object, not %s", at,
                                 nb_field_type(parameters));
    json_array_append_new(out, nested(tool, space));
    return NB_OK;
}

static int add_tools(const json_t *tools, const char *at, nb_str space, json_t *out, nb_request_error *error);

static int add_tool(const json_t *tool, const char *at, nb_str space, json_t *out, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    nb_str type = {0}, name = {0};
    if (!json_is_object(tool))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(tool));
    NB_TRY(nb_convert_str(tool, at, "type", true, &type, error));
    if (nb_str_equal_c(type, "function")) return add_function(tool, at, space, out, error);
    if (!nb_str_equal_c(type, "namespace") || space.len) return NB_OK;
    NB_TRY(nb_convert_str(tool, at, "name", true, &name, error));
    snprintf(path, sizeof(path), "%s.tools", at);
    return add_tools(json_object_get(tool, "tools"), path, name, out, error);
}

static int add_tools(const json_t *tools, const char *at, nb_str space, json_t *out, nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    const json_t *tool;
    size_t i;
    if (!json_is_array(tools)) return nb_request_refuse(error, 400, at, NULL, "%s must be an array", at);
    json_array_foreach(tools, i, tool)
    {
        snprintf(path, sizeof(path), "%s[%zu]", at, i);
        NB_TRY(add_tool(tool, path, space, out, error));
    }
    return NB_OK;
}

static int convert_choice(const json_t *body, json_t *chat, nb_request_error *error)
{
    json_t *choice = json_object_get(body, "tool_choice");
    nb_str type = {0}, name = {0}, space = {0};
    if (!nb_field_given(body, "tool_choice")) return NB_OK;
    if (!json_is_object(choice)) {
        json_object_set(chat, "tool_choice", choice);
        return NB_OK;
    }
    NB_TRY(nb_convert_str(choice, "tool_choice", "type", true, &type, error));
    if (!nb_str_equal_c(type, "function"))
        return nb_request_refuse(error, 400, "tool_choice", "unsupported_parameter",
                                 "tool_choice has the type \"%.40s\"; this server knows \"function\"", type.ptr);
    NB_TRY(nb_convert_str(choice, "tool_choice", "name", true, &name, error));
    NB_TRY(nb_convert_str(choice, "tool_choice", "namespace", false, &space, error));
    json_object_set_new(chat, "tool_choice", nested(choice, space));
    return NB_OK;
}

int nb_responses_convert_tools(const json_t *body, json_t *chat, nb_request_error *error)
{
    const json_t *tools = NULL;
    NB_TRY(nb_field_array(body, "tools", &tools, error));
    if (tools) {
        json_t *converted = json_array();
        json_object_set_new(chat, "tools", converted);
        NB_TRY(add_tools(tools, "tools", (nb_str){0}, converted, error));
        NB_TRY(nb_convert_check_tools(tools, converted, "function", error));
    }
    return convert_choice(body, chat, error);
}
