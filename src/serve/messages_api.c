// /v1/messages and /v1/messages/count_tokens: Anthropic's API.
#include "serve/messages_api.h"

#include "serve/api_internal.h"

static const nb_chat_stream messages_stream = {
    .begin = nb_anthropic_block_begin, .text = nb_anthropic_block_text, .end = nb_anthropic_block_end};

static void begin(nb_choice *choice, const nb_event *event)
{
    const nb_messages_job *own = choice->job->own;
    (void)event;
    if (choice->job->streaming) nb_anthropic_begin(choice);
    nb_chat_answer_open(choice, &own->request.chat, &messages_stream);
}

static void drop(nb_api_job *job)
{
    nb_messages_job *own = job->own;
    for (int i = 0; i < job->n_choice; i++) nb_chat_answer_drop(&job->choice[i]);
    nb_request_messages_drop(&own->request);
}

static const nb_api_job_kind messages_kind = {
    .id_prefix = "msg_",
    .param = "messages",
    .begin = begin,
    .text = nb_chat_answer_text,
    .finish = nb_chat_answer_end,
    .end_stream = nb_anthropic_end,
    .reply = nb_anthropic_reply,
    .drop = drop,
};

// Every request of this API must say max_tokens, so clients say much: the answer may be as long as there is room, and
// says so if that was the reason for its end.
static void clip(const nb_api_job *job, nb_messages_job *own)
{
    nb_generation *g = &own->request.chat.generation;
    int64_t room = job->api->options.max_model_len - job->prompt[0].n;
    own->is_clipped = room > 0 && g->max_tokens > room;
    if (own->is_clipped) g->max_tokens = room;
}

static int prepare(nb_api_job *job, nb_messages_job *own, nb_request_error *error)
{
    NB_TRY(nb_request_messages(job->body, &job->api->limits, false, job->arena, &own->request, error));
    NB_TRY(nb_chat_prompt(job->api, &own->request.chat, "messages", &job->prompt[0], error));
    clip(job, own);
    return NB_OK;
}

void nb_api_messages(void *user, nb_http_exchange *exchange)
{
    nb_request_error error;
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_arena *arena = nb_arena_open(0);
    nb_api_job *job = nb_api_job_open(user, exchange, &messages_kind, body, arena);
    nb_messages_job *own = NB_ARENA_ARRAY(arena, nb_messages_job, 1);
    job->own = own;
    job->generation = &own->request.chat.generation;
    job->prompt = NB_ARENA_ARRAY(arena, nb_ids, 1);
    job->n_prompt = 1;
    if (prepare(job, own, &error) == NB_OK)
        nb_api_job_start(job);
    else
        nb_api_job_refuse(job, &error);
}

static int count(const nb_api *api, const json_t *body, nb_arena *arena, nb_ids *ids, nb_request_error *error)
{
    nb_messages_request request;
    NB_TRY(nb_request_messages(body, &api->limits, true, arena, &request, error));
    int code = nb_chat_prompt(api, &request.chat, "messages", ids, error);
    nb_request_messages_drop(&request);
    return code;
}

void nb_api_count_tokens(void *user, nb_http_exchange *exchange)
{
    nb_request_error error;
    nb_ids ids = {0};
    nb_buf out = {0};
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_arena *arena = nb_arena_open(0);
    if (count(user, body, arena, &ids, &error) == NB_OK) {
        nb_buf_printf(&out, "{\"input_tokens\":%lld}", (long long)ids.n);
        nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    } else {
        nb_api_refuse(exchange, &error);
    }
    nb_buf_drop(&out);
    nb_ids_drop(&ids);
    nb_arena_close(arena);
    json_decref(body);
}
