// The engine's thread. Its loop is: take letters, plan and submit a step, wait for the step before it, digest. So the
// device always has the next step when it ends one, and the host's work hides behind the device's.
#include "engine/engine.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_internal.h"

static void accept_job(nb_engine *engine, nb_job *job)
{
    job->place = engine->n_job;
    engine->job[engine->n_job++] = job;
    nb_scheduler_add(&engine->scheduler, &job->seq);
}

static void end_job(nb_engine *engine, nb_job *job, nb_finish finish, const char *message)
{
    nb_event event = nb_engine_event(job, finish, nb_clock_us());
    event.message = message;
    nb_engine_finish(engine, job, &event);
}

static void cancel_job(nb_engine *engine, uint64_t id)
{
    for (int i = 0; i < engine->n_job; i++)
        if (engine->job[i]->seq.id == id) {
            end_job(engine, engine->job[i], NB_FINISH_CANCELLED, NULL);
            return;
        }
}

static void end_all(nb_engine *engine, nb_finish finish, const char *message)
{
    while (engine->n_job > 0) end_job(engine, engine->job[engine->n_job - 1], finish, message);
}

// A failed device can still hold jobs that were put before the mailbox learned of it.
static void read_letters(nb_engine *engine)
{
    nb_letters *letters = &engine->letters;
    bool idle = engine->n_job == 0 && engine->n_flight == 0;
    nb_mailbox_take(&engine->mailbox, idle, letters);
    for (nb_job *job = letters->job, *next; job; job = next) {
        next = job->next;
        accept_job(engine, job);
    }
    for (int i = 0; i < letters->n_cancel; i++) cancel_job(engine, letters->cancel[i]);
    if (letters->closing && !letters->drain) end_all(engine, NB_FINISH_CANCELLED, NULL);
    if (engine->stats.failed) end_all(engine, NB_FINISH_ERROR, engine->error.text);
}

static void count_step(nb_engine_stats *stats, int n_tok)
{
    int size = 0;
    while (size < NB_STEP_SIZES - 1 && (1 << size) < n_tok) size++;
    stats->n_step++;
    stats->n_step_tok += (uint64_t)n_tok;
    stats->step_by_tok[size]++;
}

static int submit(nb_engine *engine, const nb_plan *plan, nb_error *err)
{
    nb_flight *flight = &engine->flight[(engine->flight_first + engine->n_flight) % NB_IN_FLIGHT];
    const nb_batch *batch = nb_batch_write(&engine->writer, plan);
    NB_TRY(engine->device->ops->submit(engine->device, batch, err));
    flight->n_item = plan->n_item;
    memcpy(flight->item, plan->item, sizeof(plan->item[0]) * (size_t)plan->n_item);
    engine->n_flight++;
    int64_t now_us = nb_clock_us();
    for (int i = 0; i < plan->n_item; i++) {
        nb_job *job = nb_job_of(plan->item[i].seq);
        job->n_flight++;
        if (job->scheduled_us == 0) job->scheduled_us = now_us;
    }
    count_step(&engine->stats, plan->n_tok);
    nb_scheduler_commit(&engine->scheduler);
    return NB_OK;
}

// A running sequence needs the token of the step under way and would sit out one that is planned now.
static bool has_waiting_decode(const nb_engine *engine)
{
    const nb_queue *running = &engine->scheduler.running;
    for (int i = 0; i < running->n; i++)
        if (running->at[i]->known_input && running->at[i]->n_pending > 0) return true;
    return false;
}

// Planning ahead hides the host's work, a small part of a step; where it would halve the speed of a sequence the step
// under way is waited for instead.
static int step(nb_engine *engine, nb_error *err)
{
    if (engine->n_flight > 0 && has_waiting_decode(engine)) NB_TRY(nb_engine_digest(engine, err));
    const nb_plan *plan = nb_scheduler_plan(&engine->scheduler);
    int n_ahead = plan->n_item > 0 ? 1 : 0;
    assert(n_ahead > 0 || engine->n_flight > 0 || engine->n_job == 0); // else nothing would ever happen again
    if (n_ahead > 0) NB_TRY(submit(engine, plan, err));
    if (engine->n_flight > n_ahead) NB_TRY(nb_engine_digest(engine, err));
    return NB_OK;
}

