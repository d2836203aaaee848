// Types of arguments by the JSON schema of a request's tools, and text as a JSON value of such a type.
#ifndef NB_TOOL_SCHEMA_H
#define NB_TOOL_SCHEMA_H

#include "base/json.h"

enum {
    NB_TYPE_STRING = 1,
    NB_TYPE_INTEGER = 2,
    NB_TYPE_NUMBER = 4,
    NB_TYPE_BOOLEAN = 8,
    NB_TYPE_OBJECT = 16,
    NB_TYPE_ARRAY = 32,
    NB_TYPE_NULL = 64,
};

bool nb_tool_schema_has(const json_t *tools, nb_str function);
// Whether the function's schema names this parameter, and the types it may have (0: the schema does not say).
bool nb_tool_schema_parameter(const json_t *tools, nb_str function, nb_str parameter, unsigned *types);

// Appends `text` as a JSON value: of one of the types if it is one, else (or where strings are allowed) as a string.
// With types 0, as the value it looks like.
void nb_tool_schema_convert(nb_str text, unsigned types, nb_buf *out);
void nb_tool_schema_escape(nb_str text, nb_buf *out); // the inside of a JSON string

#endif
