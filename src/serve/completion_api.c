// /v1/completions: prompts go in as they are, text comes out as it is.
#include <stdlib.h>
#include <string.h>

#include "serve/api_internal.h"
#include "serve/api_job.h"
#include "serve/openai_stream.h"

// Log-probabilities of this route are four lists. They and the text are given out with each chunk, or at the end.
typedef struct completion_choice {
    nb_buf text;
    nb_buf tokens, logprob, top, offset; // inner parts of the lists
    int64_t n_char;                      // code points of the text so far, prompt included when it is echoed
} completion_choice;

static int64_t count_chars(nb_str text)
{
    int64_t n = 0;
    for (size_t i = 0; i < text.len; i++) n += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return n;
}

// ---- Log-probabilities

static void comma(nb_buf *list)
{
    if (list->len) nb_buf_add_char(list, ',');
}

static void add_top(nb_buf *out, const nb_tokenizer *tokenizer, int32_t tok, float logprob, const nb_row_result *row)
{
    comma(out);
    nb_buf_add_char(out, '{');
    nb_openai_string(out, nb_tokenizer_token(tokenizer, tok));
    nb_buf_add_char(out, ':');
    nb_openai_logprob(out, logprob);
    for (int i = 0; i < row->n_top; i++) {
        if (row->top_tok[i] == tok) continue;
        nb_buf_add_char(out, ',');
        nb_openai_string(out, nb_tokenizer_token(tokenizer, row->top_tok[i]));
        nb_buf_add_char(out, ':');
        nb_openai_logprob(out, row->top_logprob[i]);
    }
    nb_buf_add_char(out, '}');
}

// `row` NULL: the prompt's first token, of which nothing is known.
static void add_token(nb_choice *choice, int32_t tok, float logprob, const nb_row_result *row)
{
    completion_choice *own = choice->own;
    const nb_tokenizer *tokenizer = choice->job->api->options.tokenizer;
    nb_str text = nb_tokenizer_token(tokenizer, tok);
    comma(&own->tokens);
    nb_openai_string(&own->tokens, text);
    comma(&own->offset);
    nb_buf_printf(&own->offset, "%lld", (long long)own->n_char);
    comma(&own->logprob);
    if (row) {
        nb_openai_logprob(&own->logprob, logprob);
        add_top(&own->top, tokenizer, tok, logprob, row);
    } else {
        nb_buf_add_c(&own->logprob, "null");
        nb_buf_add_c(&own->top, "null");
    }
    own->n_char += count_chars(text);
}

static void add_logprobs(nb_buf *out, nb_choice *choice)
{
    completion_choice *own = choice->own;
    if (choice->job->generation->n_top < 0) {
        nb_buf_add_c(out, "null");
        return;
    }
    nb_buf *const list[] = {&own->offset, &own->logprob, &own->tokens, &own->top};
    static const char *const name[] = {"text_offset", "token_logprobs", "tokens", "top_logprobs"};
    for (int i = 0; i < 4; i++) {
        nb_buf_printf(out, "%s\"%s\":[", i ? "," : "{", name[i]);
        nb_buf_add_str(out, nb_buf_str(list[i]));
        nb_buf_add_c(out, "]");
        nb_buf_clear(list[i]);
    }
    nb_buf_add_c(out, "}");
}

// ---- Choices

static void add_choice(nb_buf *out, nb_choice *choice, bool finished)
{
    completion_choice *own = choice->own;
    nb_buf_add_c(out, "\"text\":");
    nb_openai_string(out, nb_buf_str(&own->text));
    nb_buf_clear(&own->text);
    nb_buf_add_c(out, ",\"logprobs\":");
    add_logprobs(out, choice);
    if (finished) {
        nb_buf_printf(out, ",\"finish_reason\":\"%s\",\"stop_reason\":", choice->finish);
        nb_api_job_add_stop_reason(out, choice);
    } else {
        nb_buf_add_c(out, ",\"finish_reason\":null");
    }
}

static void echo(nb_choice *choice, const nb_event *event)
{
    completion_choice *own = choice->own;
    const nb_ids *prompt = choice->prompt;
    const nb_generation *g = choice->job->generation;
    nb_tokenizer_decode(choice->job->api->options.tokenizer, prompt->id, prompt->n, !g->keep_special, &own->text);
    if (g->n_top < 0) return;
    add_token(choice, prompt->id[0], 0, NULL);
    for (int i = 0; i < event->n_prompt_detail; i++)
        add_token(choice, prompt->id[i + 1], event->prompt_detail[i].target_logprob, &event->prompt_detail[i]);
}

static void begin(nb_choice *choice, const nb_event *event)
{
    choice->own = NB_ARENA_ARRAY(choice->job->arena, completion_choice, 1);
    for (int i = 0; i < event->n_prompt_detail; i++) {
        nb_buf_add_char(&choice->prompt_logprobs, ',');
        nb_openai_prompt_logprob(&choice->prompt_logprobs, choice->job->api->options.tokenizer,
                                 choice->prompt->id[i + 1], &event->prompt_detail[i]);
    }
    if (choice->job->generation->echo) echo(choice, event);
}