static void publish(nb_engine *engine)
{
    nb_engine_stats *stats = &engine->stats;
    const nb_scheduler *s = &engine->scheduler;
    assert(nb_scheduler_balanced(s));
    stats->n_running = s->running.n;
    stats->n_waiting = s->waiting.n;
    stats->n_page_free = s->pages.n_free;
    stats->n_page_indexed = s->pages.idle.n;
    stats->n_slot_free = s->slots.n_free;
    stats->n_slot_saved = s->slots.saved.n;
    stats->n_preempted = s->n_preempted;
    stats->prefix_queries_tok = s->prefix_queries_tok;
    stats->prefix_hits_tok = s->prefix_hits_tok;
    nb_mailbox_publish(&engine->mailbox, stats);
}

static void fail(nb_engine *engine)
{
    nb_log(NB_LOG_ERROR, "the device failed", "error=\"%s\" sequences=%d tokens=%d", engine->error.text,
           engine->writer.batch.n_seq, engine->writer.batch.n_tok);
    engine->stats.failed = true;
    publish(engine); // before anybody is told, so that nobody asks again
    end_all(engine, NB_FINISH_ERROR, engine->error.text);
    for (; engine->n_flight > 0; engine->n_flight--) {
        nb_flight *flight = &engine->flight[engine->flight_first];
        for (int i = 0; i < flight->n_item; i++) nb_engine_leave_flight(nb_job_of(flight->item[i].seq));
        engine->flight_first = (engine->flight_first + 1) % NB_IN_FLIGHT;
    }
}

static void check_idle(const nb_engine *engine)
{
    if (nb_scheduler_check(&engine->scheduler)) return;
    nb_log(NB_LOG_ERROR, "pages or slots were lost", NULL);
    abort();
}

static void *run(void *user)
{
    nb_engine *engine = user;
    for (;;) {
        read_letters(engine);
        if (engine->n_job == 0 && engine->n_flight == 0 && engine->letters.closing) break;
        if (!engine->stats.failed && step(engine, &engine->error) != NB_OK) fail(engine);
        publish(engine);
        if (engine->n_job == 0 && engine->n_flight == 0) check_idle(engine);
    }
    publish(engine);
    return NULL;
}

static int check_options(const nb_engine_options *o, const nb_model *model, nb_error *err)
{
    if (o->max_model_len < 2 || o->max_model_len > INT32_MAX - NB_PAGE_TOKENS)
        return nb_error_set(err, NB_ERR_INPUT, "max_model_len is %" PRId64 "; it must be 2 or more", o->max_model_len);
    if (o->n_draft < 0 || o->n_draft > NB_DRAFT_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "%d tokens cannot be drafted at once; at most %d can", o->n_draft,
                            NB_DRAFT_MAX);
    if (o->max_num_seqs < 1 || o->max_num_batched_tokens < 1 || o->max_waiting < 0 || o->n_page < 0)
        return nb_error_set(err, NB_ERR_INPUT,
                            "max_num_seqs and max_num_batched_tokens must be 1 or more, and no size may be negative");
    bool saves = o->enable_prefix_caching && model->n_deltanet > 0 && o->n_snapshot != 0;
    if (saves && (o->snapshot_grid < 1 || o->snapshot_grid % NB_PAGE_TOKENS != 0))
        return nb_error_set(err, NB_ERR_INPUT, "the distance of saved states is %d tokens; it must be a multiple of %d",
                            o->snapshot_grid, NB_PAGE_TOKENS);
    return NB_OK;
}

// A model with DeltaNet layers and no room for saved states could never use a hit.
static nb_scheduler_options scheduler_options(const nb_engine_options *o, const nb_model *model)
{
    int n_snapshot = o->enable_prefix_caching && model->n_deltanet > 0 ? o->n_snapshot : 0;
    int least_tok = o->max_num_seqs * (1 + o->n_draft) + NB_PAGE_TOKENS;
    return (nb_scheduler_options){
        .max_seq = o->max_num_seqs,
        .max_alive = o->max_num_seqs + o->max_waiting,
        .n_draft = o->n_draft,
        .max_tok = o->max_num_batched_tokens > least_tok ? o->max_num_batched_tokens : least_tok,
        .n_slot = o->max_num_seqs + (n_snapshot > 0 ? n_snapshot : 0),
        .snapshot_grid = o->snapshot_grid,
        .prefix_caching = o->enable_prefix_caching && (model->n_deltanet == 0 || n_snapshot != 0),
        .needs_state = model->n_deltanet > 0,
    };
}

static int max_row(const nb_scheduler_options *s)
{
    return s->max_seq * (1 + s->n_draft) + NB_PAGE_TOKENS;
}

