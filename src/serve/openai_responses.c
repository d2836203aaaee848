// Responses as JSON: the response object, its items, and the events of a stream.
#include "serve/responses_api.h"

#include <string.h>

#include "base/clock.h"
#include "serve/api_internal.h"
#include "serve/responses_tools.h"
#include "serve/sse.h"

// ---- Items

static const char *id_prefix(const nb_chat_item *item)
{
    switch (item->kind) {
    case NB_PART_REASONING: return "rs_";
    case NB_PART_CONTENT: return "msg_";
    default: return "fc_";
    }
}

// A text part of a message or of reasoning.
static void add_part(nb_buf *out, const nb_chat_item *item, nb_str text)
{
    nb_buf_printf(out,
                  "{\"type\":\"%s\",\"text\":", item->kind == NB_PART_REASONING ? "reasoning_text" : "output_text");
    nb_openai_string(out, text);
    nb_buf_add_c(out, item->kind == NB_PART_REASONING ? "}" : ",\"annotations\":[],\"logprobs\":[]}");
}

static void split_name(const nb_choice *choice, const nb_chat_item *item, nb_str *space, nb_str *name)
{
    const nb_responses_job *own = choice->job->own;
    nb_responses_split_name(own->request.body, item->name, space, name);
}

static void add_call(nb_buf *out, const nb_choice *choice, const nb_chat_item *item)
{
    char id[NB_CHAT_ID_BYTES];
    nb_str space, name;
    nb_chat_item_id(choice, item, "call_", id);
    split_name(choice, item, &space, &name);
    nb_buf_printf(out, "\"type\":\"function_call\",\"call_id\":\"%s\",\"name\":", id);
    nb_openai_string(out, name);
    if (space.len) {
        nb_buf_add_c(out, ",\"namespace\":");
        nb_openai_string(out, space);
    }
    nb_buf_add_c(out, ",\"arguments\":");
    nb_openai_string(out, nb_buf_str(&item->text));
}

