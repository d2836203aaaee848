// What the output parser's files share. Text waits in `pending`; the parser's state says which function looks at its
// beginning. Such a step either consumes something, or says that more text is needed to decide. A step decides only
// what no later text could change: that is why the events do not depend on how the text was cut.
#ifndef NB_OUTPUT_PARSER_INTERNAL_H
#define NB_OUTPUT_PARSER_INTERNAL_H

#include "text/json_stream.h"
#include "text/output_parser.h"
#include "text/tool_schema.h"

enum { NB_TOOL_NAME_MAX = 256 }; // bytes of a function's or parameter's name; longer ones are not calls

typedef enum nb_parser_state {
    NB_PS_START, // the text may begin with <think>
    NB_PS_REASONING,
    NB_PS_CONTENT,
    NB_PS_CALL,         // at white space and <tool_call>: a call, or text that looks like one
    NB_PS_XML_BODY,     // inside <function=...>, between parameters
    NB_PS_XML_VALUE,    // inside <parameter=...>
    NB_PS_HERMES_KEY,   // inside the call's object, behind a value
    NB_PS_HERMES_VALUE, // the value of another key than the arguments
    NB_PS_HERMES_ARGUMENTS,
    NB_PS_HERMES_STRING, // arguments that are JSON text inside a string
    NB_PS_HERMES_LOST,   // the call is broken: everything up to its end tag is dropped
    NB_PS_CALL_END,      // behind a complete call: </tool_call> should follow
} nb_parser_state;

// How the value of an XML parameter leaves the parser.
typedef enum nb_value_mode {
    NB_VALUE_TEXT,       // a string: at once
    NB_VALUE_MAYBE_NULL, // a string, or null: when it can no longer be "null"
    NB_VALUE_WHOLE,      // at its end, when its type can be known
    NB_VALUE_DROPPED,    // the parameter was given before
} nb_value_mode;

struct nb_output_parser {
    nb_output_parser_options options;
    nb_part_fn fn;
    void *user;
    nb_parser_state state;
    nb_buf pending; // text not consumed yet, from `at` on
    size_t at;
    bool skip_newlines; // right behind a think tag
    bool skip_space;    // right behind a tool call
    int tool_index;     // of the call at work; the next one's while there is none
    // XML
    char function[NB_TOOL_NAME_MAX + 1];
    json_t *given;        // object: the parameters seen in this call
    unsigned value_types; // NB_TYPE_*
    nb_value_mode mode;
    bool value_begun; // something of the value was taken
    nb_buf value;     // collected when it must be seen whole
    // Hermes
    nb_json_stream json;
    bool has_arguments;
    nb_buf out; // events being put together
};

nb_str nb_parser_pending(const nb_output_parser *p);
void nb_parser_consume(nb_output_parser *p, size_t n);
void nb_parser_emit(nb_output_parser *p, nb_part_kind kind, nb_str text);
void nb_parser_begin_call(nb_output_parser *p, nb_str name);
void nb_parser_arguments(nb_output_parser *p, nb_str json_text);
void nb_parser_end_call(nb_output_parser *p); // the arguments are complete; goes to NB_PS_CALL_END

// Whether `text` begins with `tag`: NB_MATCH_PART when it is too short to tell.
typedef enum nb_match { NB_MATCH_NO, NB_MATCH_YES, NB_MATCH_PART } nb_match;
nb_match nb_parser_match(nb_str text, const char *tag);
size_t nb_parser_skip_space(nb_str text, size_t at);
// The name in <tag=NAME> at text[at], behind "<tag=": NB_MATCH_YES with *name and *end behind the '>'.
nb_match nb_parser_match_name(nb_str text, size_t at, nb_str *name, size_t *end);
size_t nb_parser_partial_tag(nb_str text, const char *const *tags); // bytes at the end that could begin one of them

// Steps: true when something was consumed or the state changed. at_end: no more text will come.
bool nb_tool_call_xml_open(nb_output_parser *p, bool at_end); // both of NB_PS_CALL
bool nb_tool_call_hermes_open(nb_output_parser *p, bool at_end);
bool nb_tool_call_xml_step(nb_output_parser *p, bool at_end);
bool nb_tool_call_hermes_step(nb_output_parser *p, bool at_end);
bool nb_parser_not_a_call(nb_output_parser *p, size_t n); // the first n bytes of pending are content after all

#endif
