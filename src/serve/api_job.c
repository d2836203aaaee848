// Life of a job. See api_job.h.
#include "serve/api_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/api_constrain.h"
#include "serve/api_internal.h"
#include "serve/sse.h"

enum { CLIENT_GONE = 499 }; // nginx's status for it: nobody is left to read it but the log

// ---- The end

static void fail(nb_api_job *job, int status, const char *text)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(&job->fail_status, &none, status)) return;
    snprintf(job->fail_text, sizeof(job->fail_text), "%s", text);
}

static double milliseconds(int64_t from_us, int64_t to_us)
{
    return to_us > from_us ? 1e-3 * (double)(to_us - from_us) : 0;
}

// The first choice's waiting and the time to its first token; all of the request in the end.
static void log_end(const nb_api_job *job)
{
    nb_usage total = {0};
    for (int i = 0; i < job->n_choice; i++) total.n_output += job->choice[i].usage.n_output;
    const nb_choice *first = &job->choice[0];
    nb_log(NB_LOG_INFO, "generated",
           "id=%s choices=%d prompt=%lld cached=%lld tokens=%lld finish=%s wait_ms=%.1f first_ms=%.1f ms=%.1f", job->id,
           job->n_choice, (long long)first->usage.n_prompt, (long long)first->usage.n_cached, (long long)total.n_output,
           first->finish ? first->finish : "none", milliseconds(first->queued_us, first->scheduled_us),
           milliseconds(first->queued_us, first->first_us),
           milliseconds(nb_http_begin_us(job->exchange), nb_clock_us()));
}

static void measure_prompts(const nb_api_job *job)
{
    nb_metrics *metrics = job->api->options.metrics;
    int n = (int)job->generation->n;
    if (!metrics || !atomic_load(&job->choice[0].id)) return; // the engine had no room
    for (int first = 0; first < job->n_choice; first += n) {
        int64_t longest = 0;
        for (int i = first; i < first + n; i++)
            if (job->choice[i].usage.n_output > longest) longest = job->choice[i].usage.n_output;
        nb_metrics_prompt(metrics, n, longest);
    }
}

static void free_job(nb_api_job *job)
{
    if (job->kind->drop) job->kind->drop(job);
    for (int i = 0; i < job->n_choice; i++) {
        nb_choice *c = &job->choice[i];
        nb_stop_drop(&c->stop);
        nb_buf_drop(&c->text);
        nb_buf_drop(&c->certain);
        nb_buf_drop(&c->logprobs);
        nb_buf_drop(&c->prompt_logprobs);
        nb_api_constrain_close(c->constraint);
    }
    for (int i = 0; i < job->n_prompt; i++) nb_ids_drop(&job->prompt[i]);
    nb_buf_drop(&job->chunk);
    json_decref(job->body);
    nb_arena_close(job->arena);
}

static void end_whole(nb_api_job *job)
{
    nb_buf out = {0};
    if (job->fail_status) {
        nb_http_error(job->exchange, job->fail_status, NULL, job->fail_status == 429 ? "queue_full" : NULL, "%s",
                      job->fail_text);
    } else {
        job->kind->reply(job, &out);
        nb_http_reply(job->exchange, 200, "application/json", nb_buf_str(&out));
    }
    nb_buf_drop(&out);
}

static void drop(nb_api_job *job)
{
    if (atomic_fetch_sub_explicit(&job->n_ref, 1, memory_order_acq_rel) > 1) return;
    if (atomic_load(&job->cancelled)) fail(job, CLIENT_GONE, "the client is gone");
    log_end(job);
    measure_prompts(job);
    if (job->streaming) {
        job->kind->end_stream(job);
        nb_http_stream_end(job->exchange);
    } else {
        end_whole(job);
    }
    free_job(job);
}

// Ids that are not known yet are cancelled by the submitting handler, which looks at `cancelled` behind the submit.
static void cancel(nb_api_job *job)
{
    atomic_store(&job->cancelled, true);
    for (int i = 0; i < job->n_choice; i++) {
        uint64_t id = atomic_load(&job->choice[i].id);
        if (id) nb_engine_cancel(job->api->options.engine, id);
    }
}

static void client_gone(void *user)
{
    cancel(user);
}

// ---- Events, on the engine's thread

void nb_api_job_send(nb_api_job *job, const char *name)
{
    if (!atomic_load(&job->cancelled) && nb_sse_send(job->exchange, name, nb_buf_str(&job->chunk)) != NB_OK)
        cancel(job);
    nb_buf_clear(&job->chunk);
}

