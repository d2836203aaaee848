// A checkpoint's chat template with its special tokens: messages in, prompt text out.
#ifndef NB_CHAT_H
#define NB_CHAT_H

#include "text/jinja.h"

typedef struct nb_chat nb_chat;

// From a folder: chat_template.jinja, else the "chat_template" of tokenizer_config.json (a string, or a list of named
// ones of which "default" is taken), and bos_token, eos_token and so on from tokenizer_config.json. `template_path`
// overrides the template (NULL: the folder's). A folder without a template gives NB_ERR_INPUT.
int nb_chat_open(const char *folder, const char *template_path, nb_chat **out, nb_error *err);
void nb_chat_close(nb_chat *chat);

typedef struct nb_chat_input {
    const json_t *messages;     // array of OpenAI messages. tool_calls' arguments that are JSON text are parsed first
    const json_t *tools;        // array, or NULL
    const json_t *variables;    // object of further template variables (enable_thinking, ...), or NULL
    bool add_generation_prompt;
    bool continue_final_message; // leave the last assistant message open
} nb_chat_input;
int nb_chat_render(const nb_chat *chat, const nb_chat_input *input, nb_buf *out, nb_error *err);

#endif
