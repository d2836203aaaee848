// The format "hermes": <tool_call> {"name": NAME, "arguments": {...}} </tool_call>.
// With the name first, arguments are passed on as they come. A call in another order is read when its end tag is there.
// Once a name was given out, a call that breaks off or goes wrong is closed where it was still right.
#include "text/output_parser_internal.h"

#include <string.h>

static const char call_begin[] = "<tool_call>", call_end[] = "</tool_call>";

static nb_str rest_of(nb_str text, size_t at)
{
    return nb_str_slice(text, at, text.len);
}

static void flush_arguments(nb_output_parser *p)
{
    nb_parser_arguments(p, nb_buf_str(&p->out));
    nb_buf_clear(&p->out);
}

// ---- Opening

// Follows `pattern` at text[*at]: a blank in it stands for any white space.
static nb_match match_pattern(nb_str text, size_t *at, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == ' ') {
            *at = nb_parser_skip_space(text, *at);
            continue;
        }
        if (*at == text.len) return NB_MATCH_PART;
        if (text.ptr[*at] != *pattern) return NB_MATCH_NO;
        ++*at;
    }
    return NB_MATCH_YES;
}

// A JSON string at text[*at], without escapes: names have none.
static nb_match match_string(nb_str text, size_t *at, nb_str *out)
{
    size_t from = *at + 1;
    if (*at == text.len) return NB_MATCH_PART;
    if (text.ptr[*at] != '"') return NB_MATCH_NO;
    for (size_t i = from; i < text.len; i++) {
        if (text.ptr[i] == '"') {
            *out = nb_str_slice(text, from, i);
            *at = i + 1;
            return out->len ? NB_MATCH_YES : NB_MATCH_NO;
        }
        if (text.ptr[i] == '\\' || (unsigned char)text.ptr[i] < 0x20 || i - from >= NB_TOOL_NAME_MAX)
            return NB_MATCH_NO;
    }
    return NB_MATCH_PART;
}

// The arguments of a call that was read whole; they may also be JSON text in a string.
static void add_arguments(const json_t *arguments, nb_buf *out)
{
    json_t *parsed = NULL;
    nb_error err;
    nb_str text = {json_string_value(arguments), json_string_length(arguments)};
    if (json_is_string(arguments) && nb_json_parse(text, "", &parsed, &err) == NB_OK) arguments = parsed;
    if (json_is_object(arguments))
        nb_json_write(arguments, out);
    else
        nb_buf_add_c(out, "{}");
    json_decref(parsed);
}

static const json_t *arguments_of(const json_t *call)
{
    const json_t *arguments = json_object_get(call, "arguments");
    return arguments ? arguments : json_object_get(call, "parameters");
}

// Gives out the call whose JSON is `text`; false when it is none.
static bool give_whole(nb_output_parser *p, nb_str text)
{
    json_t *call = NULL;
    nb_error err;
    if (nb_json_parse(text, "", &call, &err) != NB_OK) return false;
    const json_t *name = json_object_get(call, "name");
    bool ok = json_is_string(name) && json_string_length(name) > 0;
    if (ok) {
        nb_parser_begin_call(p, (nb_str){json_string_value(name), json_string_length(name)});
        add_arguments(arguments_of(call), &p->out);
        flush_arguments(p);
        nb_parser_end_call(p);
    }
    json_decref(call);
    return ok;
}

// A call whose object does not begin with its name: up to an end tag (which its strings may hold, too) with which the
// text before is a call.
static bool open_whole(nb_output_parser *p, size_t begin, bool at_end)
{
    nb_str text = nb_parser_pending(p);
    size_t body = nb_parser_skip_space(text, 0) + strlen(call_begin);
    for (int64_t end = (int64_t)begin; (end = nb_str_find(text, nb_str_from(call_end), (size_t)end)) >= 0; end++)
        if (give_whole(p, nb_str_slice(text, begin, (size_t)end))) {
            nb_parser_consume(p, (size_t)end);
            return true;
        }
    if (!at_end) return false;
    if (!give_whole(p, rest_of(text, begin))) return nb_parser_not_a_call(p, body);
    nb_parser_consume(p, text.len);
    return true;
}

bool nb_tool_call_hermes_open(nb_output_parser *p, bool at_end)
{
    nb_str text = nb_parser_pending(p), name = {0};
    size_t body = nb_parser_skip_space(text, 0) + strlen(call_begin), begin = nb_parser_skip_space(text, body),
           at = begin;
    if (begin == text.len && !at_end) return false;
    if (begin == text.len || text.ptr[begin] != '{') return nb_parser_not_a_call(p, body);
    nb_match match = match_pattern(text, &at, "{ \"name\" : ");
    if (match == NB_MATCH_YES) match = match_string(text, &at, &name);
    if (match == NB_MATCH_PART && !at_end) return false;
    if (match != NB_MATCH_YES) return open_whole(p, begin, at_end);
    nb_parser_begin_call(p, name);
    nb_parser_consume(p, at);
    p->has_arguments = false;
    p->state = NB_PS_HERMES_KEY;
    return true;
}

