// The tools of /v1/responses as a chat's functions. A function of a namespace is offered to the model under the joined
// name, and its calls are taken apart again. What the client does not run itself as a function is not offered.
#ifndef NB_RESPONSES_TOOLS_H
#define NB_RESPONSES_TOOLS_H

#include "serve/request_field.h"

// Sets the chat body's tools and tool_choice.
int nb_responses_convert_tools(const json_t *body, json_t *chat, nb_request_error *error);

// "NAMESPACE__NAME", or the name alone. The caller drops it.
nb_buf nb_responses_tool_name(nb_str space, nb_str name);
// The other way, by the request's namespaces: *space is empty for a name that is in none.
void nb_responses_split_name(const json_t *body, nb_str full, nb_str *space, nb_str *name);

#endif