static void begin(nb_choice *c, const nb_event *event)
{
    nb_api_job *job = c->job;
    c->begun = true;
    if (job->generation->stream && !job->streaming) {
        job->streaming = true;
        nb_sse_open(job->exchange);
    }
    job->kind->begin(c, event);
}

// One token: its text, and whether a stop string ends in it.
static void take_token(nb_choice *c, int32_t tok, const nb_row_result *detail)
{
    c->usage.n_output++;
    if (detail) c->job->kind->token(c, tok, detail);
    nb_buf_clear(&c->text);
    nb_token_stream_add(&c->tokens, tok, &c->text);
    if (c->usage.n_output < c->job->generation->min_tokens)
        nb_buf_add_str(&c->certain, nb_buf_str(&c->text));
    else
        c->stop_index = nb_stop_feed(&c->stop, nb_buf_str(&c->text), &c->certain);
    if (c->stop_index < 0) return;
    c->finish = "stop";
    c->done = true;
}

static bool is_own_stop(const nb_generation *g, int32_t tok)
{
    for (int i = 0; i < g->n_stop_tok; i++)
        if (g->stop_tok[i] == tok) return true;
    return false;
}

// The engine says that it is over: what was held back is text after all.
static void take_finish(nb_choice *c, const nb_event *event)
{
    c->finish = event->finish == NB_FINISH_STOP ? "stop" : "length";
    c->done = true;
    if (event->finish == NB_FINISH_STOP && is_own_stop(c->job->generation, event->stop_tok))
        c->stop_tok = event->stop_tok;
    nb_buf_clear(&c->text);
    nb_token_stream_end(&c->tokens, &c->text);
    c->stop_index = nb_stop_feed(&c->stop, nb_buf_str(&c->text), &c->certain);
    if (c->stop_index >= 0) c->finish = "stop";
    nb_stop_end(&c->stop, &c->certain);
}

// No text follows, and nothing is sent but the error: a response that has not begun gets its status.
static void take_failure(nb_choice *c, const nb_event *event)
{
    if (nb_api_constrain_failure(c->constraint))
        fail(c->job, 400, nb_api_constrain_failure(c->constraint));
    else if (event->finish == NB_FINISH_ERROR)
        fail(c->job, 500, event->message ? event->message : "the engine failed");
    else if (atomic_load(&c->job->cancelled))
        fail(c->job, CLIENT_GONE, "the client is gone");
    else
        fail(c->job, 503, "the request was cancelled");
    c->done = true;
}

static void digest(nb_choice *c, const nb_event *event)
{
    if (event->finish == NB_FINISH_ERROR || event->finish == NB_FINISH_CANCELLED) {
        take_failure(c, event);
        return;
    }
    const nb_api_job_kind *kind = c->job->kind;
    if (!c->begun) begin(c, event);
    nb_buf_clear(&c->certain);
    for (int i = 0; i < event->n_tok && !c->done; i++)
        take_token(c, event->tok[i], event->detail ? &event->detail[i] : NULL);
    bool stopped = c->done;
    if (!stopped && event->finish != NB_FINISH_NONE) take_finish(c, event);
    if (c->certain.len) kind->text(c, nb_buf_str(&c->certain));
    if (c->done) kind->finish(c);
    if (kind->flush) kind->flush(c);
    if (stopped && event->finish == NB_FINISH_NONE) nb_engine_cancel(c->job->api->options.engine, event->request);
}

static int64_t max_new(const nb_choice *c)
{
    int64_t wanted = c->job->generation->max_tokens;
    return wanted >= 0 ? wanted : c->job->api->options.max_model_len - c->prompt->n;
}

static void measure(nb_choice *c, const nb_event *event)
{
    nb_metrics *metrics = c->job->api->options.metrics;
    if (!metrics) return;
    if (event->n_tok > 0 && c->last_us == 0)
        nb_metrics_first_token(metrics, event->now_us - event->queued_us);
    else if (event->n_tok > 0)
        nb_metrics_next_tokens(metrics, event->now_us - c->last_us);
    if (event->n_tok > 0) c->last_us = event->now_us;
    if (event->finish == NB_FINISH_NONE) return;
    nb_metrics_finish(metrics, &(nb_metrics_request){
                                   .n_prompt = event->n_prompt,
                                   .n_cached = event->n_cached,
                                   .n_output = (int32_t)c->usage.n_output,
                                   .max_new = (int32_t)max_new(c),
                                   .finish = c->stop_index >= 0 ? NB_FINISH_STOP : event->finish,
                                   .queued_us = event->queued_us,
                                   .scheduled_us = event->scheduled_us,
                                   .first_us = event->first_us,
                                   .now_us = event->now_us,
                               });
}

