// Messages as Anthropic's JSON: the message, its content blocks, and the events of a stream.
#include "serve/messages_api.h"

#include <string.h>

#include "serve/api_internal.h"
#include "serve/sse.h"

// ---- Blocks

static void add_tool_use(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, nb_str input)
{
    char id[NB_CHAT_ID_BYTES];
    nb_chat_item_id(choice, item, "toolu_", id);
    nb_buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", id);
    nb_openai_string(out, item->name);
    nb_buf_add_c(out, ",\"input\":");
    nb_buf_add_str(out, input.len ? input : NB_STR("{}"));
    nb_buf_add_c(out, "}");
}

// Clients send thinking back only with a signature. Ours names the message and proves nothing.
static void add_block(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, bool begun)
{
    nb_str text = begun ? (nb_str){0} : nb_buf_str(&item->text);
    if (item->kind == NB_PART_TOOL_BEGIN) {
        add_tool_use(out, choice, item, text);
        return;
    }
    bool thinks = item->kind == NB_PART_REASONING;
    nb_buf_add_c(out, thinks ? "{\"type\":\"thinking\",\"thinking\":" : "{\"type\":\"text\",\"text\":");
    nb_openai_string(out, text);
    if (thinks) nb_buf_printf(out, ",\"signature\":%s", begun ? "\"\"" : choice->job->id_json.ptr);
    nb_buf_add_c(out, "}");
}

// ---- The message

static void add_usage(nb_buf *out, const nb_choice *choice)
{
    const nb_usage *u = &choice->usage;
    nb_buf_printf(out,
                  "{\"input_tokens\":%lld,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%lld,"
                  "\"output_tokens\":%lld}",
                  (long long)(u->n_prompt - u->n_cached), (long long)u->n_cached, (long long)u->n_output);
}

static const char *stop_reason(const nb_choice *choice)
{
    const nb_messages_job *own = choice->job->own;
    if (!strcmp(choice->finish, "tool_calls")) return "tool_use";
    if (!strcmp(choice->finish, "length")) return own->is_clipped ? "model_context_window_exceeded" : "max_tokens";
    return choice->stop_index >= 0 ? "stop_sequence" : "end_turn";
}

static void add_stop(nb_buf *out, const nb_choice *choice)
{
    nb_buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_reason(choice));
    if (choice->stop_index >= 0)
        nb_openai_string(out, choice->job->generation->stop[choice->stop_index]);
    else
        nb_buf_add_c(out, "null");
}

static void add_message(nb_buf *out, const nb_choice *choice, bool begun)
{
    const nb_chat_answer *answer = choice->own;
    nb_buf_printf(out, "{\"id\":%s,\"type\":\"message\",\"role\":\"assistant\",\"model\":", choice->job->id_json.ptr);
    nb_openai_string(out, nb_api_model(choice->job->api));
    nb_buf_add_c(out, ",\"content\":[");
    for (int i = 0; !begun && i < answer->n_item; i++) {
        if (i) nb_buf_add_c(out, ",");
        add_block(out, choice, &answer->item[i], false);
    }
    nb_buf_add_c(out, "],");
    if (begun)
        nb_buf_add_c(out, "\"stop_reason\":null,\"stop_sequence\":null");
    else
        add_stop(out, choice);
    nb_buf_add_c(out, ",\"usage\":");
    add_usage(out, choice);
    nb_buf_add_c(out, "}");
}

void nb_anthropic_reply(nb_api_job *job, nb_buf *out)
{
    add_message(out, &job->choice[0], false);
}

// ---- Events

void nb_anthropic_begin(nb_choice *choice)
{
    nb_api_job *job = choice->job;
    nb_buf_add_c(&job->chunk, "{\"type\":\"message_start\",\"message\":");
    add_message(&job->chunk, choice, true);
    nb_buf_add_c(&job->chunk, "}");
    nb_api_job_send(job, "message_start");
    nb_buf_add_c(&job->chunk, "{\"type\":\"ping\"}");
    nb_api_job_send(job, "ping");
}

void nb_anthropic_block_begin(nb_choice *choice, const nb_chat_item *item)
{
    nb_buf *out = &choice->job->chunk;
    nb_buf_printf(out, "{\"type\":\"content_block_start\",\"index\":%d,\"content_block\":", item->index);
    add_block(out, choice, item, true);
    nb_buf_add_c(out, "}");
    nb_api_job_send(choice->job, "content_block_start");
}

static void send_delta(nb_choice *choice, const nb_chat_item *item, const char *type, const char *key, nb_str text)
{
    nb_buf *out = &choice->job->chunk;
    nb_buf_printf(out, "{\"type\":\"content_block_delta\",\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":", item->index,
                  type, key);
    nb_openai_string(out, text);
    nb_buf_add_c(out, "}}");
    nb_api_job_send(choice->job, "content_block_delta");
}

void nb_anthropic_block_text(nb_choice *choice, const nb_chat_item *item, nb_str piece)
{
    switch (item->kind) {
    case NB_PART_REASONING: send_delta(choice, item, "thinking_delta", "thinking", piece); break;
    case NB_PART_CONTENT: send_delta(choice, item, "text_delta", "text", piece); break;
    default: send_delta(choice, item, "input_json_delta", "partial_json", piece);
    }
}

void nb_anthropic_block_end(nb_choice *choice, const nb_chat_item *item)
{
    nb_api_job *job = choice->job;
    if (item->kind == NB_PART_REASONING) send_delta(choice, item, "signature_delta", "signature", nb_str_from(job->id));
    nb_buf_printf(&job->chunk, "{\"type\":\"content_block_stop\",\"index\":%d}", item->index);
    nb_api_job_send(job, "content_block_stop");
}

void nb_anthropic_end(nb_api_job *job)
{
    const nb_choice *choice = &job->choice[0];
    nb_buf *out = &job->chunk;
    nb_buf_clear(out);
    if (job->fail_status) {
        nb_http_error_json(job->exchange, out, job->fail_status, NULL, NULL, job->fail_text);
        nb_sse_send(job->exchange, "error", nb_buf_str(out)); // also where the rest was cancelled
        return;
    }
    nb_buf_add_c(out, "{\"type\":\"message_delta\",\"delta\":{");
    add_stop(out, choice);
    nb_buf_add_c(out, "},\"usage\":");
    add_usage(out, choice);
    nb_buf_add_c(out, "}");
    nb_api_job_send(job, "message_delta");
    nb_buf_add_c(out, "{\"type\":\"message_stop\"}");
    nb_api_job_send(job, "message_stop");
}
