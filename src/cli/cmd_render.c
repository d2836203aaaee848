// nibble render: the prompt text that a chat template makes of messages, exactly, for comparing with other engines.
#include <stdio.h>

#include "base/file.h"
#include "cli/commands.h"
#include "text/chat.h"

enum { INPUT_MAX_BYTES = 64 << 20 };

typedef struct render_options {
    const char *messages, *tools, *variables, *chat_template;
    bool generation_prompt, continue_final_message;
} render_options;

static render_options o = {.generation_prompt = true}; // what the command line said

static int read_json(nb_arena *arena, const char *path, json_t **out, nb_error *err)
{
    nb_str text;
    NB_TRY(nb_file_read(path, INPUT_MAX_BYTES, arena, &text, err));
    return nb_json_parse(text, path, out, err);
}

// The messages' file may also be a whole request: an object with "messages" and perhaps "tools".
static int read_input(nb_arena *arena, json_t *owned, nb_chat_input *input, nb_error *err)
{
    json_t *value = NULL;
    NB_TRY(read_json(arena, o.messages, &value, err));
    json_array_append_new(owned, value);
    input->messages = json_is_object(value) ? json_object_get(value, "messages") : value;
    input->tools = json_object_get(value, "tools");
    if (o.tools) {
        NB_TRY(read_json(arena, o.tools, &value, err));
        json_array_append_new(owned, value);
        input->tools = value;
    }
    if (o.variables) {
        NB_TRY(nb_json_parse(nb_str_from(o.variables), "--variables", &value, err));
        json_array_append_new(owned, value);
        input->variables = value;
    }
    return NB_OK;
}

// NAME is a template file, a checkpoint's folder, or ORG/NAME in the hub's cache.
static int open_chat(const char *name, nb_chat **out, nb_error *err)
{
    const char *folder = NULL;
    if (nb_file_exists(name) && !nb_file_is_dir(name)) return nb_chat_open(NULL, name, out, err);
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    return nb_chat_open(folder, o.chat_template, out, err);
}

static int render(const char *name, nb_buf *text, nb_error *err)
{
    nb_chat *chat = NULL;
    json_t *owned = json_array();
    nb_arena *arena = nb_arena_open(0);
    nb_chat_input input = {.add_generation_prompt = o.generation_prompt && !o.continue_final_message,
                           .continue_final_message = o.continue_final_message};
    int code = open_chat(name, &chat, err);
    if (code == NB_OK) code = read_input(arena, owned, &input, err);
    if (code == NB_OK) code = nb_chat_render(chat, &input, text, err);
    nb_chat_close(chat);
    nb_arena_close(arena);
    json_decref(owned);
    return code;
}

static const nb_option options[] = {
    {"messages", 'm', NB_OPTION_STRING, &o.messages, "FILE", "JSON: an array of messages, or a request with them"},
    {"tools", 't', NB_OPTION_STRING, &o.tools, "FILE", "JSON: an array of tools"},
    {"variables", 0, NB_OPTION_STRING, &o.variables, "JSON",
     "object of further variables: {\"enable_thinking\": false}"},
    {"chat-template", 0, NB_OPTION_STRING, &o.chat_template, "FILE", "instead of the checkpoint's template"},
    {"generation-prompt", 0, NB_OPTION_FLAG, &o.generation_prompt, NULL, "end with the beginning of an answer"},
    {"continue-final-message", 0, NB_OPTION_FLAG, &o.continue_final_message, NULL, "leave the last message open"},
    {0},
};

const nb_command nb_command_render = {
    .name = "render",
    .arguments = "CKPT|TEMPLATE",
    .summary = "Show the prompt text that a chat template makes of messages",
    .example = "nibble render models/demo --messages messages.json\n"
               "nibble render chat_template.jinja -m messages.json --variables '{\"enable_thinking\": false}'",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 1,
};

int nb_cmd_render(int argc, char **argv)
{
    const char *name = NULL;
    int n_argument = 0;
    nb_error err = {0};
    nb_buf text = {0};
    int code = nb_command_parse(&nb_command_render, argc, argv, &name, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    if (code == NB_OK && !o.messages) code = nb_error_set(&err, NB_ERR_USAGE, "render needs --messages FILE");
    if (code == NB_OK) code = render(name, &text, &err);
    if (code == NB_OK) fwrite(text.ptr ? text.ptr : "", 1, text.len, stdout);
    nb_buf_drop(&text);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