static void on_event(void *user, const nb_event *event)
{
    nb_choice *c = user;
    atomic_store(&c->id, event->request); // the submitting thread may not have come to it yet
    c->usage.n_prompt = event->n_prompt;
    c->usage.n_cached = event->n_cached;
    c->queued_us = event->queued_us;
    c->scheduled_us = event->scheduled_us;
    c->first_us = event->first_us;
    if (!c->done) digest(c, event);
    measure(c, event);
    if (event->finish != NB_FINISH_NONE) drop(c->job);
}

// ---- The beginning

nb_api_job *nb_api_job_open(nb_api *api, nb_http_exchange *exchange, const nb_api_job_kind *kind, json_t *body,
                            nb_arena *arena)
{
    nb_api_job *job = NB_ARENA_ARRAY(arena, nb_api_job, 1);
    *job = (nb_api_job){
        .api = api, .exchange = exchange, .kind = kind, .body = body, .arena = arena, .created = nb_clock_unix()};
    snprintf(job->id, sizeof(job->id), "%s%s", kind->id_prefix, nb_http_id(exchange));
    nb_buf quoted = {0};
    nb_openai_string(&quoted, nb_str_from(job->id));
    job->id_json = nb_arena_str(arena, nb_buf_str(&quoted));
    nb_buf_drop(&quoted);
    atomic_init(&job->n_ref, 1);
    return job;
}

void nb_api_job_refuse(nb_api_job *job, const nb_request_error *error)
{
    nb_http_error(job->exchange, error->status, error->param[0] ? error->param : NULL, error->code, "%s",
                  error->message);
    free_job(job);
}

static int check_length(const nb_api_job *job, const nb_ids *prompt, nb_request_error *error)
{
    int64_t most = job->api->options.max_model_len, wanted = job->generation->max_tokens;
    const char *param = job->kind->param;
    if (prompt->n == 0) return nb_request_refuse(error, 400, param, NULL, "the prompt is empty");
    if (prompt->n + (wanted != 0) > most)
        return nb_request_refuse(error, 400, param, "context_length_exceeded",
                                 "This model's maximum context length is %lld tokens, but the prompt has %lld",
                                 (long long)most, (long long)prompt->n);
    if (wanted > 0 && prompt->n + wanted > most)
        return nb_request_refuse(
            error, 400, param, "context_length_exceeded",
            "This model's maximum context length is %lld tokens. However, you requested %lld tokens (%lld in the "
            "prompt, %lld in the completion)",
            (long long)most, (long long)(prompt->n + wanted), (long long)prompt->n, (long long)wanted);
    return NB_OK;
}

static int check(const nb_api_job *job, nb_request_error *error)
{
    const nb_generation *g = job->generation;
    for (int i = 0; i < job->n_prompt; i++) NB_TRY(check_length(job, &job->prompt[i], error));
    if (g->max_tokens >= 0 && g->min_tokens > g->max_tokens)
        return nb_request_refuse(error, 400, "min_tokens", NULL, "min_tokens (%lld) must be at most max_tokens (%lld)",
                                 (long long)g->min_tokens, (long long)g->max_tokens);
    int n_stop = g->n_stop_tok + (g->ignore_eos ? 0 : job->api->options.n_stop);
    if (n_stop > NB_STOP_TOKEN_MAX)
        return nb_request_refuse(error, 400, "stop_token_ids", NULL,
                                 "stop_token_ids and the model's own end tokens are more than %d", NB_STOP_TOKEN_MAX);
    return NB_OK;
}

static void make_choices(nb_api_job *job)
{
    const nb_generation *g = job->generation;
    job->n_choice = job->n_prompt * (int)g->n;
    job->choice = NB_ARENA_ARRAY(job->arena, nb_choice, job->n_choice);
    for (int i = 0; i < job->n_choice; i++) {
        nb_choice *c = &job->choice[i];
        *c = (nb_choice){.job = job, .index = i, .prompt = &job->prompt[i / g->n], .stop_index = -1, .stop_tok = -1};
        c->stop = (nb_stop){.text = g->stop, .n = g->n_stop, .include = g->include_stop};
        nb_token_stream_open(&c->tokens, job->api->options.tokenizer, !g->keep_special);
    }
}

// With a seed of its own a request draws the same alone and among other prompts; without one all choices differ.
static uint64_t choice_seed(const nb_choice *c, uint64_t seed)
{
    const nb_generation *g = c->job->generation;
    return seed + (uint64_t)(g->has_seed ? c->index % g->n : c->index);
}

// The tokens that end a choice: the request's own and the model's.
static int list_stops(const nb_api_job *job, int32_t *stop)
{
    const nb_generation *g = job->generation;
    const nb_api_options *options = &job->api->options;
    int n = 0;
    for (int i = 0; i < g->n_stop_tok; i++) stop[n++] = g->stop_tok[i];
    for (int i = 0; i < options->n_stop && !g->ignore_eos; i++) stop[n++] = options->stop_tok[i];
    return n;
}

