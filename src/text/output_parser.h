// What the model wrote, split into reasoning, content and tool calls: an incremental state machine over text that
// arrives in any pieces. The events of a text do not depend on how it was cut.
//
// Reasoning parser "qwen3": text up to </think> is reasoning (the prompt may already have opened it).
// Tool parsers: "qwen3_xml" / "qwen3_coder":
// <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>; "hermes": <tool_call>{"name": ...,
// "arguments": {...}}</tool_call>. Argument types follow the tool's JSON schema.
#ifndef NB_OUTPUT_PARSER_H
#define NB_OUTPUT_PARSER_H

#include "base/json.h"

typedef enum nb_reasoning_format { NB_REASONING_NONE, NB_REASONING_QWEN3 } nb_reasoning_format;
typedef enum nb_tool_format { NB_TOOL_NONE, NB_TOOL_QWEN3_XML, NB_TOOL_HERMES } nb_tool_format;

typedef enum nb_part_kind {
    NB_PART_REASONING,
    NB_PART_CONTENT,
    NB_PART_TOOL_BEGIN,     // text = the function's name; a new call with the next index begins
    NB_PART_TOOL_ARGUMENTS, // text = the next piece of the arguments' JSON text
    NB_PART_TOOL_END,       // the arguments are complete and valid JSON
} nb_part_kind;

typedef struct nb_part {
    nb_part_kind kind;
    int tool_index; // for the NB_PART_TOOL_* kinds, from 0
    nb_str text;
} nb_part;
typedef void (*nb_part_fn)(void *user, const nb_part *part);

typedef struct nb_output_parser nb_output_parser;
typedef struct nb_output_parser_options {
    nb_reasoning_format reasoning;
    bool starts_in_reasoning; // the prompt ended inside <think>
    nb_tool_format tool;
    const json_t *tools; // the request's tools (borrowed; must outlive the parser), or NULL: then types are guessed
} nb_output_parser_options;

nb_output_parser *nb_output_parser_open(const nb_output_parser_options *options);
void nb_output_parser_close(nb_output_parser *parser);
void nb_output_parser_feed(nb_output_parser *parser, nb_str text, nb_part_fn fn, void *user);
// The text is over: gives what was held back; a tool call that never closed is closed if it can be, else it is content.
void nb_output_parser_end(nb_output_parser *parser, nb_part_fn fn, void *user);

// "qwen3", "qwen3_xml", "qwen3_coder", "hermes", ...: 0 and the format, or NB_ERR_INPUT with the known names.
int nb_reasoning_format_parse(const char *name, nb_reasoning_format *out, nb_error *err);
int nb_tool_format_parse(const char *name, nb_tool_format *out, nb_error *err);

#endif
