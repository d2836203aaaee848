// Tool calls as a grammar, in the form that a tool-call parser of text/output_parser.h reads, with arguments that
// satisfy the tool's schema.
#ifndef NB_GRAMMAR_TOOLS_H
#define NB_GRAMMAR_TOOLS_H

#include "constrain/grammar_json.h"
#include "text/output_parser.h"

typedef struct nb_tool_rules {
    nb_tool_format format;
    nb_str name;    // only this function; empty: any of them
    bool several;   // more than one call
    bool free_text; // text may stand before, between and behind the calls, and there may be none. Only functions that
                    // are "strict" have their arguments constrained then
} nb_tool_rules;

// `tools` is the request's array: {"type": "function", "function": {...}}.
int nb_grammar_tools(nb_grammar_json *json, const json_t *tools, const nb_tool_rules *rules, nb_expr *out,
                     nb_error *err);

#endif
