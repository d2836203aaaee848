// Answers as JSON, in the words of OpenAI's API with vLLM's additions (reasoning_content, prompt_logprobs).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/api_internal.h"

json_t *nb_reply_text(nb_str text)
{
    json_t *string = json_stringn(text.ptr ? text.ptr : "", text.len);
    if (string) return string;
    nb_buf valid = {0};
    char out[4];
    for (size_t at = 0; at < text.len;) {
        uint32_t code = nb_utf8_decode(text, &at);
        nb_buf_add(&valid, out, (size_t)nb_utf8_encode(code, out));
    }
    string = json_stringn(valid.ptr, valid.len);
    nb_buf_drop(&valid);
    return string;
}

void nb_reply_json(nb_http_exchange *exchange, json_t *value)
{
    nb_buf out = {0};
    nb_json_write(value, &out);
    nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    nb_buf_drop(&out);
    json_decref(value);
}

static json_t *frame(const nb_generation *g, const char *object)
{
    return json_pack("{s:s, s:s, s:I, s:s}", "id", g->id, "object", object, "created", (json_int_t)g->created, "model",
                     g->request.model);
}

static json_t *usage(const nb_generation *g)
{
    int64_t n_prompt = 0, n_cached = 0, n_output = 0;
    for (int i = 0; i < g->n_choice; i++) {
        n_output += g->choice[i].n_output;
        if (i % g->request.n) continue; // the prompt of several choices counts once
        n_prompt += g->choice[i].n_prompt;
        n_cached += g->choice[i].n_cached;
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)n_prompt, "completion_tokens",
                     (json_int_t)n_output, "total_tokens", (json_int_t)(n_prompt + n_output), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)n_cached);
}

static const char *finish_reason(const nb_choice *c)
{
    if (c->n_tool && c->finish != NB_FINISH_LENGTH) return "tool_calls";
    if (c->stopped || c->finish == NB_FINISH_STOP) return "stop";
    return c->finish == NB_FINISH_LENGTH ? "length" : "abort";
}

static void send_chunk(nb_generation *g, json_t *chunk)
{
    nb_buf out = {0};
    nb_json_write(chunk, &out);
    json_decref(chunk);
    if (nb_sse_send(g->exchange, nb_buf_str(&out)) != NB_OK) atomic_store(&g->gone, true);
    nb_buf_drop(&out);
}

// Log-probabilities collected since the last chunk, in the shape of the endpoint; null if none are wanted.
static json_t *take_logprobs(nb_choice *c)
{
    if (!c->logprobs) return json_null();
    json_t *taken = json_deep_copy(c->logprobs);
    if (!c->generation->request.chat) {
        json_t *list;
        const char *key;
        json_object_foreach(c->logprobs, key, list) json_array_clear(list);
        return taken;
    }
    json_array_clear(c->logprobs);
    return json_pack("{s:o}", "content", taken);
}

static void send_chat_chunk(nb_choice *c, json_t *delta, const char *reason)
{
    json_t *chunk = frame(c->generation, "chat.completion.chunk");
    json_object_set_new(chunk, "choices",
                        json_pack("[{s:i, s:o, s:o, s:s?}]", "index", c->index, "delta", delta, "logprobs",
                                  take_logprobs(c), "finish_reason", reason));
    send_chunk(c->generation, chunk);
}

static void send_text_chunk(nb_choice *c, nb_str text, const char *reason)
{
    json_t *chunk = frame(c->generation, "text_completion");
    json_object_set_new(chunk, "choices",
                        json_pack("[{s:i, s:o, s:o, s:s?}]", "index", c->index, "text", nb_reply_text(text), "logprobs",
                                  take_logprobs(c), "finish_reason", reason));
    send_chunk(c->generation, chunk);
}

static json_t *delta_of(const nb_choice *c, const nb_part *part)
{
    const nb_tool_call *tool = part->kind >= NB_PART_TOOL_BEGIN ? &c->tool[part->tool_index] : NULL;
    switch (part->kind) {
    case NB_PART_REASONING: {
        json_t *text = nb_reply_text(part->text);
        return json_pack("{s:O, s:o}", "reasoning_content", text, "reasoning", text);
    }
    case NB_PART_TOOL_BEGIN:
        return json_pack("{s:[{s:i, s:s, s:s, s:{s:o, s:s}}]}", "tool_calls", "index", part->tool_index, "id", tool->id,
                         "type", "function", "function", "name", nb_reply_text(part->text), "arguments", "");
    case NB_PART_TOOL_ARGUMENTS:
        return json_pack("{s:[{s:i, s:{s:o}}]}", "tool_calls", "index", part->tool_index, "function", "arguments",
                         nb_reply_text(part->text));
    default: return json_pack("{s:o}", "content", nb_reply_text(part->text));
    }
}