static void token(nb_choice *choice, int32_t tok, const nb_row_result *detail)
{
    add_token(choice, tok, detail->logprob, detail);
}

static void text(nb_choice *choice, nb_str piece)
{
    completion_choice *own = choice->own;
    nb_buf_add_str(&own->text, piece);
}

static void send_chunk(nb_choice *choice, bool finished)
{
    nb_api_job *job = choice->job;
    nb_openai_stream_head(choice);
    add_choice(&job->chunk, choice, finished);
    nb_buf_add_c(&job->chunk, "}]");
    if (job->generation->usage_in_each_chunk) {
        nb_buf_add_c(&job->chunk, ",\"usage\":");
        nb_openai_usage(&job->chunk, &choice->usage);
    }
    nb_buf_add_c(&job->chunk, "}");
    nb_api_job_send(job, NULL);
}

static void flush(nb_choice *choice)
{
    const completion_choice *own = choice->own;
    if (choice->job->streaming && !choice->done && (own->text.len || own->tokens.len)) send_chunk(choice, false);
}

static void finish(nb_choice *choice)
{
    if (choice->job->streaming && !choice->job->fail_status) send_chunk(choice, true);
}

static void reply(nb_api_job *job, nb_buf *out)
{
    nb_buf_printf(out, "{\"id\":%s,\"object\":\"text_completion\",\"created\":%lld,\"model\":", job->id_json.ptr,
                  (long long)job->created);
    nb_openai_string(out, nb_api_model(job->api));
    nb_buf_add_c(out, ",\"system_fingerprint\":null,\"choices\":[");
    for (int i = 0; i < job->n_choice; i++) {
        nb_buf_printf(out, "%s{\"index\":%d,", i ? "," : "", i);
        add_choice(out, &job->choice[i], true);
        nb_buf_add_c(out, ",\"prompt_logprobs\":");
        nb_api_job_add_prompt_logprobs(out, &job->choice[i]);
        nb_buf_add_c(out, "}");
    }
    nb_buf_add_c(out, "],\"usage\":");
    nb_api_job_add_usage(out, job);
    nb_buf_add_c(out, "}");
}

static void drop(nb_api_job *job)
{
    for (int i = 0; i < job->n_choice; i++) {
        completion_choice *own = job->choice[i].own;
        if (!own) continue; // no event came
        nb_buf_drop(&own->text);
        nb_buf_drop(&own->tokens);
        nb_buf_drop(&own->logprob);
        nb_buf_drop(&own->top);
        nb_buf_drop(&own->offset);
    }
}

static const nb_api_job_kind completion_kind = {
    .id_prefix = "cmpl-",
    .chunk_object = "text_completion",
    .param = "prompt",
    .begin = begin,
    .token = token,
    .text = text,
    .flush = flush,
    .finish = finish,
    .end_stream = nb_openai_stream_end,
    .reply = reply,
    .drop = drop,
};

// ---- The request

static int read_ids(const nb_api *api, const nb_prompt *prompt, nb_ids *out, nb_request_error *error)
{
    const json_t *id;
    size_t i;
    if (!prompt->ids) return nb_api_encode(api, prompt->text, "prompt", out, error);
    json_array_foreach(prompt->ids, i, id) nb_ids_add(out, (int32_t)json_integer_value(id));
    return NB_OK;
}

static int prepare(nb_api_job *job, nb_completion_request *request, nb_request_error *error)
{
    nb_generation *g = &request->generation;
    NB_TRY(nb_request_completion(job->body, &job->api->limits, job->arena, request, error));
    NB_TRY(nb_api_check_model(job->api, g->model, error));
    if (g->echo && g->n_top >= 0 && g->n_prompt_top < g->n_top)
        g->n_prompt_top = g->n_top; // echoed tokens have theirs, too
    job->prompt = NB_ARENA_ARRAY(job->arena, nb_ids, request->n_prompt);
    job->n_prompt = request->n_prompt;
    for (int i = 0; i < job->n_prompt; i++) {
        NB_TRY(read_ids(job->api, &request->prompt[i], &job->prompt[i], error));
        nb_api_truncate(&job->prompt[i], g->truncate_prompt);
    }
    return NB_OK;
}

void nb_api_completion(void *user, nb_http_exchange *exchange)
{
    nb_request_error error;
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_arena *arena = nb_arena_open(0);
    nb_api_job *job = nb_api_job_open(user, exchange, &completion_kind, body, arena);
    nb_completion_request *request = NB_ARENA_ARRAY(arena, nb_completion_request, 1);
    job->own = request;
    job->generation = &request->generation;
    if (prepare(job, request, &error) == NB_OK)
        nb_api_job_start(job);
    else
        nb_api_job_refuse(job, &error);
}
