// Reasoning and content; tool calls are in tool_call_xml.c and tool_call_hermes.c. White space between the parts
// belongs to the format, not to the text: newlines beside think tags, and any white space beside a tool call, are
// dropped.
#include "text/output_parser_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

nb_output_parser *nb_output_parser_open(const nb_output_parser_options *options)
{
    nb_output_parser *p = nb_alloc(sizeof(*p));
    p->options = *options;
    p->given = json_object();
    if (options->reasoning == NB_REASONING_NONE)
        p->state = NB_PS_CONTENT;
    else
        p->state = options->starts_in_reasoning ? NB_PS_REASONING : NB_PS_START;
    p->skip_newlines = p->state == NB_PS_REASONING;
    return p;
}

void nb_output_parser_close(nb_output_parser *p)
{
    if (!p) return;
    json_decref(p->given);
    nb_buf_drop(&p->pending);
    nb_buf_drop(&p->value);
    nb_buf_drop(&p->out);
    nb_json_stream_drop(&p->json);
    free(p);
}

// ---- For all steps

nb_str nb_parser_pending(const nb_output_parser *p)
{
    return nb_str_slice(nb_buf_str(&p->pending), p->at, p->pending.len);
}

void nb_parser_consume(nb_output_parser *p, size_t n)
{
    p->at += n;
}

void nb_parser_emit(nb_output_parser *p, nb_part_kind kind, nb_str text)
{
    if (text.len == 0 && kind != NB_PART_TOOL_END && kind != NB_PART_TOOL_BEGIN) return;
    p->fn(p->user, &(nb_part){.kind = kind, .tool_index = p->tool_index, .text = text});
}

void nb_parser_begin_call(nb_output_parser *p, nb_str name)
{
    nb_parser_emit(p, NB_PART_TOOL_BEGIN, name);
}

void nb_parser_arguments(nb_output_parser *p, nb_str json_text)
{
    nb_parser_emit(p, NB_PART_TOOL_ARGUMENTS, json_text);
}

void nb_parser_end_call(nb_output_parser *p)
{
    nb_parser_emit(p, NB_PART_TOOL_END, (nb_str){0});
    p->tool_index++;
    p->state = NB_PS_CALL_END;
}

nb_match nb_parser_match(nb_str text, const char *tag)
{
    nb_str whole = nb_str_from(tag);
    if (nb_str_starts(text, whole)) return NB_MATCH_YES;
    return nb_str_starts(whole, text) ? NB_MATCH_PART : NB_MATCH_NO;
}

size_t nb_parser_skip_space(nb_str text, size_t at)
{
    while (at < text.len && text.ptr[at] && strchr(" \t\r\n", text.ptr[at])) at++;
    return at;
}

nb_match nb_parser_match_name(nb_str text, size_t at, nb_str *name, size_t *end)
{
    for (size_t i = at; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '>') {
            *name = nb_str_slice(text, at, i);
            *end = i + 1;
            return name->len ? NB_MATCH_YES : NB_MATCH_NO;
        }
        if ((unsigned char)c < 0x20 || c == '<' || i - at >= NB_TOOL_NAME_MAX) return NB_MATCH_NO;
    }
    return NB_MATCH_PART;
}

size_t nb_parser_partial_tag(nb_str text, const char *const *tags)
{
    size_t longest = 0;
    for (; *tags; tags++) {
        size_t n = strlen(*tags) - 1;
        for (n = n < text.len ? n : text.len; n > longest; n--)
            if (!memcmp(text.ptr + text.len - n, *tags, n)) longest = n;
    }
    return longest;
}

// ---- Reasoning

static const char think_begin[] = "<think>", think_end[] = "</think>";

static void enter(nb_output_parser *p, nb_parser_state state)
{
    p->state = state;
    p->skip_newlines = state == NB_PS_REASONING || state == NB_PS_CONTENT;
}

