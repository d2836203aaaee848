// The format "qwen3_xml", also called "qwen3_coder":
//   <tool_call> <function=NAME> <parameter=KEY> newline VALUE newline </parameter> ... </function> </tool_call>
// A value is raw text and may hold tags itself. It ends at a </parameter> that is followed by another parameter or the
// end of the function. Forgiven: a missing <tool_call>, and missing end tags of a value, function or call.
#include "text/output_parser_internal.h"

#include <string.h>

static nb_str rest_of(nb_str text, size_t at)
{
    return nb_str_slice(text, at, text.len);
}

// ---- Opening

bool nb_tool_call_xml_open(nb_output_parser *p, bool at_end)
{
    nb_str text = nb_parser_pending(p), name;
    size_t at = nb_parser_skip_space(text, 0), tag = at, end;
    bool wrapped = nb_parser_match(rest_of(text, at), "<tool_call>") == NB_MATCH_YES;
    if (wrapped) at = nb_parser_skip_space(text, at + strlen("<tool_call>"));
    nb_match match = nb_parser_match(rest_of(text, at), "<function=");
    if (match == NB_MATCH_YES) match = nb_parser_match_name(text, at + strlen("<function="), &name, &end);
    if (match == NB_MATCH_PART && !at_end) return false;
    if (match == NB_MATCH_YES && !wrapped && !nb_tool_schema_has(p->options.tools, name)) match = NB_MATCH_NO;
    if (match != NB_MATCH_YES)
        return nb_parser_not_a_call(p, tag + (wrapped ? strlen("<tool_call>") : strlen("<function=")));
    memcpy(p->function, name.ptr, name.len);
    p->function[name.len] = 0;
    json_object_clear(p->given);
    nb_parser_begin_call(p, name);
    nb_parser_consume(p, end);
    p->state = NB_PS_XML_BODY;
    return true;
}

// ---- Values

static bool is_null_prefix(nb_str s)
{
    return s.len <= 4 && !memcmp("null", s.ptr ? s.ptr : "", s.len);
}

static void flush_arguments(nb_output_parser *p)
{
    nb_parser_arguments(p, nb_buf_str(&p->out));
    nb_buf_clear(&p->out);
}

// A piece of the value at work.
static void take(nb_output_parser *p, nb_str text)
{
    if (text.len) p->value_begun = true;
    if (p->mode == NB_VALUE_DROPPED) return;
    if (p->mode != NB_VALUE_TEXT) nb_buf_add_str(&p->value, text);
    if (p->mode == NB_VALUE_MAYBE_NULL && !is_null_prefix(nb_buf_str(&p->value))) {
        p->mode = NB_VALUE_TEXT;
        nb_buf_add_char(&p->out, '"');
        text = nb_buf_str(&p->value);
    }
    if (p->mode != NB_VALUE_TEXT) return;
    nb_tool_schema_escape(text, &p->out);
    flush_arguments(p);
}

static nb_value_mode mode_of(unsigned types)
{
    if (types == NB_TYPE_STRING) return NB_VALUE_TEXT;
    if (!(types & NB_TYPE_STRING)) return NB_VALUE_WHOLE;
    return types & NB_TYPE_NULL ? NB_VALUE_MAYBE_NULL : NB_VALUE_TEXT;
}

static void begin_value(nb_output_parser *p, nb_str key)
{
    bool again = json_object_getn(p->given, key.ptr, key.len) != NULL;
    nb_tool_schema_parameter(p->options.tools, nb_str_from(p->function), key, &p->value_types);
    p->mode = again ? NB_VALUE_DROPPED : mode_of(p->value_types);
    p->value_begun = false;
    p->skip_newlines = true; // one, in fact: see step_value
    nb_buf_clear(&p->value);
    p->state = NB_PS_XML_VALUE;
    if (again) return;
    nb_buf_add_c(&p->out, json_object_size(p->given) ? ", \"" : "{\"");
    json_object_setn_new_nocheck(p->given, key.ptr, key.len, json_true());
    nb_tool_schema_escape(key, &p->out);
    nb_buf_add_c(&p->out, p->mode == NB_VALUE_TEXT ? "\": \"" : "\": ");
    flush_arguments(p);
}

static void end_value(nb_output_parser *p)
{
    if (p->mode == NB_VALUE_TEXT) nb_buf_add_char(&p->out, '"');
    if (p->mode == NB_VALUE_WHOLE || p->mode == NB_VALUE_MAYBE_NULL)
        nb_tool_schema_convert(nb_buf_str(&p->value), p->value_types, &p->out);
    flush_arguments(p);
    p->state = NB_PS_XML_BODY;
}

// A tag that may end a value, at text[at].
typedef struct value_end {
    nb_match match;
    size_t next; // where the body goes on
} value_end;

static nb_match any_of(nb_str text, const char *const *tags)
{
    nb_match best = NB_MATCH_NO;
    for (; *tags; tags++) {
        nb_match match = nb_parser_match(text, *tags);
        if (match == NB_MATCH_YES) return match;
        if (match == NB_MATCH_PART) best = match;
    }
    return best;
}

