// What a model writes: the events do not depend on how the text is cut, and the arguments of each call are valid JSON.
// The first byte chooses the formats, the second where the text is cut.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "text/output_parser.h"

typedef struct record {
    nb_buf all, arguments;
    int kind;
} record;

static void on_part(void *user, const nb_part *part)
{
    record *r = user;
    if (part->kind != NB_PART_TOOL_END && part->text.len == 0) abort();
    if ((int)part->kind != r->kind || part->kind == NB_PART_TOOL_BEGIN)
        nb_buf_printf(&r->all, "\n%d:%d:", part->kind, part->tool_index);
    nb_buf_add_str(&r->all, part->text);
    r->kind = (int)part->kind;
    if (part->kind == NB_PART_TOOL_ARGUMENTS) nb_buf_add_str(&r->arguments, part->text);
    if (part->kind != NB_PART_TOOL_END) return;
    json_t *value = NULL;
    nb_error err;
    if (nb_json_parse(nb_buf_str(&r->arguments), "arguments", &value, &err) != NB_OK || !json_is_object(value)) {
        // the model may repeat a key or nest too deeply; a NUL in a key is what jansson cannot hold
        if (!nb_str_equal_c(nb_str_slice(nb_str_from(err.text), 0, 9), "arguments")) abort();
        if (nb_str_find(nb_str_from(err.text), NB_STR("duplicate"), 0) < 0 &&
            nb_str_find(nb_str_from(err.text), NB_STR("nested"), 0) < 0 &&
            nb_str_find(nb_str_from(err.text), NB_STR("NUL"), 0) < 0)
            abort();
    }
    json_decref(value);
    nb_buf_clear(&r->arguments);
}

static nb_buf parse(const nb_output_parser_options *options, nb_str text, size_t step)
{
    record r = {.kind = -1};
    nb_output_parser *p = nb_output_parser_open(options);
    for (size_t at = 0; at < text.len; at += step)
        nb_output_parser_feed(p, nb_str_slice(text, at, at + step), on_part, &r);
    nb_output_parser_end(p, on_part, &r);
    nb_output_parser_close(p);
    nb_buf_drop(&r.arguments);
    return r.all;
}

static json_t *make_tools(void)
{
    return json_pack("[{s:s, s:{s:s, s:{s:{s:{s:s}, s:{s:s}, s:{s:[s, s]}, s:{}}}}}]", "type", "function", "function",
                     "name", "f", "parameters", "properties", "s", "type", "string", "i", "type", "integer", "n",
                     "type", "string", "null", "u");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2) return 0;
    nb_str text = {(const char *)data + 2, n - 2};
    if (!nb_utf8_valid(text)) return 0; // the tokenizer gives nothing else
    json_t *tools = data[0] & 1 ? make_tools() : NULL;
    nb_output_parser_options options = {
        .reasoning = data[0] & 2 ? NB_REASONING_QWEN3 : NB_REASONING_NONE,
        .starts_in_reasoning = data[0] & 4,
        .tool = data[0] & 8 ? NB_TOOL_HERMES : NB_TOOL_QWEN3_XML,
        .tools = tools,
    };
    nb_buf whole = parse(&options, text, text.len + 1), cut = parse(&options, text, 1 + data[1] % 16);
    if (!nb_str_equal(nb_buf_str(&whole), nb_buf_str(&cut))) abort();
    nb_buf_drop(&whole);
    nb_buf_drop(&cut);
    json_decref(tools);
    return 0;
}
