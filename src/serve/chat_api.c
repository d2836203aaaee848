// /v1/chat/completions.
#include "serve/chat_api.h"

#include "serve/api_internal.h"
#include "serve/openai_stream.h"

// ---- Choices

static void begin_item(nb_choice *choice, const nb_chat_item *item)
{
    if (item->kind == NB_PART_TOOL_BEGIN) nb_openai_chat_call_chunk(choice, item);
}

static void end_item(nb_choice *choice, const nb_chat_item *item)
{
    (void)choice, (void)item; // chunks do not say where an item ends
}

static const nb_chat_stream chat_stream = {.begin = begin_item, .text = nb_openai_chat_text_chunk, .end = end_item};

static void keep_prompt_logprobs(nb_choice *choice, const nb_event *event)
{
    for (int i = 0; i < event->n_prompt_detail; i++) {
        nb_buf_add_char(&choice->prompt_logprobs, ',');
        nb_openai_prompt_logprob(&choice->prompt_logprobs, choice->job->api->options.tokenizer,
                                 choice->prompt->id[i + 1], &event->prompt_detail[i]);
    }
}

static void begin(nb_choice *choice, const nb_event *event)
{
    keep_prompt_logprobs(choice, event);
    if (choice->job->streaming) nb_openai_chat_role_chunk(choice);
    nb_chat_answer_open(choice, choice->job->own, &chat_stream);
}

static void token(nb_choice *choice, int32_t tok, const nb_row_result *detail)
{
    (void)tok;
    if (choice->logprobs.len) nb_buf_add_char(&choice->logprobs, ',');
    nb_openai_chat_logprob(&choice->logprobs, choice->job->api->options.tokenizer, detail);
}

static void finish(nb_choice *choice)
{
    nb_chat_answer_end(choice);
    if (choice->job->streaming && !choice->job->fail_status) nb_openai_chat_finish_chunk(choice);
}

static void flush(nb_choice *choice)
{
    if (choice->job->streaming && choice->logprobs.len) nb_openai_chat_logprobs_chunk(choice);
}

static void drop(nb_api_job *job)
{
    for (int i = 0; i < job->n_choice; i++) nb_chat_answer_drop(&job->choice[i]);
    nb_request_chat_drop(job->own);
}

static const nb_api_job_kind chat_kind = {
    .id_prefix = "chatcmpl-",
    .chunk_object = "chat.completion.chunk",
    .param = "messages",
    .begin = begin,
    .token = token,
    .text = nb_chat_answer_text,
    .flush = flush,
    .finish = finish,
    .end_stream = nb_openai_stream_end,
    .reply = nb_openai_chat_reply,
    .drop = drop,
};

// ---- The request

static int prepare(nb_api_job *job, nb_chat_request *request, nb_request_error *error)
{
    NB_TRY(nb_request_chat(job->body, &job->api->limits, job->arena, request, error));
    return nb_chat_prompt(job->api, request, "messages", &job->prompt[0], error);
}

void nb_api_chat(void *user, nb_http_exchange *exchange)
{
    nb_request_error error;
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_arena *arena = nb_arena_open(0);
    nb_api_job *job = nb_api_job_open(user, exchange, &chat_kind, body, arena);
    nb_chat_request *request = NB_ARENA_ARRAY(arena, nb_chat_request, 1);
    job->own = request;
    job->generation = &request->generation;
    job->prompt = NB_ARENA_ARRAY(arena, nb_ids, 1);
    job->n_prompt = 1;
    if (prepare(job, request, &error) == NB_OK)
        nb_api_job_start(job);
    else
        nb_api_job_refuse(job, &error);
}
