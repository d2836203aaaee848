// Chat answers as JSON.
#include "serve/api_internal.h"
#include "serve/chat_api.h"
#include "serve/openai_stream.h"

// ---- Chunks: {head "delta":{...},"logprobs":...,"finish_reason":...}]}

static void end_chunk(nb_choice *choice, const char *finish)
{
    nb_api_job *job = choice->job;
    nb_buf *out = &job->chunk;
    nb_buf_add_c(out, ",\"logprobs\":");
    if (choice->logprobs.len)
        nb_buf_printf(out, "{\"content\":[%s]}", choice->logprobs.ptr);
    else
        nb_buf_add_c(out, "null");
    nb_buf_clear(&choice->logprobs);
    if (finish) {
        nb_buf_printf(out, ",\"finish_reason\":\"%s\",\"stop_reason\":", finish);
        nb_api_job_add_stop_reason(out, choice);
    } else {
        nb_buf_add_c(out, ",\"finish_reason\":null");
    }
    nb_buf_add_c(out, "}]");
    if (job->generation->usage_in_each_chunk) {
        nb_buf_add_c(out, ",\"usage\":");
        nb_openai_usage(out, &choice->usage);
    }
    nb_buf_add_c(out, "}");
    nb_api_job_send(job, NULL);
}

static nb_buf *begin_chunk(nb_choice *choice)
{
    nb_buf *out = &choice->job->chunk;
    nb_openai_stream_head(choice);
    nb_buf_add_c(out, "\"delta\":{");
    return out;
}

void nb_openai_chat_role_chunk(nb_choice *choice)
{
    nb_buf_add_c(begin_chunk(choice), "\"role\":\"assistant\",\"content\":\"\"}");
    end_chunk(choice, NULL);
}

void nb_openai_chat_call_chunk(nb_choice *choice, const nb_chat_item *call)
{
    char id[NB_CHAT_ID_BYTES];
    nb_buf *out = begin_chunk(choice);
    nb_chat_item_id(choice, call, "call_", id);
    nb_buf_printf(out, "\"tool_calls\":[{\"index\":%d,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
                  call->i_call, id);
    nb_openai_string(out, call->name);
    nb_buf_add_c(out, ",\"arguments\":\"\"}}]}");
    end_chunk(choice, NULL);
}

void nb_openai_chat_text_chunk(nb_choice *choice, const nb_chat_item *item, nb_str piece)
{
    nb_buf *out = begin_chunk(choice);
    switch (item->kind) {
    case NB_PART_CONTENT:
        nb_buf_add_c(out, "\"content\":");
        nb_openai_string(out, piece);
        break;
    case NB_PART_REASONING: // both names are in use
        nb_buf_add_c(out, "\"reasoning_content\":");
        nb_openai_string(out, piece);
        nb_buf_add_c(out, ",\"reasoning\":");
        nb_openai_string(out, piece);
        break;
    default:
        nb_buf_printf(out, "\"tool_calls\":[{\"index\":%d,\"function\":{\"arguments\":", item->i_call);
        nb_openai_string(out, piece);
        nb_buf_add_c(out, "}}]");
    }
    nb_buf_add_c(out, "}");
    end_chunk(choice, NULL);
}

void nb_openai_chat_logprobs_chunk(nb_choice *choice)
{
    nb_buf_add_c(begin_chunk(choice), "\"content\":\"\"}");
    end_chunk(choice, NULL);
}

void nb_openai_chat_finish_chunk(nb_choice *choice)
{
    nb_buf_add_c(begin_chunk(choice), "}");
    end_chunk(choice, choice->finish);
}

// ---- Whole answers

static void add_calls(nb_buf *out, const nb_choice *choice)
{
    const nb_chat_answer *answer = choice->own;
    char id[NB_CHAT_ID_BYTES];
    nb_buf_add_c(out, ",\"tool_calls\":[");
    for (int i = 0; i < answer->n_item; i++) {
        const nb_chat_item *call = &answer->item[i];
        if (call->kind != NB_PART_TOOL_BEGIN) continue;
        nb_chat_item_id(choice, call, "call_", id);
        nb_buf_printf(out, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", call->i_call ? "," : "",
                      id);
        nb_openai_string(out, call->name);
        nb_buf_add_c(out, ",\"arguments\":");
        nb_openai_string(out, nb_buf_str(&call->text));
        nb_buf_add_c(out, "}}");
    }
    nb_buf_add_c(out, "]");
}

// A message has one content and one reasoning, however often the model went from one to the other.
static nb_buf joined(const nb_chat_answer *answer, nb_part_kind kind)
{
    nb_buf text = {0};
    for (int i = 0; i < answer->n_item; i++)
        if (answer->item[i].kind == kind) nb_buf_add_str(&text, nb_buf_str(&answer->item[i].text));
    return text;
}

static void add_text_or_null(nb_buf *out, const char *name, const nb_buf *text)
{
    nb_buf_printf(out, ",\"%s\":", name);
    if (text->len)
        nb_openai_string(out, nb_buf_str(text));
    else
        nb_buf_add_c(out, "null");
}

// The content of an answer that has no calls is a string, even an empty one.
static void add_message(nb_buf *out, const nb_choice *choice)
{
    const nb_chat_answer *answer = choice->own;
    nb_buf content = joined(answer, NB_PART_CONTENT), reasoning = joined(answer, NB_PART_REASONING);
    nb_buf_add_c(out, "{\"role\":\"assistant\"");
    if (content.len == 0 && answer->n_call == 0)
        nb_buf_add_c(out, ",\"content\":\"\"");
    else
        add_text_or_null(out, "content", &content);
    add_text_or_null(out, "reasoning_content", &reasoning);
    add_text_or_null(out, "reasoning", &reasoning);
    nb_buf_add_c(out, ",\"refusal\":null");
    if (answer->n_call) add_calls(out, choice);
    nb_buf_add_c(out, "}");
    nb_buf_drop(&content);
    nb_buf_drop(&reasoning);
}

static void add_choice(nb_buf *out, const nb_choice *choice)
{
    nb_buf_printf(out, "{\"index\":%d,\"message\":", choice->index);
    add_message(out, choice);
    nb_buf_add_c(out, ",\"logprobs\":");
    if (choice->job->generation->n_top >= 0)
        nb_buf_printf(out, "{\"content\":[%s]}", choice->logprobs.ptr ? choice->logprobs.ptr : "");
    else
        nb_buf_add_c(out, "null");
    nb_buf_printf(out, ",\"finish_reason\":\"%s\",\"stop_reason\":", choice->finish);
    nb_api_job_add_stop_reason(out, choice);
    nb_buf_add_c(out, "}");
}

void nb_openai_chat_reply(nb_api_job *job, nb_buf *out)
{
    nb_buf_printf(out, "{\"id\":%s,\"object\":\"chat.completion\",\"created\":%lld,\"model\":", job->id_json.ptr,
                  (long long)job->created);
    nb_openai_string(out, nb_api_model(job->api));
    nb_buf_add_c(out, ",\"system_fingerprint\":null,\"choices\":[");
    for (int i = 0; i < job->n_choice; i++) {
        if (i) nb_buf_add_c(out, ",");
        add_choice(out, &job->choice[i]);
    }
    nb_buf_add_c(out, "],\"usage\":");
    nb_api_job_add_usage(out, job);
    nb_buf_add_c(out, ",\"prompt_logprobs\":");
    nb_api_job_add_prompt_logprobs(out, &job->choice[0]);
    nb_buf_add_c(out, "}");
}