// `begun`: its text has not come yet.
static void add_item(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, const char *status, bool begun)
{
    char id[NB_CHAT_ID_BYTES];
    nb_chat_item_id(choice, item, id_prefix(item), id);
    nb_buf_printf(out, "{\"id\":\"%s\",\"status\":\"%s\",", id, status);
    if (item->kind == NB_PART_TOOL_BEGIN) {
        add_call(out, choice, item);
    } else {
        nb_buf_add_c(out, item->kind == NB_PART_REASONING
                              ? "\"type\":\"reasoning\",\"summary\":[],\"content\":["
                              : "\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
        if (!begun) add_part(out, item, nb_buf_str(&item->text));
        nb_buf_add_c(out, "]");
    }
    nb_buf_add_c(out, "}");
}

static bool is_cut(const nb_choice *choice)
{
    return choice->finish && !strcmp(choice->finish, "length");
}

// Only the last item of an answer can be incomplete.
static const char *item_status(const nb_choice *choice, const nb_chat_item *item)
{
    const nb_chat_answer *answer = choice->own;
    return is_cut(choice) && item->index == answer->n_item - 1 ? "incomplete" : "completed";
}

// ---- The response

static void add_usage(nb_buf *out, const nb_choice *choice)
{
    const nb_usage *u = &choice->usage;
    const nb_chat_answer *answer = choice->own;
    nb_buf_printf(out,
                  "{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%lld},\"output_tokens\":%lld,"
                  "\"output_tokens_details\":{\"reasoning_tokens\":%lld},\"total_tokens\":%lld}",
                  (long long)u->n_prompt, (long long)u->n_cached, (long long)u->n_output,
                  (long long)answer->n_reasoning_tok, (long long)(u->n_prompt + u->n_output));
}

// A field of the request, or the text of its default.
static void add_given(nb_buf *out, const json_t *body, const char *key, const char *otherwise)
{
    nb_buf_printf(out, ",\"%s\":", key);
    if (nb_field_given(body, key))
        nb_json_write(json_object_get(body, key), out);
    else
        nb_buf_add_c(out, otherwise);
}

static void add_request(nb_buf *out, const nb_responses_request *request)
{
    const nb_generation *g = &request->chat.generation;
    const json_t *body = request->body;
    add_given(out, body, "instructions", "null");
    add_given(out, body, "max_output_tokens", "null");
    add_given(out, body, "metadata", "{}");
    add_given(out, body, "parallel_tool_calls", "true");
    add_given(out, body, "reasoning", "{\"effort\":null,\"summary\":null}");
    add_given(out, body, "text", "{\"format\":{\"type\":\"text\"}}");
    add_given(out, body, "tool_choice", "\"auto\"");
    add_given(out, body, "tools", "[]");
    add_given(out, body, "truncation", "\"disabled\"");
    add_given(out, body, "user", "null");
    nb_buf_printf(out, ",\"temperature\":%.7g,\"top_p\":%.7g", (double)g->sampling.temperature,
                  (double)g->sampling.top_p);
    nb_buf_add_c(out,
                 ",\"background\":false,\"previous_response_id\":null,\"service_tier\":\"default\",\"store\":false,"
                 "\"top_logprobs\":0");
}

static void add_output(nb_buf *out, const nb_choice *choice)
{
    const nb_chat_answer *answer = choice->own;
    for (int i = 0; answer && i < answer->n_item; i++) {
        if (i) nb_buf_add_c(out, ",");
        add_item(out, choice, &answer->item[i], item_status(choice, &answer->item[i]), false);
    }
}

static const char *end_status(const nb_api_job *job)
{
    if (job->fail_status) return "failed";
    return is_cut(&job->choice[0]) ? "incomplete" : "completed";
}

static void add_response(nb_buf *out, const nb_api_job *job, const char *status)
{
    const nb_responses_job *own = job->own;
    const nb_choice *choice = &job->choice[0];
    bool ended = strcmp(status, "in_progress") != 0, completed = !strcmp(status, "completed");
    nb_buf_printf(out, "{\"id\":%s,\"object\":\"response\",\"created_at\":%lld,\"completed_at\":", job->id_json.ptr,
                  (long long)job->created);
    nb_buf_printf(out, completed ? "%lld" : "null", (long long)nb_clock_unix());
    nb_buf_printf(out, ",\"status\":\"%s\",\"error\":", status);
    if (!strcmp(status, "failed")) {
        nb_buf_add_c(out, "{\"code\":\"server_error\",\"message\":");
        nb_openai_string(out, nb_str_from(job->fail_text));
        nb_buf_add_c(out, "}");
    } else {
        nb_buf_add_c(out, "null");
    }
    nb_buf_printf(out, ",\"incomplete_details\":%s,\"model\":",
                  strcmp(status, "incomplete") ? "null" : "{\"reason\":\"max_output_tokens\"}");
    nb_openai_string(out, nb_api_model(job->api));
    nb_buf_add_c(out, ",\"output\":[");
    if (ended) add_output(out, choice);
    nb_buf_add_c(out, "]");
    add_request(out, &own->request);
    nb_buf_add_c(out, ",\"usage\":");
    if (ended && choice->own)
        add_usage(out, choice);
    else
        nb_buf_add_c(out, "null");
    nb_buf_add_c(out, "}");
}

void nb_openai_responses_reply(nb_api_job *job, nb_buf *out)
{
    add_response(out, job, end_status(job));
}

// ---- Events: {"type", "sequence_number", ...}

static nb_buf *begin_event(nb_api_job *job, const char *name)
{
    nb_responses_job *own = job->own;
    nb_buf_printf(&job->chunk, "{\"type\":\"%s\",\"sequence_number\":%lld", name, (long long)own->n_event++);
    return &job->chunk;
}

static void send_event(nb_api_job *job, const char *name)
{
    nb_buf_add_c(&job->chunk, "}");
    nb_api_job_send(job, name);
}

static void send_response(nb_api_job *job, const char *name, const char *status)
{
    nb_buf *out = begin_event(job, name);
    nb_buf_add_c(out, ",\"response\":");
    add_response(out, job, status);
    send_event(job, name);
}

static void send_item(nb_choice *choice, const nb_chat_item *item, const char *name, const char *status, bool begun)
{
    nb_buf *out = begin_event(choice->job, name);
    nb_buf_printf(out, ",\"output_index\":%d,\"item\":", item->index);
    add_item(out, choice, item, status, begun);
    send_event(choice->job, name);
}

// An event about an item: its id and place. A message and a reasoning have one part.
static nb_buf *begin_inside(nb_choice *choice, const nb_chat_item *item, const char *name)
{
    char id[NB_CHAT_ID_BYTES];
    nb_buf *out = begin_event(choice->job, name);
    nb_chat_item_id(choice, item, id_prefix(item), id);
    nb_buf_printf(out, ",\"item_id\":\"%s\",\"output_index\":%d", id, item->index);
    if (item->kind != NB_PART_TOOL_BEGIN) nb_buf_add_c(out, ",\"content_index\":0");
    return out;
}

static void send_part(nb_choice *choice, const nb_chat_item *item, const char *name, nb_str text)
{
    nb_buf *out = begin_inside(choice, item, name);
    nb_buf_add_c(out, ",\"part\":");
    add_part(out, item, text);
    send_event(choice->job, name);
}

static void send_text(nb_choice *choice, const nb_chat_item *item, const char *name, const char *key, nb_str text)
{
    nb_buf *out = begin_inside(choice, item, name);
    if (item->kind == NB_PART_CONTENT) nb_buf_add_c(out, ",\"logprobs\":[]");
    nb_buf_printf(out, ",\"%s\":", key);
    nb_openai_string(out, text);
    send_event(choice->job, name);
}

void nb_openai_responses_begin(nb_choice *choice)
{
    send_response(choice->job, "response.created", "in_progress");
    send_response(choice->job, "response.in_progress", "in_progress");
}

void nb_openai_responses_item_begin(nb_choice *choice, const nb_chat_item *item)
{
    send_item(choice, item, "response.output_item.added", "in_progress", true);
    if (item->kind != NB_PART_TOOL_BEGIN) send_part(choice, item, "response.content_part.added", (nb_str){0});
}

void nb_openai_responses_item_text(nb_choice *choice, const nb_chat_item *item, nb_str piece)
{
    const char *name = item->kind == NB_PART_REASONING ? "response.reasoning_text.delta"
                       : item->kind == NB_PART_CONTENT ? "response.output_text.delta"
                                                       : "response.function_call_arguments.delta";
    send_text(choice, item, name, "delta", piece);
}

static void send_call_done(nb_choice *choice, const nb_chat_item *item)
{
    static const char name[] = "response.function_call_arguments.done";
    nb_str space, function;
    nb_buf *out = begin_inside(choice, item, name);
    split_name(choice, item, &space, &function);
    nb_buf_add_c(out, ",\"name\":");
    nb_openai_string(out, function);
    nb_buf_add_c(out, ",\"arguments\":");
    nb_openai_string(out, nb_buf_str(&item->text));
    send_event(choice->job, name);
}

void nb_openai_responses_item_end(nb_choice *choice, const nb_chat_item *item)
{
    nb_str text = nb_buf_str(&item->text);
    if (item->kind == NB_PART_TOOL_BEGIN) {
        send_call_done(choice, item);
    } else {
        send_text(choice, item,
                  item->kind == NB_PART_REASONING ? "response.reasoning_text.done" : "response.output_text.done",
                  "text", text);
        send_part(choice, item, "response.content_part.done", text);
    }
    send_item(choice, item, "response.output_item.done", item_status(choice, item), false);
}

void nb_openai_responses_end(nb_api_job *job)
{
    const char *status = end_status(job);
    const char *name = !strcmp(status, "failed")       ? "response.failed"
                       : !strcmp(status, "incomplete") ? "response.incomplete"
                                                       : "response.completed";
    nb_buf_clear(&job->chunk);
    nb_buf *out = begin_event(job, name);
    nb_buf_add_c(out, ",\"response\":");
    add_response(out, job, status);
    nb_buf_add_c(out, "}");
    nb_sse_send(job->exchange, name, nb_buf_str(out)); // also where the rest was cancelled
}
