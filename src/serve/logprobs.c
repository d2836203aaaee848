// Log-probabilities in the shapes of the two endpoints: chat has a list of objects, completions four parallel lists.
#include <math.h>
#include <stdio.h>

#include "serve/api_internal.h"

#define LOGPROB_MIN (-9999.0) // JSON has no infinity; vLLM gives this number too

static json_t *number(float logprob)
{
    return json_real(isfinite(logprob) ? (double)logprob : LOGPROB_MIN);
}

static json_t *token_text(const nb_choice *c, int32_t tok)
{
    nb_buf text = {0};
    nb_tokenizer_decode(c->generation->api->options.tokenizer, &tok, 1, false, &text);
    json_t *string = nb_reply_text(nb_buf_str(&text));
    nb_buf_drop(&text);
    return string;
}

static json_t *chat_entry(const nb_choice *c, int32_t tok, float logprob)
{
    nb_str bytes = nb_tokenizer_token(c->generation->api->options.tokenizer, tok);
    json_t *list = json_array();
    for (size_t i = 0; i < bytes.len; i++) json_array_append_new(list, json_integer((uint8_t)bytes.ptr[i]));
    return json_pack("{s:o, s:o, s:o}", "token", token_text(c, tok), "logprob", number(logprob), "bytes", list);
}

static void add_chat(nb_choice *c, int32_t tok, const nb_row_result *row)
{
    json_t *entry = chat_entry(c, tok, row->logprob), *top = json_array();
    for (int i = 0; i < row->n_top; i++)
        json_array_append_new(top, chat_entry(c, row->top_tok[i], row->top_logprob[i]));
    json_object_set_new(entry, "top_logprobs", top);
    json_array_append_new(c->logprobs, entry);
}

static json_t *top_map(const nb_choice *c, const nb_row_result *row)
{
    json_t *map = json_object();
    for (int i = 0; i < row->n_top; i++) {
        json_t *text = token_text(c, row->top_tok[i]);
        json_object_set_new(map, json_string_value(text), number(row->top_logprob[i]));
        json_decref(text);
    }
    return map;
}

static void add_completion(nb_choice *c, int32_t tok, json_t *logprob, json_t *top)
{
    json_t *text = token_text(c, tok);
    int64_t offset = c->text_offset;
    c->text_offset += (int64_t)json_string_length(text);
    json_array_append_new(json_object_get(c->logprobs, "tokens"), text);
    json_array_append_new(json_object_get(c->logprobs, "token_logprobs"), logprob);
    json_array_append_new(json_object_get(c->logprobs, "top_logprobs"), top);
    json_array_append_new(json_object_get(c->logprobs, "text_offset"), json_integer(offset));
}

void nb_logprobs_add(nb_choice *c, int32_t tok, const nb_row_result *row)
{
    if (c->generation->request.chat)
        add_chat(c, tok, row);
    else
        add_completion(c, tok, number(row->logprob), top_map(c, row));
}

static json_t *prompt_entry(const nb_choice *c, int32_t tok, float logprob, int32_t rank)
{
    return json_pack("{s:o, s:i, s:o}", "logprob", number(logprob), "rank", (int)rank, "decoded_token",
                     token_text(c, tok));
}

static json_t *prompt_map(const nb_choice *c, int32_t tok, const nb_row_result *row)
{
    char key[16];
    json_t *map = json_object();
    snprintf(key, sizeof key, "%d", tok);
    json_object_set_new(map, key, prompt_entry(c, tok, row->target_logprob, row->target_rank));
    for (int i = 0; i < row->n_top; i++) {
        snprintf(key, sizeof key, "%d", row->top_tok[i]);
        if (!json_object_get(map, key))
            json_object_set_new(map, key, prompt_entry(c, row->top_tok[i], row->top_logprob[i], i + 1));
    }
    return map;
}

// The first token of a prompt has no probability: null. With echo the prompt's tokens lead the completion's own lists.
void nb_logprobs_add_prompt(nb_choice *c, const nb_event *event)
{
    const int32_t *id = c->prompt->ids.id;
    bool echo = c->generation->request.echo && c->logprobs;
    json_array_append_new(c->prompt_logprobs, json_null());
    if (echo) add_completion(c, id[0], json_null(), json_null());
    for (int i = 0; i < event->n_prompt_detail; i++) {
        const nb_row_result *row = &event->prompt_detail[i];
        json_array_append_new(c->prompt_logprobs, prompt_map(c, id[i + 1], row));
        if (echo) add_completion(c, id[i + 1], number(row->target_logprob), top_map(c, row));
    }
}
