// A checkpoint's chat template with its special tokens: messages in, prompt text out.
#ifndef NB_CHAT_H
#define NB_CHAT_H

#include "text/jinja.h"

typedef struct nb_chat nb_chat;

// From a folder: chat_template.jinja, else the "chat_template" of tokenizer_config.json (a string, or a list of named
// ones: "default", and "tool_use" for requests with tools), and bos_token, eos_token and so on from
// tokenizer_config.json. `template_path` overrides the template (NULL: the folder's). Without a folder (NULL) there are
// no special tokens. A folder without a template gives NB_ERR_INPUT.
int nb_chat_open(const char *folder, const char *template_path, nb_chat **out, nb_error *err);
void nb_chat_close(nb_chat *chat);

typedef struct nb_chat_input {
    const json_t *messages;  // array of OpenAI messages. tool_calls' arguments that are JSON text are parsed first
    const json_t *tools;     // array, or NULL
    const json_t *variables; // object of further template variables (enable_thinking, ...), or NULL
    bool add_generation_prompt;
    bool continue_final_message; // leave the last message open, so that the model goes on with it
} nb_chat_input;

// Appends the prompt to `out`. Any number of threads at once. What is wrong with the messages, or what the template
// raises, is NB_ERR_INPUT. Text parts of a content are joined by newlines for templates that know only strings.
int nb_chat_render(const nb_chat *chat, const nb_chat_input *input, nb_buf *out, nb_error *err);

#endif
