// See request_convert.h.
#include "serve/request_convert.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

json_t *nb_convert_begin(const json_t *body)
{
    static const char *const same[] = {
        "chat_template_kwargs",
        "enable_thinking",
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "logit_bias",
        "min_p",
        "min_tokens",
        "model",
        "presence_penalty",
        "priority",
        "repetition_penalty",
        "seed",
        "skip_special_tokens",
        "stop",
        "stop_token_ids",
        "stream",
        "structured_outputs",
        "temperature",
        "top_k",
        "top_p",
        "truncate_prompt_tokens",
    };
    json_t *chat = json_object();
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        json_t *value = json_object_get(body, same[i]);
        if (value) json_object_set(chat, same[i], value);
    }
    return chat;
}

// ---- Errors and fields

// `text` begins with the whole name: "stop" is not the name in "stop_token_ids".
static bool begins_with(const char *text, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(text, name, n) && !isalnum((unsigned char)text[n]) && text[n] != '_';
}

// Messages begin with the field that they are about.
static int rename_error(const nb_convert_name *names, nb_request_error *error)
{
    while (names->chat && !begins_with(error->param, names->chat)) names++;
    if (!names->chat) return NB_ERR_INPUT;
    nb_request_error was = *error;
    size_t n = strlen(names->chat);
    snprintf(error->param, sizeof(error->param), "%s%s", names->own, was.param + n);
    if (begins_with(was.message, names->chat))
        snprintf(error->message, sizeof(error->message), "%s%s", names->own, was.message + n);
    return NB_ERR_INPUT;
}

static void rename_constraint(const nb_convert_name *names, nb_generation *g)
{
    if (g->constrain.kind == NB_CONSTRAIN_NONE) return;
    for (; names->chat; names++)
        if (!strcmp(names->chat, g->constrain.param)) g->constrain.param = names->own;
}

int nb_convert_end(const json_t *chat_body, const nb_convert_name *names, const nb_request_limits *limits,
                   nb_arena *arena, nb_chat_request *out, nb_request_error *error)
{
    if (nb_request_chat(chat_body, limits, arena, out, error) != NB_OK) return rename_error(names, error);
    rename_constraint(names, &out->generation);
    return NB_OK;
}

int nb_convert_str(const json_t *object, const char *at, const char *key, bool required, nb_str *out,
                   nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    const json_t *value = json_object_get(object, key);
    snprintf(path, sizeof(path), "%s.%s", at, key);
    if (!nb_field_given(object, key)) {
        if (!required) return NB_OK;
        return nb_request_refuse(error, 400, path, NULL, "%s is missing", path);
    }
    if (!json_is_string(value) || nb_json_big_integer(value).ptr)
        return nb_request_refuse(error, 400, path, NULL, "%s must be a string, not %s", path, nb_field_type(value));
    *out = nb_field_text(value);
    return NB_OK;
}

// ---- Content

static json_t *text_part(nb_str text)
{
    json_t *part = json_object();
    json_object_set_new(part, "type", json_string("text"));
    json_object_set_new(part, "text", json_stringn(text.ptr, text.len));
    return part;
}

static int add_part(const json_t *part, const char *at, const char *const *types, json_t *out, nb_request_error *error)
{
    nb_str type = {0}, text = {0};
    if (!json_is_object(part))
        return nb_request_refuse(error, 400, at, NULL, "%s must be an object, not %s", at, nb_field_type(part));
    NB_TRY(nb_convert_str(part, at, "type", true, &type, error));
    while (*types && !nb_str_equal_c(type, *types)) types++;
    if (!*types)
        return nb_request_refuse(error, 400, at, "unsupported_content",
                                 "%s has the type \"%.40s\"; this server reads text only", at, type.ptr);
    NB_TRY(nb_convert_str(part, at, nb_str_equal_c(type, "refusal") ? "refusal" : "text", true, &text, error));
    json_array_append_new(out, text_part(text));
    return NB_OK;
}

int nb_convert_content(const json_t *content, const char *at, const char *const *types, json_t **out,
                       nb_request_error *error)
{
    char path[NB_CONVERT_PATH_BYTES];
    const json_t *part;
    size_t i;
    int code = NB_OK;
    *out = NULL;
    if (!content || json_is_null(content)) return NB_OK;
    if (json_is_string(content) && !nb_json_big_integer(content).ptr) {
        *out = json_deep_copy(content);
        return NB_OK;
    }
    if (!json_is_array(content))
        return nb_request_refuse(error, 400, at, NULL, "%s must be a string or an array of parts, not %s", at,
                                 nb_field_type(content));
    *out = json_array();
    json_array_foreach(content, i, part)
    {
        snprintf(path, sizeof(path), "%s[%zu]", at, i);
        code = add_part(part, path, types, *out, error);
        if (code != NB_OK) break;
    }
    if (code == NB_OK) return NB_OK;
    json_decref(*out);
    *out = NULL;
    return code;
}