// The first chunk of a choice: the role, or the prompt where it is to be echoed.
static void announce(nb_choice *c)
{
    const nb_api_request *r = &c->generation->request;
    if (c->announced) return;
    c->announced = true;
    if (r->chat)
        send_chat_chunk(c, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL);
    else if (r->echo)
        send_text_chunk(c, c->prompt->text, NULL);
}

void nb_reply_part(nb_choice *c, const nb_part *part)
{
    announce(c);
    if (c->generation->request.chat)
        send_chat_chunk(c, delta_of(c, part), NULL);
    else
        send_text_chunk(c, part->text, NULL);
}

void nb_reply_finish_chunk(nb_choice *c)
{
    announce(c);
    if (c->generation->request.chat)
        send_chat_chunk(c, json_object(), finish_reason(c));
    else
        send_text_chunk(c, (nb_str){0}, finish_reason(c));
}

void nb_reply_usage_chunk(nb_generation *g)
{
    json_t *chunk = frame(g, g->request.chat ? "chat.completion.chunk" : "text_completion");
    json_object_set_new(chunk, "choices", json_array());
    json_object_set_new(chunk, "usage", usage(g));
    send_chunk(g, chunk);
}

static json_t *tool_list(const nb_choice *c)
{
    json_t *list = json_array();
    for (int i = 0; i < c->n_tool; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:{s:o, s:o}}", "id", c->tool[i].id, "type", "function",
                                              "function", "name", nb_reply_text(nb_buf_str(&c->tool[i].name)),
                                              "arguments", nb_reply_text(nb_buf_str(&c->tool[i].arguments))));
    return list;
}

static json_t *message_of(const nb_choice *c)
{
    json_t *message = json_pack("{s:s}", "role", "assistant");
    bool silent = c->n_tool && c->content.len == 0;
    json_object_set_new(message, "content", silent ? json_null() : nb_reply_text(nb_buf_str(&c->content)));
    if (c->generation->api->options.reasoning != NB_REASONING_NONE) {
        json_t *text = c->reasoning.len ? nb_reply_text(nb_buf_str(&c->reasoning)) : json_null();
        json_object_set(message, "reasoning_content", text);
        json_object_set_new(message, "reasoning", text);
    }
    if (c->n_tool) json_object_set_new(message, "tool_calls", tool_list(c));
    return message;
}

static json_t *text_of(const nb_choice *c)
{
    nb_buf text = {0};
    if (c->generation->request.echo) nb_buf_add_str(&text, c->prompt->text);
    nb_buf_add_str(&text, nb_buf_str(&c->content));
    json_t *string = nb_reply_text(nb_buf_str(&text));
    nb_buf_drop(&text);
    return string;
}

static json_t *choice_object(nb_choice *c)
{
    bool chat = c->generation->request.chat;
    json_t *object =
        json_pack("{s:i, s:o, s:o, s:s}", "index", c->index, chat ? "message" : "text",
                  chat ? message_of(c) : text_of(c), "logprobs", take_logprobs(c), "finish_reason", finish_reason(c));
    if (c->prompt_logprobs && !chat) json_object_set(object, "prompt_logprobs", c->prompt_logprobs);
    return object;
}

void nb_reply_whole(nb_generation *g)
{
    json_t *reply = frame(g, g->request.chat ? "chat.completion" : "text_completion"), *list = json_array();
    for (int i = 0; i < g->n_choice; i++) json_array_append_new(list, choice_object(&g->choice[i]));
    json_object_set_new(reply, "choices", list);
    json_object_set_new(reply, "usage", usage(g));
    json_object_set_new(reply, "system_fingerprint", json_null());
    if (g->request.chat && g->choice[0].prompt_logprobs)
        json_object_set(reply, "prompt_logprobs", g->choice[0].prompt_logprobs);
    nb_reply_json(g->exchange, reply);
}