// The text may open its own <think>; otherwise it has no reasoning.
static bool step_start(nb_output_parser *p, bool at_end)
{
    nb_str text = nb_parser_pending(p);
    size_t space = nb_parser_skip_space(text, 0);
    nb_match match = nb_parser_match(nb_str_slice(text, space, text.len), think_begin);
    if (match == NB_MATCH_PART && !at_end) return false;
    if (match == NB_MATCH_YES) {
        nb_parser_consume(p, space + strlen(think_begin));
        enter(p, NB_PS_REASONING);
    } else {
        p->state = NB_PS_CONTENT;
    }
    return true;
}

static bool skip_newlines(nb_output_parser *p)
{
    nb_str text = nb_parser_pending(p);
    size_t n = 0;
    while (n < text.len && text.ptr[n] == '\n') n++;
    nb_parser_consume(p, n);
    if (n < text.len) p->skip_newlines = false;
    return n > 0;
}

static size_t without_newlines(nb_str text, size_t n)
{
    while (n > 0 && text.ptr[n - 1] == '\n') n--;
    return n;
}

static bool step_reasoning(nb_output_parser *p, bool at_end)
{
    static const char *const tags[] = {think_end, NULL};
    if (p->skip_newlines && skip_newlines(p)) return true;
    nb_str text = nb_parser_pending(p);
    int64_t end = nb_str_find(text, NB_STR(think_end), 0);
    size_t n = end >= 0 ? (size_t)end : at_end ? text.len : text.len - nb_parser_partial_tag(text, tags);
    size_t kept = without_newlines(text, n);
    nb_parser_emit(p, NB_PART_REASONING, nb_str_slice(text, 0, kept));
    nb_parser_consume(p, end >= 0 ? n + strlen(think_end) : at_end ? n : kept);
    if (end >= 0) enter(p, NB_PS_CONTENT);
    return end >= 0 || (at_end ? n : kept) > 0;
}

// ---- Content

// Tags that may begin a call; some models forget the first of the XML format.
static const char *const *call_tags(const nb_output_parser *p)
{
    static const char *const none[] = {NULL}, *const hermes[] = {"<tool_call>", NULL},
                             *const xml[] = {"<tool_call>", "<function=", NULL};
    return p->options.tool == NB_TOOL_NONE ? none : p->options.tool == NB_TOOL_HERMES ? hermes : xml;
}

static int64_t find_call(nb_str text, const char *const *tags)
{
    int64_t first = -1;
    for (; *tags; tags++) {
        int64_t at = nb_str_find(text, nb_str_from(*tags), 0);
        if (at >= 0 && (first < 0 || at < first)) first = at;
    }
    return first;
}

static size_t without_space(nb_str text, size_t n)
{
    while (n > 0 && text.ptr[n - 1] && strchr(" \t\r\n", text.ptr[n - 1])) n--;
    return n;
}

static bool skip_space(nb_output_parser *p)
{
    nb_str text = nb_parser_pending(p);
    size_t n = nb_parser_skip_space(text, 0);
    nb_parser_consume(p, n);
    if (n < text.len) p->skip_space = false;
    return n > 0;
}

// Text before a call loses its trailing white space, so that is held back until something else follows.
static bool step_content(nb_output_parser *p, bool at_end)
{
    if (p->skip_newlines && skip_newlines(p)) return true;
    if (p->skip_space && skip_space(p)) return true;
    nb_str text = nb_parser_pending(p);
    const char *const *tags = call_tags(p);
    int64_t call = find_call(text, tags);
    size_t n = text.len;
    if (call >= 0)
        n = without_space(text, (size_t)call);
    else if (!at_end && *tags)
        n = without_space(text, text.len - nb_parser_partial_tag(text, tags));
    nb_parser_emit(p, NB_PART_CONTENT, nb_str_slice(text, 0, n));
    nb_parser_consume(p, n);
    if (call >= 0) p->state = NB_PS_CALL;
    return n > 0 || call >= 0;
}

bool nb_parser_not_a_call(nb_output_parser *p, size_t n)
{
    nb_parser_emit(p, NB_PART_CONTENT, nb_str_slice(nb_parser_pending(p), 0, n));
    nb_parser_consume(p, n);
    p->state = NB_PS_CONTENT;
    return true;
}

