// Chat answers as JSON.
#include <stdio.h>
#include <string.h>

#include "serve/chat_api.h"

#include "serve/api_internal.h"

void nb_openai_call_id(const nb_choice *choice, int i_call, char out[NB_CALL_ID_BYTES])
{
    uint64_t id = atomic_load(&choice->id); // the engine never gives an id twice
    snprintf(out, NB_CALL_ID_BYTES, "call_%08llx%08llx%02x", (unsigned long long)choice->job->created & 0xffffffff,
             (unsigned long long)id & 0xffffffff, i_call & 0xff);
}

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
    nb_api_job_send(job);
}

static nb_buf *begin_chunk(nb_choice *choice)
{
    nb_buf *out = &choice->job->chunk;
    nb_buf_add_str(out, choice->head);
    nb_buf_add_c(out, "\"delta\":{");
    return out;
}

void nb_openai_chat_role_chunk(nb_choice *choice)
{
    nb_buf_add_c(begin_chunk(choice), "\"role\":\"assistant\",\"content\":\"\"}");
    end_chunk(choice, NULL);
}

static void add_call_begin(nb_buf *out, nb_choice *choice, const nb_part *part)
{
    char id[NB_CALL_ID_BYTES];
    nb_openai_call_id(choice, part->tool_index, id);
    nb_buf_printf(out, "\"tool_calls\":[{\"index\":%d,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
                  part->tool_index, id);
    nb_openai_string(out, part->text);
    nb_buf_add_c(out, ",\"arguments\":\"\"}}]");
}

void nb_openai_chat_part_chunk(nb_choice *choice, const nb_part *part)
{
    nb_buf *out = begin_chunk(choice);
    switch (part->kind) {
    case NB_PART_CONTENT:
        nb_buf_add_c(out, "\"content\":");
        nb_openai_string(out, part->text);
        break;
    case NB_PART_REASONING: // both names are in use
        nb_buf_add_c(out, "\"reasoning_content\":");
        nb_openai_string(out, part->text);
        nb_buf_add_c(out, ",\"reasoning\":");
        nb_openai_string(out, part->text);
        break;
    case NB_PART_TOOL_BEGIN: add_call_begin(out, choice, part); break;
    default:
        nb_buf_printf(out, "\"tool_calls\":[{\"index\":%d,\"function\":{\"arguments\":", part->tool_index);
        nb_openai_string(out, part->text);
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

static void add_calls(nb_buf *out, const nb_chat_choice *own)
{
    nb_buf_add_c(out, ",\"tool_calls\":[");
    for (int i = 0; i < own->n_call; i++) {
        nb_buf_printf(out, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", i ? "," : "",
                      own->call[i].id.ptr);
        nb_openai_string(out, own->call[i].name);
        nb_buf_add_c(out, ",\"arguments\":");
        nb_openai_string(out, nb_buf_str(&own->call[i].arguments));
        nb_buf_add_c(out, "}}");
    }
    nb_buf_add_c(out, "]");
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
static void add_message(nb_buf *out, const nb_chat_choice *own)
{
    nb_buf_add_c(out, "{\"role\":\"assistant\"");
    if (own->content.len == 0 && own->n_call == 0)
        nb_buf_add_c(out, ",\"content\":\"\"");
    else
        add_text_or_null(out, "content", &own->content);
    add_text_or_null(out, "reasoning_content", &own->reasoning);
    add_text_or_null(out, "reasoning", &own->reasoning);
    nb_buf_add_c(out, ",\"refusal\":null");
    if (own->n_call) add_calls(out, own);
    nb_buf_add_c(out, "}");
}

static void add_choice(nb_buf *out, const nb_choice *choice)
{
    nb_buf_printf(out, "{\"index\":%d,\"message\":", choice->index);
    add_message(out, choice->own);
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
