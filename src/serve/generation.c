// A completion request from submission to its answer. See api_internal.h for the threads.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/api_internal.h"

static void cancel_all(nb_generation *g)
{
    for (int i = 0; i < g->n_choice; i++) {
        uint64_t id = atomic_load(&g->choice[i].engine_id);
        if (id) nb_engine_cancel(g->api->options.engine, id);
    }
}

static void on_gone(void *user)
{
    nb_generation *g = user;
    atomic_store(&g->gone, true);
    cancel_all(g);
}

static void close_generation(nb_generation *g)
{
    for (int i = 0; i < g->n_choice; i++) nb_choice_close(&g->choice[i]);
    free(g->choice);
    nb_api_request_drop(&g->request);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static void answer(nb_generation *g)
{
    const nb_fault *fault = g->fault.status ? &g->fault : NULL;
    if (!g->streaming) {
        if (fault)
            nb_http_error(g->exchange, fault->status, fault->param, fault->code, "%s", fault->err.text);
        else
            nb_reply_whole(g);
        return;
    }
    if (fault) {
        nb_buf out = {0};
        nb_http_error_json(&out, fault->status, fault->param, fault->code, fault->err.text);
        nb_sse_send(g->exchange, nb_buf_str(&out));
        nb_buf_drop(&out);
    } else if (g->request.include_usage) {
        nb_reply_usage_chunk(g);
    }
    nb_sse_done(g->exchange);
}

static void count_finish(const nb_choice *c, const nb_event *event)
{
    const nb_generation *g = c->generation;
    if (!g->api->options.metrics) return;
    nb_metrics_request request = {.n_prompt = event->n_prompt,
                                  .n_output = c->n_output,
                                  .max_new = (int32_t)g->request.max_tokens,
                                  .n_choice = c->index == 0 ? g->n_choice : 0,
                                  .queued_us = event->queued_us,
                                  .first_us = event->first_us,
                                  .now_us = event->now_us};
    nb_metrics_finish(g->api->options.metrics, &request);
}

static void finish_choice(nb_choice *c, const nb_event *event)
{
    nb_generation *g = c->generation;
    c->finish = event->finish;
    nb_choice_end(c);
    count_finish(c, event);
    if (event->finish == NB_FINISH_ERROR && !g->fault.status)
        nb_fault_set(&g->fault, 500, NULL, NULL, "%s", event->message ? event->message : "the engine failed");
    else if (g->streaming)
        nb_reply_finish_chunk(c);
    g->n_open--;
}

static void on_event(void *user, const nb_event *event)
{
    nb_choice *c = user;
    nb_generation *g = c->generation;
    pthread_mutex_lock(&g->lock);
    bool was_stopped = c->stopped;
    nb_choice_take(c, event);
    if (event->finish == NB_FINISH_NONE && c->stopped && !was_stopped)
        nb_engine_cancel(g->api->options.engine, event->request);
    if (event->finish == NB_FINISH_NONE && atomic_load(&g->gone))
        nb_engine_cancel(g->api->options.engine, event->request);
    if (event->finish != NB_FINISH_NONE) finish_choice(c, event);
    bool last = g->n_open == 0;
    pthread_mutex_unlock(&g->lock);
    if (!last) return;
    answer(g);
    close_generation(g);
}

static int submit(nb_generation *g, nb_choice *c)
{
    const nb_api_request *r = &g->request;
    int64_t room = g->api->options.max_model_len - c->prompt->ids.n;
    nb_request request = {.prompt = c->prompt->ids.id,
                          .n_prompt = (int32_t)c->prompt->ids.n,
                          .max_new = (int32_t)(r->max_tokens < 0 ? room : r->max_tokens),
                          .min_new = r->min_tokens,
                          .sampling = r->sampling,
                          .n_bias = r->n_bias,
                          .bias = r->bias,
                          .n_stop = r->n_stop_tok,
                          .n_top = r->n_top,
                          .n_prompt_top = r->n_prompt_top,
                          .on_event = on_event,
                          .user = c};
    request.sampling.seed += (uint64_t)(c->index % r->n);
    memcpy(request.stop_tok, r->stop_tok, sizeof request.stop_tok);
    uint64_t id;
    nb_error err;
    int code = nb_engine_submit(g->api->options.engine, &request, &id, &err);
    if (code == NB_OK) {
        atomic_store(&c->engine_id, id);
        if (atomic_load(&g->gone)) nb_engine_cancel(g->api->options.engine, id);
        return NB_OK;
    }
    int status = code == NB_ERR_LIMIT ? 429 : code == NB_ERR_INPUT ? 400 : 503;
    return nb_fault_set(&g->fault, status, NULL, NULL, "%s", err.text);
}

static nb_generation *open_generation(nb_api *api, nb_http_exchange *exchange, nb_api_request *request)
{
    nb_generation *g = nb_alloc(sizeof *g);
    g->api = api;
    g->exchange = exchange;
    g->request = *request;
    g->created = nb_clock_unix();
    snprintf(g->id, sizeof g->id, "%s-%016llx%08x", request->chat ? "chatcmpl" : "cmpl",
             (unsigned long long)nb_clock_us(), (unsigned)((uintptr_t)g >> 4));
    pthread_mutex_init(&g->lock, NULL);
    g->n_choice = request->n * request->n_prompt;
    g->choice = nb_alloc(sizeof *g->choice * (size_t)g->n_choice);
    for (int i = 0; i < g->n_choice; i++) nb_choice_open(&g->choice[i], g, i, &g->request.prompt[i / request->n]);
    return g;
}

void nb_generation_begin(nb_api *api, nb_http_exchange *exchange, nb_api_request *request)
{
    nb_generation *g = open_generation(api, exchange, request);
    nb_http_on_gone(exchange, on_gone, g);
    pthread_mutex_lock(&g->lock);
    int n = 0;
    while (n < g->n_choice && submit(g, &g->choice[n]) == NB_OK) n++;
    g->n_open = n;
    if (n < g->n_choice)
        cancel_all(g);
    else if (g->request.stream) {
        nb_sse_open(exchange);
        g->streaming = true;
    }
    pthread_mutex_unlock(&g->lock);
    if (n > 0) return; // from here on the events own it
    answer(g);
    close_generation(g);
}