// ---- Behind the name

static void finish(nb_output_parser *p)
{
    if (!p->has_arguments) nb_parser_arguments(p, NB_STR("{}"));
    nb_parser_end_call(p);
}

static bool lose(nb_output_parser *p)
{
    finish(p);
    p->state = NB_PS_HERMES_LOST;
    return true;
}

// `, "key" :` before a value, or the object's end.
static bool step_key(nb_output_parser *p, bool at_end)
{
    nb_str text = nb_parser_pending(p), key = {0};
    size_t at = 0;
    if (match_pattern(text, &at, " }") == NB_MATCH_YES) {
        nb_parser_consume(p, at);
        finish(p);
        return true;
    }
    at = 0;
    nb_match match = match_pattern(text, &at, " , ");
    if (match == NB_MATCH_YES) match = match_string(text, &at, &key);
    if (match == NB_MATCH_YES) match = match_pattern(text, &at, " : ");
    if (match == NB_MATCH_YES && at == text.len) match = NB_MATCH_PART; // the value's first character decides
    if (match == NB_MATCH_PART && !at_end) return false;
    if (match != NB_MATCH_YES) return lose(p);
    bool arguments = !p->has_arguments && (nb_str_equal_c(key, "arguments") || nb_str_equal_c(key, "parameters"));
    char first = text.ptr[at];
    nb_json_stream_open(&p->json);
    nb_buf_clear(&p->value);
    p->state = !arguments     ? NB_PS_HERMES_VALUE
               : first == '{' ? NB_PS_HERMES_ARGUMENTS
               : first == '"' ? NB_PS_HERMES_STRING
                              : NB_PS_HERMES_VALUE;
    nb_parser_consume(p, at);
    return true;
}

// Feeds pending text to the JSON stream; `out` gets the value.
static nb_json_verdict feed(nb_output_parser *p, nb_buf *out)
{
    nb_str text = nb_parser_pending(p);
    nb_json_verdict verdict = NB_JSON_MORE;
    size_t n = 0;
    while (n < text.len && verdict == NB_JSON_MORE) {
        verdict = nb_json_stream_feed(&p->json, text.ptr[n], out);
        n += verdict == NB_JSON_MORE || verdict == NB_JSON_LAST;
    }
    nb_parser_consume(p, n);
    return verdict;
}

static bool step_arguments(nb_output_parser *p, bool at_end)
{
    size_t before = p->at;
    nb_json_verdict verdict = feed(p, &p->out);
    bool broken = verdict == NB_JSON_INVALID || (verdict == NB_JSON_MORE && at_end);
    if (broken) nb_json_stream_close(&p->json, &p->out);
    flush_arguments(p);
    if (broken || verdict == NB_JSON_LAST) p->has_arguments = true;
    if (broken) return lose(p);
    if (verdict == NB_JSON_LAST) p->state = NB_PS_HERMES_KEY;
    return p->at > before;
}

// Arguments as JSON text inside a string, or the value of a key that means nothing here.
static bool step_value(nb_output_parser *p, bool at_end)
{
    size_t before = p->at;
    nb_json_verdict verdict = feed(p, &p->value);
    if (verdict == NB_JSON_INVALID || (verdict == NB_JSON_MORE && at_end)) return lose(p);
    if (verdict == NB_JSON_MORE) return p->at > before;
    if (p->state == NB_PS_HERMES_STRING) {
        json_t *string = NULL;
        nb_error err;
        if (nb_json_parse(nb_buf_str(&p->value), "", &string, &err) == NB_OK) add_arguments(string, &p->out);
        json_decref(string);
        p->has_arguments = p->out.len > 0;
        flush_arguments(p);
    }
    p->state = NB_PS_HERMES_KEY;
    return true;
}

static bool step_lost(nb_output_parser *p, bool at_end)
{
    static const char *const tags[] = {call_end, NULL};
    nb_str text = nb_parser_pending(p);
    int64_t end = nb_str_find(text, nb_str_from(call_end), 0);
    size_t n = end >= 0 ? (size_t)end : at_end ? text.len : text.len - nb_parser_partial_tag(text, tags);
    nb_parser_consume(p, n);
    if (end >= 0 || at_end) p->state = NB_PS_CALL_END;
    return n > 0 || end >= 0 || at_end;
}

bool nb_tool_call_hermes_step(nb_output_parser *p, bool at_end)
{
    switch (p->state) {
    case NB_PS_HERMES_KEY: return step_key(p, at_end);
    case NB_PS_HERMES_ARGUMENTS: return step_arguments(p, at_end);
    case NB_PS_HERMES_LOST: return step_lost(p, at_end);
    default: return step_value(p, at_end);
    }
}