static int reserve(nb_engine *engine, const nb_engine_options *options, nb_scheduler_options *s, nb_error *err)
{
    nb_reserve want = {.kv = options->kv,
                       .n_slot = s->n_slot,
                       .fit_saved = s->prefix_caching && s->needs_state && options->n_snapshot < 0,
                       .n_page = options->n_page,
                       .max_tok = s->max_tok,
                       .max_seq = s->max_seq,
                       .max_row = max_row(s)};
    NB_TRY(engine->device->ops->reserve(engine->device, &want, err));
    nb_memory memory = {0};
    engine->device->ops->memory(engine->device, &memory);
    s->n_page = memory.n_page, s->n_slot = memory.n_slot;
    if (s->n_page < 1) return nb_error_set(err, NB_ERR_MEMORY, "the device has no room for a single KV page");
    int64_t most = (int64_t)s->n_page * NB_PAGE_TOKENS;
    engine->context = options->max_model_len < most ? options->max_model_len : most;
    return NB_OK;
}

static void open_parts(nb_engine *engine, const nb_scheduler_options *options)
{
    nb_scheduler_open(&engine->scheduler, options);
    nb_batch_writer_open(&engine->writer, engine->vocab_size, options->max_tok, options->max_seq, max_row(options));
    nb_mailbox_open(&engine->mailbox, options->max_alive);
    engine->job = nb_alloc(sizeof(engine->job[0]) * (size_t)options->max_alive);
    for (int i = 0; i < NB_IN_FLIGHT; i++)
        engine->flight[i].item = nb_alloc(sizeof(nb_plan_item) * (size_t)options->max_seq);
    engine->stats.n_page = options->n_page;
    engine->stats.n_slot = options->n_slot;
    engine->stats.n_slot_saved_most = options->n_slot - options->max_seq;
    engine->stats.n_draft = options->n_draft;
    engine->stats.max_model_len = engine->context;
    engine->stats.prefix_caching = options->prefix_caching;
    publish(engine);
}

static void close_parts(nb_engine *engine)
{
    nb_scheduler_close(&engine->scheduler);
    nb_batch_writer_close(&engine->writer);
    nb_mailbox_close(&engine->mailbox);
    for (int i = 0; i < NB_IN_FLIGHT; i++) free(engine->flight[i].item);
    free(engine->letters.cancel);
    free(engine->job);
    free(engine);
}

int nb_engine_open(nb_device *device, const nb_model *model, const nb_engine_options *options, nb_engine **out,
                   nb_error *err)
{
    NB_TRY(check_options(options, model, err));
    nb_engine *engine = nb_alloc(sizeof(*engine));
    engine->device = device;
    engine->vocab_size = model->config.vocab_size;
    engine->n_draft = options->n_draft;
    nb_scheduler_options s = scheduler_options(options, model);
    int code = reserve(engine, options, &s, err);
    if (code != NB_OK) {
        free(engine);
        return code;
    }
    open_parts(engine, &s);
    if (pthread_create(&engine->thread, NULL, run, engine) != 0) {
        close_parts(engine);
        return nb_error_set(err, NB_ERR_MEMORY, "the system refuses another thread");
    }
    *out = engine;
    return NB_OK;
}

int nb_engine_submit(nb_engine *engine, const nb_request *request, uint64_t *id, nb_error *err)
{
    return nb_engine_submit_all(engine, request, 1, id, err);
}

int nb_engine_submit_all(nb_engine *engine, const nb_request *request, int n, uint64_t *id, nb_error *err)
{
    nb_job *first = NULL, **last = &first;
    for (int i = 0; i < n; i++) NB_TRY(nb_job_check(&request[i], engine->vocab_size, engine->context, err));
    for (int i = 0; i < n; i++, last = &(*last)->next)
        *last = nb_job_open(&request[i], engine->context, engine->n_draft, nb_clock_us());
    int code = nb_mailbox_put(&engine->mailbox, first, n, id, err);
    while (code != NB_OK && first) {
        nb_job *next = first->next;
        nb_job_close(first);
        first = next;
    }
    return code;
}

void nb_engine_cancel(nb_engine *engine, uint64_t id)
{
    nb_mailbox_cancel(&engine->mailbox, id);
}

void nb_engine_stats_read(nb_engine *engine, nb_engine_stats *out)
{
    nb_mailbox_read(&engine->mailbox, out);
}

void nb_engine_close(nb_engine *engine, bool drain)
{
    nb_mailbox_shut(&engine->mailbox, drain);
    pthread_join(engine->thread, NULL);
    close_parts(engine);
}