static int open_constraints(nb_api_job *job, nb_request_error *error)
{
    int32_t stop[NB_STOP_TOKEN_MAX];
    nb_program *program;
    int n_stop = list_stops(job, stop);
    NB_TRY(nb_api_constrain_compile(job->api, job->generation, &program, error));
    int code = NB_OK;
    for (int i = 0; program && i < job->n_choice && code == NB_OK; i++)
        code = nb_api_constrain_open(&job->choice[i], program, stop, n_stop, &job->choice[i].constraint, error);
    nb_program_drop(program);
    return code;
}

static nb_request make_request(const nb_choice *c, uint64_t seed)
{
    const nb_generation *g = c->job->generation;
    nb_request r = {
        .prompt = c->prompt->id,
        .n_prompt = (int32_t)c->prompt->n,
        .max_new = (int32_t)max_new(c),
        .min_new = (int32_t)g->min_tokens,
        .sampling = g->sampling,
        .n_bias = g->n_bias,
        .bias = g->bias,
        .n_top = (int32_t)g->n_top,
        .n_prompt_top = (int32_t)g->n_prompt_top,
        .priority = (int32_t)g->priority,
        .constraint = nb_api_constrain_engine(c->constraint),
        .on_event = on_event,
        .user = (void *)c,
    };
    if (r.min_new > r.max_new) r.min_new = r.max_new;
    r.sampling.seed = choice_seed(c, seed);
    r.n_stop = list_stops(c->job, r.stop_tok);
    return r;
}

static int status_of(int code)
{
    return code == NB_ERR_LIMIT ? 429 : code == NB_ERR_INPUT ? 400 : 503;
}

// All choices are taken by the engine or none is, so a stream never breaks for want of room.
static void submit(nb_api_job *job, uint64_t seed)
{
    nb_engine *engine = job->api->options.engine;
    nb_error err = {0};
    nb_request *request = nb_alloc(sizeof(*request) * (size_t)job->n_choice);
    uint64_t *id = nb_alloc(sizeof(*id) * (size_t)job->n_choice);
    for (int i = 0; i < job->n_choice; i++) request[i] = make_request(&job->choice[i], seed);
    atomic_fetch_add(&job->n_ref, job->n_choice);
    int code = nb_engine_submit_all(engine, request, job->n_choice, id, &err);
    for (int i = 0; code == NB_OK && i < job->n_choice; i++) atomic_store(&job->choice[i].id, id[i]);
    if (code == NB_OK && atomic_load(&job->cancelled)) cancel(job);
    if (code != NB_OK) {
        atomic_fetch_sub(&job->n_ref, job->n_choice); // not the last: the handler has one
        fail(job, status_of(code), err.text);
    }
    free(request);
    free(id);
}

void nb_api_job_start(nb_api_job *job)
{
    nb_request_error error;
    int code = check(job, &error);
    if (code == NB_OK) make_choices(job);
    if (code == NB_OK) code = open_constraints(job, &error);
    if (code != NB_OK) {
        nb_api_job_refuse(job, &error);
        return;
    }
    uint64_t seed = job->generation->sampling.seed;
    if (!job->generation->has_seed && getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) seed = (uint64_t)nb_clock_us();
    nb_http_on_gone(job->exchange, client_gone, job);
    submit(job, seed);
    drop(job);
}

// ---- Parts of replies

void nb_api_job_add_usage(nb_buf *out, const nb_api_job *job)
{
    nb_usage total = {0};
    for (int i = 0; i < job->n_choice; i++) {
        const nb_usage *own = &job->choice[i].usage;
        total.n_output += own->n_output;
        if (i % job->generation->n) continue; // a prompt counts once, however many choices it has
        total.n_prompt += own->n_prompt;
        total.n_cached += own->n_cached;
    }
    nb_openai_usage(out, &total);
}

void nb_api_job_add_stop_reason(nb_buf *out, const nb_choice *c)
{
    if (c->stop_index >= 0)
        nb_openai_string(out, c->job->generation->stop[c->stop_index]);
    else if (c->stop_tok >= 0)
        nb_buf_printf(out, "%d", c->stop_tok);
    else
        nb_buf_add_c(out, "null");
}

void nb_api_job_add_prompt_logprobs(nb_buf *out, const nb_choice *c)
{
    if (c->prompt_logprobs.len)
        nb_buf_printf(out, "[null%s]", c->prompt_logprobs.ptr);
    else
        nb_buf_add_c(out, "null");
}