nb_buf nb_convert_text(const json_t *content)
{
    nb_buf text = {0};
    const json_t *part;
    size_t i;
    if (json_is_string(content)) nb_buf_add_str(&text, nb_field_text(content));
    json_array_foreach(content, i, part)
    {
        if (i) nb_buf_add_c(&text, "\n\n");
        nb_buf_add_str(&text, nb_field_text(json_object_get(part, "text")));
    }
    return text;
}

int nb_convert_check_tools(const json_t *tools, const json_t *converted, const char *taken, nb_request_error *error)
{
    if (json_array_size(tools) == 0 || json_array_size(converted) > 0) return NB_OK;
    nb_str type = nb_field_text(json_object_get(json_array_get(tools, 0), "type"));
    return nb_request_refuse(error, 400, "tools", "unsupported_tool",
                             "tools[0] has the type \"%.40s\"; this server runs no tools itself and takes \"%s\" only",
                             type.ptr, taken);
}

// ---- Messages

nb_conversation nb_conversation_begin(json_t *chat_body)
{
    nb_conversation c = {.messages = json_array()};
    json_object_set_new(chat_body, "messages", c.messages);
    return c;
}

// A text that comes in thousands of pieces is not copied for each of them.
void nb_conversation_end(nb_conversation *c)
{
    if (!c->grown) return;
    json_object_set_new(c->grown, c->key, json_stringn(c->text.ptr ? c->text.ptr : "", c->text.len));
    nb_buf_drop(&c->text);
    c->text = (nb_buf){0};
    c->grown = NULL;
}

static void append_text(nb_conversation *c, json_t *message, const char *key, const char *between, nb_str text)
{
    if (c->grown == message)
        nb_buf_add_c(&c->text, between);
    else
        nb_conversation_end(c);
    c->grown = message;
    c->key = key;
    nb_buf_add_str(&c->text, text);
}

static json_t *add_message(nb_conversation *c, const char *role)
{
    nb_conversation_end(c);
    json_t *message = json_object();
    json_object_set_new(message, "role", json_string(role));
    json_array_append_new(c->messages, message);
    return message;
}

// The last message, if it has this role and none of these members (NULL: any may be there); else a new one.
static json_t *grow_message(nb_conversation *c, const char *role, const char *without, const char *nor)
{
    size_t n = json_array_size(c->messages);
    json_t *last = n ? json_array_get(c->messages, n - 1) : NULL;
    bool fits = last && !strcmp(json_string_value(json_object_get(last, "role")), role) &&
                !json_object_get(last, without) && !json_object_get(last, nor);
    return fits ? last : add_message(c, role);
}

void nb_conversation_system(nb_conversation *c, nb_str text)
{
    bool at_front = json_array_size(c->messages) <= 1;
    json_t *message = at_front ? grow_message(c, "system", NULL, NULL) : add_message(c, "system");
    append_text(c, message, "content", "\n\n", text);
}

void nb_conversation_message(nb_conversation *c, const char *role, json_t *content)
{
    json_object_set_new(add_message(c, role), "content", content ? content : json_string(""));
}

void nb_conversation_text(nb_conversation *c, const char *role, json_t *content)
{
    json_t *message = grow_message(c, role, "tool_calls", NULL);
    json_t *parts = json_object_get(message, "content");
    if (!parts) json_object_set_new(message, "content", parts = json_array());
    if (json_is_string(content))
        json_array_append_new(parts, text_part(nb_field_text(content)));
    else if (content)
        json_array_extend(parts, content);
    json_decref(content);
}

void nb_conversation_reasoning(nb_conversation *c, nb_str text)
{
    append_text(c, grow_message(c, "assistant", "content", "tool_calls"), "reasoning_content", "", text);
}

void nb_conversation_call(nb_conversation *c, nb_str id, nb_str name, json_t *arguments)
{
    json_t *message = grow_message(c, "assistant", NULL, NULL), *calls = json_object_get(message, "tool_calls");
    if (!calls) json_object_set_new(message, "tool_calls", calls = json_array());
    json_t *function = json_object(), *call = json_object();
    json_object_set_new(function, "name", json_stringn(name.ptr, name.len));
    json_object_set_new(function, "arguments", arguments);
    json_object_set_new(call, "id", json_stringn(id.ptr, id.len));
    json_object_set_new(call, "type", json_string("function"));
    json_object_set_new(call, "function", function);
    json_array_append_new(calls, call);
}

void nb_conversation_result(nb_conversation *c, nb_str call_id, json_t *content)
{
    json_t *message = add_message(c, "tool");
    json_object_set_new(message, "tool_call_id", json_stringn(call_id.ptr, call_id.len));
    json_object_set_new(message, "content", content ? content : json_string(""));
}
