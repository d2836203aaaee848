// Requests of other APIs as chat bodies that mean the same, which request_chat.c then reads: one place knows each
// field. A converter checks the types of what it moves, under the client's names; what all APIs spell alike is copied,
// and what remains is not looked at. Used by request_responses.c and request_messages.c.
#ifndef NB_REQUEST_CONVERT_H
#define NB_REQUEST_CONVERT_H

#include "serve/request.h"

enum { NB_CONVERT_PATH_BYTES = 96 }; // "input[12].content[3]"

// A new chat body with the fields of `body` that mean the same in a chat: the model, sampling, stop tokens, ...
json_t *nb_convert_begin(const json_t *body);

// A field that is moved has two names: `chat` is renamed to `own` where an error names it. {0} ends a list of names.
typedef struct nb_convert_name {
    const char *chat, *own;
} nb_convert_name;
// Reads the converted body. Errors, also those of the constraint that come later, have the client's names.
int nb_convert_end(const json_t *chat_body, const nb_convert_name *names, const nb_request_limits *limits,
                   nb_arena *arena, nb_chat_request *out, nb_request_error *error);

// Members of a nested object: as nb_field_*, with `at` in front of the key. `required`: absence is an error.
int nb_convert_str(const json_t *object, const char *at, const char *key, bool required, nb_str *out,
                   nb_request_error *error);
// A string, or an array of parts of the given types (NULL behind the last), as chat content; *out is NULL for none.
int nb_convert_content(const json_t *content, const char *at, const char *const *types, json_t **out,
                       nb_request_error *error);
// The text of such content, its parts with an empty line between them.
nb_buf nb_convert_text(const json_t *content);

// Tools that only the API's own author can run are left out, because agents offer them beside tools of their own and
// get along without. If nothing else was offered, it is an error that names the type that is `taken`.
int nb_convert_check_tools(const json_t *tools, const json_t *converted, const char *taken, nb_request_error *error);

// ---- The messages in the making. The last one grows while parts of its own role follow: an assistant's takes first
// reasoning, then text, then calls. Systems' messages at the front become one, because templates want one.

typedef struct nb_conversation {
    json_t *messages; // owned by the chat body
    json_t *grown;    // the message whose text is still being put together, or NULL
    const char *key;  // where that text belongs
    nb_buf text;
} nb_conversation;

nb_conversation nb_conversation_begin(json_t *chat_body);
void nb_conversation_end(nb_conversation *c); // always, also after an error
void nb_conversation_system(nb_conversation *c, nb_str text);
// A message of its own, and text that goes on with the last message if that is of this role. They take the content.
void nb_conversation_message(nb_conversation *c, const char *role, json_t *content);
void nb_conversation_text(nb_conversation *c, const char *role, json_t *content);
void nb_conversation_reasoning(nb_conversation *c, nb_str text);
void nb_conversation_call(nb_conversation *c, nb_str id, nb_str name, json_t *arguments); // takes the arguments
void nb_conversation_result(nb_conversation *c, nb_str call_id, json_t *content);         // takes the content

#endif
