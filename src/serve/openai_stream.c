// See openai_stream.h.
#include "serve/openai_stream.h"

#include "serve/api_internal.h"
#include "serve/sse.h"

static void add_head(nb_buf *out, const nb_api_job *job)
{
    nb_buf_printf(out, "{\"id\":%s,\"object\":\"%s\",\"created\":%lld,\"model\":", job->id_json.ptr,
                  job->kind->chunk_object, (long long)job->created);
    nb_openai_string(out, nb_api_model(job->api));
    nb_buf_add_c(out, ",\"choices\":[");
}

// A stream has many chunks: what they begin with is written once.
void nb_openai_stream_head(nb_choice *choice)
{
    nb_api_job *job = choice->job;
    if (!choice->head.ptr) {
        add_head(&job->chunk, job);
        nb_buf_printf(&job->chunk, "{\"index\":%d,", choice->index);
        choice->head = nb_arena_str(job->arena, nb_buf_str(&job->chunk));
    } else {
        nb_buf_add_str(&job->chunk, choice->head);
    }
}

void nb_openai_stream_end(nb_api_job *job)
{
    if (job->fail_status) {
        nb_buf_clear(&job->chunk);
        nb_http_error_json(job->exchange, &job->chunk, job->fail_status, NULL, NULL, job->fail_text);
        nb_sse_send(job->exchange, NULL, nb_buf_str(&job->chunk)); // also where the rest was cancelled
    } else if (job->generation->include_usage) {
        add_head(&job->chunk, job);
        nb_buf_add_c(&job->chunk, "],\"usage\":");
        nb_api_job_add_usage(&job->chunk, job);
        nb_buf_add_c(&job->chunk, "}");
        nb_api_job_send(job, NULL);
    }
    nb_sse_send(job->exchange, NULL, NB_STR("[DONE]"));
}
