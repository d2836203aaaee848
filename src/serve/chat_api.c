// /v1/chat/completions: a request becomes a prompt, its text is parsed into reasoning, content and tool calls.
#include "serve/chat_api.h"

#include <stdlib.h>
#include <string.h>

#include "serve/api_internal.h"

// ---- Choices

static void add_call(nb_choice *choice, nb_chat_choice *own, const nb_part *part)
{
    char id[NB_CALL_ID_BYTES];
    if (own->n_call == own->call_cap) {
        own->call_cap = own->call_cap ? 2 * own->call_cap : 4;
        own->call = nb_realloc(own->call, sizeof(*own->call) * (size_t)own->call_cap);
    }
    nb_openai_call_id(choice, part->tool_index, id);
    own->call[own->n_call++] = (nb_chat_call){
        .id = nb_arena_str(choice->job->arena, nb_str_from(id)),
        .name = nb_arena_str(choice->job->arena, part->text),
    };
}

static void keep_part(nb_choice *choice, nb_chat_choice *own, const nb_part *part)
{
    switch (part->kind) {
    case NB_PART_REASONING: nb_buf_add_str(&own->reasoning, part->text); break;
    case NB_PART_CONTENT: nb_buf_add_str(&own->content, part->text); break;
    case NB_PART_TOOL_BEGIN: add_call(choice, own, part); break;
    case NB_PART_TOOL_ARGUMENTS: nb_buf_add_str(&own->call[part->tool_index].arguments, part->text); break;
    case NB_PART_TOOL_END: break;
    }
}

static void on_part(void *user, const nb_part *part)
{
    nb_choice *choice = user;
    nb_chat_choice *own = choice->own;
    const nb_chat_request *request = choice->job->own;
    bool is_call =
        part->kind == NB_PART_TOOL_BEGIN || part->kind == NB_PART_TOOL_ARGUMENTS || part->kind == NB_PART_TOOL_END;
    if (part->kind == NB_PART_REASONING && !request->include_reasoning) return;
    if (is_call && part->tool_index > 0 && !request->parallel_tool_calls) return;
    if (!choice->job->streaming) {
        keep_part(choice, own, part);
        return;
    }
    own->n_call += part->kind == NB_PART_TOOL_BEGIN;
    if (part->kind != NB_PART_TOOL_END) nb_openai_chat_part_chunk(choice, part);
}

// The prompt ended inside an open <think>.
static bool ends_in_reasoning(const nb_api_job *job, const nb_ids *prompt)
{
    enum { LOOK_BACK = 16 };
    nb_buf tail = {0};
    int64_t n = prompt->n < LOOK_BACK ? prompt->n : LOOK_BACK;
    nb_tokenizer_decode(job->api->options.tokenizer, prompt->id + prompt->n - n, n, false, &tail);
    nb_str text = nb_buf_str(&tail);
    while (text.len && strchr(" \n\r\t", text.ptr[text.len - 1])) text.len--;
    bool inside = nb_str_ends(text, NB_STR("<think>"));
    nb_buf_drop(&tail);
    return inside;
}

// A message that is continued may be repeated in front of its continuation.
static void echo(nb_choice *choice)
{
    const nb_chat_request *request = choice->job->own;
    const json_t *last = json_array_get(request->messages, json_array_size(request->messages) - 1);
    const json_t *role = json_object_get(last, "role"), *content = json_object_get(last, "content");
    if (!request->generation.echo || !json_is_string(content) || strcmp(json_string_value(role), "assistant")) return;
    on_part(choice, &(nb_part){.kind = NB_PART_CONTENT, .text = nb_field_text(content)});
}

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
    const nb_api_options *server = &choice->job->api->options;
    const nb_chat_request *request = choice->job->own;
    nb_chat_choice *own = NB_ARENA_ARRAY(choice->job->arena, nb_chat_choice, 1);
    choice->own = own;
    own->parser = nb_output_parser_open(&(nb_output_parser_options){
        .reasoning = server->reasoning,
        .starts_in_reasoning = server->reasoning != NB_REASONING_NONE && ends_in_reasoning(choice->job, choice->prompt),
        .tool = request->tool_choice == NB_TOOL_CHOICE_AUTO && request->tools ? server->tool : NB_TOOL_NONE,
        .tools = request->tools,
    });
    keep_prompt_logprobs(choice, event);
    if (choice->job->streaming) nb_openai_chat_role_chunk(choice);
    echo(choice);
}

static void token(nb_choice *choice, int32_t tok, const nb_row_result *detail)
{
    (void)tok;
    if (choice->logprobs.len) nb_buf_add_char(&choice->logprobs, ',');
    nb_openai_chat_logprob(&choice->logprobs, choice->job->api->options.tokenizer, detail);
}

static void text(nb_choice *choice, nb_str piece)
{
    nb_chat_choice *own = choice->own;
    nb_output_parser_feed(own->parser, piece, on_part, choice);
}

static void finish(nb_choice *choice)
{
    nb_chat_choice *own = choice->own;
    nb_output_parser_end(own->parser, on_part, choice);
    if (own->n_call > 0 && !strcmp(choice->finish, "stop")) choice->finish = "tool_calls";
    if (choice->job->streaming && !choice->job->fail_status) nb_openai_chat_finish_chunk(choice);
}

static void flush(nb_choice *choice)
{
    if (choice->job->streaming && choice->logprobs.len) nb_openai_chat_logprobs_chunk(choice);
}

static void drop(nb_api_job *job)
{
    for (int i = 0; i < job->n_choice; i++) {
        nb_chat_choice *own = job->choice[i].own;
        if (!own) continue; // no event came
        nb_output_parser_close(own->parser);
        nb_buf_drop(&own->reasoning);
        nb_buf_drop(&own->content);
        for (int k = 0; own->call && k < own->n_call; k++) nb_buf_drop(&own->call[k].arguments);
        free(own->call);
    }
    nb_request_chat_drop(job->own);
}

static const nb_api_job_kind chat_kind = {
    .id_prefix = "chatcmpl-",
    .chunk_object = "chat.completion.chunk",
    .param = "messages",
    .begin = begin,
    .token = token,
    .text = text,
    .flush = flush,
    .finish = finish,
    .reply = nb_openai_chat_reply,
    .drop = drop,
};

// ---- The request

static int check_tools(const nb_api *api, const nb_chat_request *request, nb_request_error *error)
{
    if (request->tool_choice != NB_TOOL_CHOICE_AUTO || !request->tools) return NB_OK;
    if (api->options.auto_tool_choice && api->options.tool != NB_TOOL_NONE) return NB_OK;
    return nb_request_refuse(
        error, 400, "tool_choice", NULL,
        "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set");
}

static int prepare(nb_api_job *job, nb_chat_request *request, nb_request_error *error)
{
    const nb_api *api = job->api;
    nb_buf prompt = {0};
    NB_TRY(nb_request_chat(job->body, &api->limits, job->arena, request, error));
    NB_TRY(nb_api_check_model(api, request->generation.model, error));
    NB_TRY(check_tools(api, request, error));
    int code = nb_api_render(api, request, &prompt, error);
    if (code == NB_OK) code = nb_api_encode(api, nb_buf_str(&prompt), "messages", &job->prompt[0], error);
    nb_buf_drop(&prompt);
    nb_api_truncate(&job->prompt[0], request->generation.truncate_prompt);
    return code;
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
