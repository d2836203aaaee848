// Responses as streams of events: {"type", "sequence_number", ...}.
#include "serve/responses_api.h"

#include <string.h>

#include "serve/sse.h"

static nb_buf *begin_event(nb_api_job *job, const char *name)
{
    nb_responses_job *own = job->own;
    nb_buf_printf(&job->chunk, "{\"type\":\"%s\",\"sequence_number\":%lld", name, (long long)own->n_event++);
    return &job->chunk;
}

// Text that is new.
static void send_event(nb_api_job *job, const char *name)
{
    nb_buf_add_c(&job->chunk, "}");
    nb_api_job_send(job, name);
}

// All other events repeat the request or the answer, several times in a row.
static void send_repeated(nb_api_job *job, const char *name)
{
    nb_http_stream_allow(job->exchange, job->chunk.len);
    send_event(job, name);
}

static void send_response(nb_api_job *job, const char *name, const char *status)
{
    nb_buf *out = begin_event(job, name);
    nb_buf_add_c(out, ",\"response\":");
    nb_openai_responses_add(out, job, status);
    send_repeated(job, name);
}

static void send_item(nb_choice *choice, const nb_chat_item *item, const char *name, bool begun)
{
    nb_buf *out = begin_event(choice->job, name);
    nb_buf_printf(out, ",\"output_index\":%d,\"item\":", item->index);
    nb_openai_responses_add_item(out, choice, item, begun);
    send_repeated(choice->job, name);
}

// An event about an item: its id and place, and the place of its only part if it has parts.
static nb_buf *begin_inside(nb_choice *choice, const nb_chat_item *item, const char *name)
{
    char id[NB_CHAT_ID_BYTES];
    const nb_responses_part *part = nb_openai_responses_part(choice, item);
    nb_buf *out = begin_event(choice->job, name);
    nb_openai_responses_item_id(choice, item, id);
    nb_buf_printf(out, ",\"item_id\":\"%s\",\"output_index\":%d", id, item->index);
    if (part) nb_buf_printf(out, ",\"%s\":0", part->index);
    return out;
}

static void send_part(nb_choice *choice, const nb_chat_item *item, const char *name, nb_str text)
{
    nb_buf *out = begin_inside(choice, item, name);
    nb_buf_add_c(out, ",\"part\":");
    nb_openai_responses_add_part(out, choice, item, text);
    send_repeated(choice->job, name);
}

static void add_text(nb_choice *choice, const nb_chat_item *item, const char *name, const char *key, nb_str text)
{
    nb_buf *out = begin_inside(choice, item, name);
    if (item->kind == NB_PART_CONTENT) nb_buf_add_c(out, ",\"logprobs\":[]");
    nb_buf_printf(out, ",\"%s\":", key);
    nb_openai_string(out, text);
}

void nb_openai_responses_begin(nb_choice *choice)
{
    send_response(choice->job, "response.created", "in_progress");
    send_response(choice->job, "response.in_progress", "in_progress");
}

void nb_openai_responses_item_begin(nb_choice *choice, const nb_chat_item *item)
{
    const nb_responses_part *part = nb_openai_responses_part(choice, item);
    send_item(choice, item, "response.output_item.added", true);
    if (part) send_part(choice, item, part->added, (nb_str){0});
}

void nb_openai_responses_item_text(nb_choice *choice, const nb_chat_item *item, nb_str piece)
{
    const nb_responses_part *part = nb_openai_responses_part(choice, item);
    const char *name = part ? part->delta : "response.function_call_arguments.delta";
    add_text(choice, item, name, "delta", piece);
    send_event(choice->job, name);
}

static void send_call_done(nb_choice *choice, const nb_chat_item *item)
{
    static const char name[] = "response.function_call_arguments.done";
    nb_str space, function;
    nb_buf *out = begin_inside(choice, item, name);
    nb_openai_responses_call_name(choice, item, &space, &function);
    nb_buf_add_c(out, ",\"name\":");
    nb_openai_string(out, function);
    nb_buf_add_c(out, ",\"arguments\":");
    nb_openai_string(out, nb_buf_str(&item->text));
    send_repeated(choice->job, name);
}

void nb_openai_responses_item_end(nb_choice *choice, const nb_chat_item *item)
{
    const nb_responses_part *part = nb_openai_responses_part(choice, item);
    nb_str text = nb_buf_str(&item->text);
    if (part) {
        add_text(choice, item, part->text_done, "text", text);
        send_repeated(choice->job, part->text_done);
        send_part(choice, item, part->done, text);
    } else {
        send_call_done(choice, item);
    }
    send_item(choice, item, "response.output_item.done", false);
}

void nb_openai_responses_end(nb_api_job *job)
{
    const char *status = nb_openai_responses_status(job);
    const char *name = !strcmp(status, "failed")       ? "response.failed"
                       : !strcmp(status, "incomplete") ? "response.incomplete"
                                                       : "response.completed";
    nb_buf_clear(&job->chunk);
    nb_buf *out = begin_event(job, name);
    nb_buf_add_c(out, ",\"response\":");
    nb_openai_responses_add(out, job, status);
    nb_buf_add_c(out, "}");
    nb_http_stream_allow(job->exchange, out->len);
    nb_sse_send(job->exchange, name, nb_buf_str(out)); // also where the rest was cancelled
}
