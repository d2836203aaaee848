// OpenAI messages as templates want them. Used by chat.c.
#ifndef NB_CHAT_MESSAGES_H
#define NB_CHAT_MESSAGES_H

#include "base/json.h"

// A copy of `messages` (an array of objects, each with a "role") in which the arguments of tool calls are objects
// instead of JSON text, and, with `join_parts`, a content that is a list of text parts is one string. Errors name the
// field: "messages[2].tool_calls[0].function.arguments ...".
int nb_chat_messages_prepare(const json_t *messages, bool join_parts, json_t **out, nb_error *err);

// The text of the last message's content; empty when it has none.
nb_str nb_chat_messages_last_text(const json_t *messages);

#endif