// An end tag counts when one of `followers`, or the end of all text, comes behind it.
static value_end match_end(nb_str text, size_t at, const char *tag, const char *const *followers, bool at_end)
{
    nb_match match = nb_parser_match(rest_of(text, at), tag);
    if (match != NB_MATCH_YES) return (value_end){match, at};
    size_t behind = nb_parser_skip_space(text, at + strlen(tag));
    match = any_of(rest_of(text, behind), followers);
    if (at_end && behind == text.len) match = NB_MATCH_YES;
    return (value_end){match, at + strlen(tag)};
}

// A value that was never closed ends where a line begins with a parameter that the schema knows and that is still to
// come.
static value_end match_next_parameter(nb_output_parser *p, nb_str text, size_t at)
{
    nb_str key;
    size_t end;
    unsigned types;
    bool line_begins = at > 0 ? text.ptr[at - 1] == '\n' : !p->value_begun;
    nb_match match = line_begins ? nb_parser_match(rest_of(text, at), "<parameter=") : NB_MATCH_NO;
    if (match == NB_MATCH_YES) match = nb_parser_match_name(text, at + strlen("<parameter="), &key, &end);
    if (match == NB_MATCH_YES && (json_object_getn(p->given, key.ptr, key.len) ||
                                  !nb_tool_schema_parameter(p->options.tools, nb_str_from(p->function), key, &types)))
        match = NB_MATCH_NO;
    return (value_end){match, at};
}

static value_end match_value_end(nb_output_parser *p, nb_str text, size_t at, bool at_end)
{
    static const char *const behind_value[] = {"<parameter=", "</function>", "</tool_call>", NULL};
    static const char *const behind_function[] = {"</tool_call>", NULL}, *const behind_call[] = {"<tool_call>", NULL};
    const value_end found[] = {
        match_end(text, at, "</parameter>", behind_value, at_end),
        match_end(text, at, "</function>", behind_function, at_end),
        match_end(text, at, "</tool_call>", behind_call, at_end),
        match_next_parameter(p, text, at),
    };
    value_end best = {NB_MATCH_NO, at};
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
        if (found[i].match == NB_MATCH_YES) return (value_end){NB_MATCH_YES, i == 0 ? found[i].next : at};
        if (found[i].match == NB_MATCH_PART) best = found[i];
    }
    return best;
}

// Up to the next tag that may end the value. One newline before the tag, and one behind the opening tag, are not part
// of it.
static bool step_value(nb_output_parser *p, bool at_end)
{
    nb_str text = nb_parser_pending(p);
    if (text.len == 0 && !at_end) return false;
    if (p->skip_newlines) {
        p->skip_newlines = false;
        nb_parser_consume(p, text.len && text.ptr[0] == '\n');
        return true;
    }
    const char *tag = text.len ? memchr(text.ptr, '<', text.len) : NULL;
    size_t n = tag ? (size_t)(tag - text.ptr) : text.len, bare = n > 0 && text.ptr[n - 1] == '\n' ? n - 1 : n;
    value_end end = tag ? match_value_end(p, text, n, at_end) : (value_end){at_end ? NB_MATCH_YES : NB_MATCH_PART, n};
    if (end.match == NB_MATCH_NO || (at_end && end.match == NB_MATCH_PART)) { // an ordinary '<'
        take(p, nb_str_slice(text, 0, n + 1));
        nb_parser_consume(p, n + 1);
        return true;
    }
    take(p, nb_str_slice(text, 0, bare));
    nb_parser_consume(p, end.match == NB_MATCH_YES ? end.next : bare);
    if (end.match == NB_MATCH_YES) end_value(p);
    return end.match == NB_MATCH_YES || bare > 0;
}

// ---- Between values

static void finish(nb_output_parser *p)
{
    nb_buf_add_c(&p->out, json_object_size(p->given) ? "}" : "{}");
    flush_arguments(p);
    nb_parser_end_call(p);
}

static bool step_body(nb_output_parser *p, bool at_end)
{
    static const char *const tags[] = {"<parameter=", "</function>", "</tool_call>", NULL};
    nb_str text = nb_parser_pending(p), key;
    size_t space = nb_parser_skip_space(text, 0), end;
    nb_parser_consume(p, space);
    text = rest_of(text, space);
    if (text.len == 0) {
        if (at_end) finish(p);
        return at_end || space > 0;
    }
    nb_match match = any_of(text, tags);
    if (match == NB_MATCH_YES && text.ptr[1] == 'p') {
        match = nb_parser_match_name(text, strlen(tags[0]), &key, &end);
        if (match == NB_MATCH_YES) {
            begin_value(p, key);
            nb_parser_consume(p, end);
            return true;
        }
    } else if (match == NB_MATCH_YES) {
        if (text.ptr[2] == 'f') nb_parser_consume(p, strlen("</function>"));
        finish(p);
        return true;
    }
    if (match == NB_MATCH_PART && !at_end) return false;
    nb_parser_consume(p, 1); // nothing else has a meaning here
    return true;
}

bool nb_tool_call_xml_step(nb_output_parser *p, bool at_end)
{
    return p->state == NB_PS_XML_VALUE ? step_value(p, at_end) : step_body(p, at_end);
}
