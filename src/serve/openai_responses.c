// Responses as JSON: the response object and its items.
#include "serve/responses_api.h"

#include <string.h>

#include "base/clock.h"
#include "serve/api_internal.h"
#include "serve/responses_tools.h"

// ---- Items

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

void nb_openai_responses_item_id(const nb_choice *choice, const nb_chat_item *item, char out[NB_CHAT_ID_BYTES])
{
    const char *prefix = item->kind == NB_PART_REASONING ? "rs_" : item->kind == NB_PART_CONTENT ? "msg_" : "fc_";
    nb_chat_item_id(choice, item, prefix, out);
}

// Reasoning is a summary of itself for clients that ask for one: they show nothing else.
const nb_responses_part *nb_openai_responses_part(const nb_choice *choice, const nb_chat_item *item)
{
    static const nb_responses_part message = {.type = "output_text",
                                              .index = "content_index",
                                              .added = "response.content_part.added",
                                              .delta = "response.output_text.delta",
                                              .text_done = "response.output_text.done",
                                              .done = "response.content_part.done"},
                                   reasoning = {.type = "reasoning_text",
                                                .index = "content_index",
                                                .added = "response.content_part.added",
                                                .delta = "response.reasoning_text.delta",
                                                .text_done = "response.reasoning_text.done",
                                                .done = "response.content_part.done"},
                                   summary = {.type = "summary_text",
                                              .index = "summary_index",
                                              .added = "response.reasoning_summary_part.added",
                                              .delta = "response.reasoning_summary_text.delta",
                                              .text_done = "response.reasoning_summary_text.done",
                                              .done = "response.reasoning_summary_part.done"};
    const nb_responses_job *own = choice->job->own;
    if (item->kind == NB_PART_CONTENT) return &message;
    if (item->kind == NB_PART_REASONING) return own->request.wants_summary ? &summary : &reasoning;
    return NULL;
}

void nb_openai_responses_add_part(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, nb_str text)
{
    nb_buf_printf(out, "{\"type\":\"%s\",\"text\":", nb_openai_responses_part(choice, item)->type);
    nb_openai_string(out, text);
    nb_buf_add_c(out, item->kind == NB_PART_CONTENT ? ",\"annotations\":[],\"logprobs\":[]}" : "}");
}

void nb_openai_responses_call_name(const nb_choice *choice, const nb_chat_item *item, nb_str *space, nb_str *name)
{
    const nb_responses_job *own = choice->job->own;
    nb_responses_split_name(own->request.body, item->name, space, name);
}

static void add_call(nb_buf *out, const nb_choice *choice, const nb_chat_item *item)
{
    char id[NB_CHAT_ID_BYTES];
    nb_str space, name;
    nb_chat_item_id(choice, item, "call_", id);
    nb_openai_responses_call_name(choice, item, &space, &name);
    nb_buf_printf(out, "\"type\":\"function_call\",\"call_id\":\"%s\",\"name\":", id);
    nb_openai_string(out, name);
    if (space.len) {
        nb_buf_add_c(out, ",\"namespace\":");
        nb_openai_string(out, space);
    }
    nb_buf_add_c(out, ",\"arguments\":");
    nb_openai_string(out, nb_buf_str(&item->text));
}

// The parts are the summary or the content. What is encrypted elsewhere is only marked here: the client has the text.
static void add_reasoning(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, bool begun)
{
    const nb_responses_job *own = choice->job->own;
    bool summary = own->request.wants_summary;
    nb_str text = nb_buf_str(&item->text);
    nb_buf_add_c(out, "\"type\":\"reasoning\",\"summary\":[");
    if (summary && !begun) nb_openai_responses_add_part(out, choice, item, text);
    nb_buf_add_c(out, "],\"content\":[");
    if (!summary && !begun) nb_openai_responses_add_part(out, choice, item, text);
    nb_buf_add_c(out, "]");
    if (!own->request.wants_encrypted || begun) return;
    nb_buf marked = {0};
    nb_buf_add_c(&marked, NB_RESPONSES_ENCRYPTED_MARK);
    nb_buf_add_str(&marked, text);
    nb_buf_add_c(out, ",\"encrypted_content\":");
    nb_openai_string(out, nb_buf_str(&marked));
    nb_buf_drop(&marked);
}

static void add_message(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, bool begun)
{
    nb_buf_add_c(out, "\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
    if (!begun) nb_openai_responses_add_part(out, choice, item, nb_buf_str(&item->text));
    nb_buf_add_c(out, "]");
}

void nb_openai_responses_add_item(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, bool begun)
{
    char id[NB_CHAT_ID_BYTES];
    nb_openai_responses_item_id(choice, item, id);
    nb_buf_printf(out, "{\"id\":\"%s\",\"status\":\"%s\",", id, begun ? "in_progress" : item_status(choice, item));
    switch (item->kind) {
    case NB_PART_REASONING: add_reasoning(out, choice, item, begun); break;
    case NB_PART_CONTENT: add_message(out, choice, item, begun); break;
    default: add_call(out, choice, item);
    }
    nb_buf_add_c(out, "}");
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
        nb_openai_responses_add_item(out, choice, &answer->item[i], false);
    }
}

const char *nb_openai_responses_status(const nb_api_job *job)
{
    if (job->fail_status) return "failed";
    return is_cut(&job->choice[0]) ? "incomplete" : "completed";
}

void nb_openai_responses_add(nb_buf *out, const nb_api_job *job, const char *status)
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
    nb_openai_responses_add(out, job, nb_openai_responses_status(job));
}
