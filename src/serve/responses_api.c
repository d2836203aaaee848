// /v1/responses: OpenAI's newer API, without memory: the client sends the whole conversation.
#include "serve/responses_api.h"

#include "serve/api_internal.h"

// Events that end a part of the response repeat its text.
static const nb_chat_stream responses_stream = {
    .keeps_text = true,
    .begin = nb_openai_responses_item_begin,
    .text = nb_openai_responses_item_text,
    .end = nb_openai_responses_item_end,
};

static void begin(nb_choice *choice, const nb_event *event)
{
    const nb_responses_job *own = choice->job->own;
    (void)event;
    if (choice->job->streaming) nb_openai_responses_begin(choice);
    nb_chat_answer_open(choice, &own->request.chat, &responses_stream);
}

static void drop(nb_api_job *job)
{
    nb_responses_job *own = job->own;
    for (int i = 0; i < job->n_choice; i++) nb_chat_answer_drop(&job->choice[i]);
    nb_request_responses_drop(&own->request);
}

static const nb_api_job_kind responses_kind = {
    .id_prefix = "resp_",
    .param = "input",
    .begin = begin,
    .text = nb_chat_answer_text,
    .finish = nb_chat_answer_end,
    .end_stream = nb_openai_responses_end,
    .reply = nb_openai_responses_reply,
    .drop = drop,
};

static int prepare(nb_api_job *job, nb_responses_request *request, nb_request_error *error)
{
    NB_TRY(nb_request_responses(job->body, &job->api->limits, job->arena, request, error));
    return nb_chat_prompt(job->api, &request->chat, "input", &job->prompt[0], error);
}

void nb_api_responses(void *user, nb_http_exchange *exchange)
{
    nb_request_error error;
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_arena *arena = nb_arena_open(0);
    nb_api_job *job = nb_api_job_open(user, exchange, &responses_kind, body, arena);
    nb_responses_job *own = NB_ARENA_ARRAY(arena, nb_responses_job, 1);
    job->own = own;
    job->generation = &own->request.chat.generation;
    job->prompt = NB_ARENA_ARRAY(arena, nb_ids, 1);
    job->n_prompt = 1;
    if (prepare(job, &own->request, &error) == NB_OK)
        nb_api_job_start(job);
    else
        nb_api_job_refuse(job, &error);
}