static bool step_call(nb_output_parser *p, bool at_end)
{
    return p->options.tool == NB_TOOL_HERMES ? nb_tool_call_hermes_open(p, at_end) : nb_tool_call_xml_open(p, at_end);
}

static bool step_call_end(nb_output_parser *p, bool at_end)
{
    nb_str text = nb_parser_pending(p);
    size_t space = nb_parser_skip_space(text, 0);
    nb_match match = nb_parser_match(nb_str_slice(text, space, text.len), "</tool_call>");
    if (match == NB_MATCH_PART && !at_end) return false;
    nb_parser_consume(p, space + (match == NB_MATCH_YES ? strlen("</tool_call>") : 0));
    p->state = NB_PS_CONTENT;
    p->skip_space = true;
    return true;
}

// ---- All of it

static bool step(nb_output_parser *p, bool at_end)
{
    switch (p->state) {
    case NB_PS_START: return step_start(p, at_end);
    case NB_PS_REASONING: return step_reasoning(p, at_end);
    case NB_PS_CONTENT: return step_content(p, at_end);
    case NB_PS_CALL: return step_call(p, at_end);
    case NB_PS_XML_BODY:
    case NB_PS_XML_VALUE: return nb_tool_call_xml_step(p, at_end);
    case NB_PS_CALL_END: return step_call_end(p, at_end);
    default: return nb_tool_call_hermes_step(p, at_end);
    }
}

// What was consumed is dropped once it is the larger part, so that long texts are not moved byte by byte.
static void compact(nb_output_parser *p)
{
    if (p->at < p->pending.len && p->at < p->pending.len / 2) return;
    size_t left = p->pending.len - p->at;
    if (left) memmove(p->pending.ptr, p->pending.ptr + p->at, left);
    p->pending.len = left;
    p->at = 0;
}

static void run(nb_output_parser *p, bool at_end, nb_part_fn fn, void *user)
{
    p->fn = fn;
    p->user = user;
    while (step(p, at_end)) {
    }
    compact(p);
}

void nb_output_parser_feed(nb_output_parser *p, nb_str text, nb_part_fn fn, void *user)
{
    nb_buf_add_str(&p->pending, text);
    run(p, false, fn, user);
}

void nb_output_parser_end(nb_output_parser *p, nb_part_fn fn, void *user)
{
    run(p, true, fn, user);
}

// ---- Names of formats

typedef struct format_name {
    const char *name;
    int format;
} format_name;

static int find_format(const format_name *known, const char *what, const char *name, int *out, nb_error *err)
{
    nb_buf names = {0};
    for (const format_name *f = known; f->name; f++) {
        if (!strcmp(f->name, name)) {
            *out = f->format;
            nb_buf_drop(&names);
            return NB_OK;
        }
        nb_buf_printf(&names, "%s%s", f == known ? "" : ", ", f->name);
    }
    int code = nb_error_set(err, NB_ERR_INPUT, "there is no %s parser '%s'; known are %s", what, name, names.ptr);
    nb_buf_drop(&names);
    return code;
}

int nb_reasoning_format_parse(const char *name, nb_reasoning_format *out, nb_error *err)
{
    static const format_name known[] = {
        {"none", NB_REASONING_NONE}, {"qwen3", NB_REASONING_QWEN3}, {"deepseek_r1", NB_REASONING_QWEN3}, {0}};
    int format = 0;
    NB_TRY(find_format(known, "reasoning", name, &format, err));
    *out = (nb_reasoning_format)format;
    return NB_OK;
}

int nb_tool_format_parse(const char *name, nb_tool_format *out, nb_error *err)
{
    static const format_name known[] = {
        {"none", NB_TOOL_NONE},
        {"qwen3_xml", NB_TOOL_QWEN3_XML},
        {"qwen3_coder", NB_TOOL_QWEN3_XML},
        {"hermes", NB_TOOL_HERMES},
        {0},
    };
    int format = 0;
    NB_TRY(find_format(known, "tool call", name, &format, err));
    *out = (nb_tool_format)format;
    return NB_OK;
}
