// Tokens to text to parts: detokenised, cut at stop strings (which may lie across tokens), and, for chat, split into
// reasoning, content and tool calls.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/api_internal.h"

static void open_parser(nb_choice *c)
{
    const nb_api_options *o = &c->generation->api->options;
    const nb_api_request *r = &c->generation->request;
    nb_str prompt = c->prompt->text;
    while (prompt.len && prompt.ptr[prompt.len - 1] == '\n') prompt.len--;
    nb_output_parser_options options = {.reasoning = o->reasoning,
                                        .starts_in_reasoning = nb_str_ends(prompt, NB_STR("<think>")),
                                        .tool = r->parse_tools ? o->tool : NB_TOOL_NONE,
                                        .tools = r->tools};
    c->parser = nb_output_parser_open(&options);
}

void nb_choice_open(nb_choice *c, nb_generation *generation, int index, const nb_prompt *prompt)
{
    const nb_api_request *r = &generation->request;
    *c = (nb_choice){.generation = generation, .index = index, .prompt = prompt};
    bool keep_special = !r->skip_special || r->chat; // the parsers of chat read the markers themselves
    nb_token_stream_open(&c->stream, generation->api->options.tokenizer, !keep_special);
    if (r->chat) open_parser(c);
    if (r->n_top >= 0)
        c->logprobs =
            r->chat ? json_array()
                    : json_pack("{s:[], s:[], s:[], s:[]}", "tokens", "token_logprobs", "top_logprobs", "text_offset");
    if (r->n_prompt_top >= 0) c->prompt_logprobs = json_array();
}

void nb_choice_close(nb_choice *c)
{
    if (c->parser) nb_output_parser_close(c->parser);
    for (int i = 0; i < c->n_tool; i++) {
        nb_buf_drop(&c->tool[i].name);
        nb_buf_drop(&c->tool[i].arguments);
    }
    free(c->tool);
    nb_buf_drop(&c->held);
    nb_buf_drop(&c->content);
    nb_buf_drop(&c->reasoning);
    json_decref(c->logprobs);
    json_decref(c->prompt_logprobs);
}

static void begin_tool(nb_choice *c, nb_str name)
{
    c->tool = nb_realloc(c->tool, sizeof *c->tool * (size_t)(c->n_tool + 1));
    nb_tool_call *tool = &c->tool[c->n_tool];
    *tool = (nb_tool_call){0};
    snprintf(tool->id, sizeof tool->id, "call_%.20s%d%d", c->generation->id + strlen(c->generation->id) - 16, c->index,
             c->n_tool);
    nb_buf_add_str(&tool->name, name);
    c->n_tool++;
}

static void take_part(void *user, const nb_part *part)
{
    nb_choice *c = user;
    switch (part->kind) {
    case NB_PART_REASONING: nb_buf_add_str(&c->reasoning, part->text); break;
    case NB_PART_CONTENT: nb_buf_add_str(&c->content, part->text); break;
    case NB_PART_TOOL_BEGIN: begin_tool(c, part->text); break;
    case NB_PART_TOOL_ARGUMENTS: nb_buf_add_str(&c->tool[part->tool_index].arguments, part->text); break;
    case NB_PART_TOOL_END: break;
    }
    if (c->generation->request.stream && part->kind != NB_PART_TOOL_END) nb_reply_part(c, part);
}

static void release(nb_choice *c, nb_str text)
{
    if (text.len == 0) return;
    if (c->parser)
        nb_output_parser_feed(c->parser, text, take_part, c);
    else
        take_part(c, &(nb_part){.kind = NB_PART_CONTENT, .text = text});
}

// The first place of any stop string in `text`, and its length; -1: none.
static int64_t find_stop(const nb_api_request *r, nb_str text, size_t *len)
{
    int64_t first = -1;
    for (int i = 0; i < r->n_stop; i++) {
        int64_t at = nb_str_find(text, r->stop[i], 0);
        if (at < 0 || (first >= 0 && at >= first)) continue;
        first = at;
        *len = r->stop[i].len;
    }
    return first;
}

// How many bytes at the end of `text` could be the beginning of a stop string.
static size_t undecided(const nb_api_request *r, nb_str text)
{
    size_t most = 0;
    for (int i = 0; i < r->n_stop; i++) {
        size_t n = r->stop[i].len - 1 < text.len ? r->stop[i].len - 1 : text.len;
        for (; n > most; n--)
            if (memcmp(text.ptr + text.len - n, r->stop[i].ptr, n) == 0) most = n;
    }
    return most;
}

static void release_decided(nb_choice *c)
{
    const nb_api_request *r = &c->generation->request;
    nb_str text = nb_buf_str(&c->held);
    size_t stop_len = 0;
    int64_t stop = find_stop(r, text, &stop_len);
    if (stop >= 0) {
        release(c, nb_str_slice(text, 0, (size_t)stop + (r->include_stop ? stop_len : 0)));
        c->stopped = true;
        nb_buf_clear(&c->held);
        return;
    }
    size_t keep = undecided(r, text), go = text.len - keep;
    release(c, nb_str_slice(text, 0, go));
    memmove(c->held.ptr, c->held.ptr + go, keep);
    c->held.len = keep;
}

static void count_time(nb_choice *c, const nb_event *event)
{
    struct nb_metrics *metrics = c->generation->api->options.metrics;
    if (metrics && c->last_us == 0)
        nb_metrics_first_token(metrics, event->now_us - event->queued_us);
    else if (metrics)
        nb_metrics_next_tokens(metrics, event->now_us - c->last_us);
    c->last_us = event->now_us;
}

void nb_choice_take(nb_choice *c, const nb_event *event)
{
    c->n_prompt = event->n_prompt;
    c->n_cached = event->n_cached;
    if (event->prompt_detail && c->prompt_logprobs) nb_logprobs_add_prompt(c, event);
    if (c->stopped || event->n_tok == 0) return;
    count_time(c, event);
    for (int i = 0; i < event->n_tok && !c->stopped; i++) {
        if (event->detail && c->logprobs) nb_logprobs_add(c, event->tok[i], &event->detail[i]);
        nb_token_stream_add(&c->stream, event->tok[i], &c->held);
        c->n_output++;
        if (c->held.len) release_decided(c);
    }
}

void nb_choice_end(nb_choice *c)
{
    if (!c->stopped) {
        nb_token_stream_end(&c->stream, &c->held);
        if (c->held.len) release_decided(c);
        if (!c->stopped && c->held.len) release(c, nb_buf_str(&c->held));
    }
    if (c->parser) nb_output_parser_end(c->parser, take_part, c);
}
