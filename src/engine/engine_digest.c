// Results become tokens, tokens become events. A result may be of a sequence that finished meanwhile (it was submitted
// ahead): then it is dropped. Or of one that was preempted: its token is as good as any and is kept.
#include <assert.h>

#include "base/clock.h"
#include "engine/engine_internal.h"

nb_event nb_engine_event(const nb_job *job, nb_finish finish, int64_t now_us)
{
    const nb_sequence *seq = &job->seq;
    return (nb_event){.request = seq->id,
                      .finish = finish,
                      .stop_tok = -1,
                      .n_prompt = seq->n_prompt,
                      .n_cached = seq->n_cached > 0 ? seq->n_cached : 0,
                      .queued_us = job->accepted_us,
                      .scheduled_us = job->scheduled_us,
                      .first_us = job->first_us,
                      .now_us = now_us,
                      .n_preempted = seq->n_preempted};
}

void nb_engine_leave_flight(nb_job *job)
{
    if (--job->n_flight == 0 && job->finished) nb_job_close(job);
}

void nb_engine_finish(nb_engine *engine, nb_job *job, nb_event *event)
{
    nb_scheduler_remove(&engine->scheduler, &job->seq);
    engine->job[job->place] = engine->job[--engine->n_job];
    engine->job[job->place]->place = job->place;
    engine->stats.finished[event->finish]++;
    job->finished = true;
    nb_mailbox_leave(&engine->mailbox); // before the event, so that its receiver finds room for the next request
    job->on_event(job->user, event);
    if (job->n_flight == 0) nb_job_close(job);
}

static void take_prompt_rows(nb_job *job, const nb_plan_item *item, const nb_row_result *row)
{
    assert(item->n_prompt_row == 0 || item->prompt_row == job->seq.n_prompt_row_done);
    for (int32_t i = 0; i < item->n_prompt_row; i++) {
        nb_row_result *detail = &job->prompt_detail[job->seq.n_prompt_row_done++];
        *detail = row[i];
        detail->logits = NULL; // the device's memory
    }
}

// What the first event with a result says of the prompt, which is done now.
static void take_prompt(nb_engine *engine, const nb_job *job, nb_event *event)
{
    engine->stats.n_prompt_tok += (uint64_t)event->n_prompt;
    engine->stats.n_cached_tok += (uint64_t)event->n_cached;
    event->n_prompt_detail = job->seq.n_prompt_row_done;
    event->prompt_detail = job->prompt_detail;
}

// The n-th token of output.
static nb_finish count_output(nb_job *job, int32_t tok, int32_t n, const char **message)
{
    nb_verdict verdict = NB_VERDICT_GO_ON;
    if (job->penalized) nb_tally_add(&job->tally, tok, true);
    if (job->constrained) verdict = job->constraint.accept(job->constraint.user, tok, message);
    if (verdict == NB_VERDICT_FAILED) return NB_FINISH_ERROR;
    if (verdict == NB_VERDICT_COMPLETE) return NB_FINISH_STOP;
    return n == job->seq.limit ? NB_FINISH_LENGTH : NB_FINISH_NONE;
}

// Tokens of the step that count: the first, and the one behind each draft that was right and follows right ones.
static int count_confirmed(nb_engine *engine, const nb_job *job, const nb_plan_item *item, const nb_row_result *row)
{
    int n = 0;
    for (; n < item->n_draft && row[n].tok == job->seq.draft[n]; n++) engine->stats.n_accepted[n]++;
    if (item->n_draft > 0) engine->stats.n_draft_step++;
    engine->stats.n_draft_tok += (uint64_t)item->n_draft;
    return 1 + n;
}

// Up to the first stop token, or as many as are wanted; fills the event, and `tok`, which it points to. Returns how
// many tokens the sequence goes on by: a stop token is one of them.
static int take_output(nb_job *job, const nb_row_result *row, int n, int32_t *tok, nb_event *event)
{
    int i = 0;
    event->tok = tok;
    event->detail = job->n_top >= 0 ? row : NULL;
    for (; i < n && event->finish == NB_FINISH_NONE; i++) {
        tok[i] = row[i].tok;
        if (nb_job_stops(job, tok[i])) {
            event->finish = NB_FINISH_STOP;
            event->stop_tok = tok[i];
        } else {
            event->n_tok++;
            event->finish = count_output(job, tok[i], nb_job_n_output(job) + event->n_tok, &event->message);
        }
    }
    return i;
}

static void take_tokens(nb_engine *engine, nb_job *job, const nb_plan_item *item, const nb_row_result *row)
{
    int32_t tok[1 + NB_DRAFT_MAX];
    bool first = nb_job_n_output(job) == 0;
    if (first) job->first_us = engine->now_us;
    nb_event event = nb_engine_event(job, NB_FINISH_NONE, engine->now_us);
    int n = take_output(job, row, count_confirmed(engine, job, item, row), tok, &event);
    nb_scheduler_tokens(&engine->scheduler, &job->seq, tok, n, item->n_draft);
    engine->stats.n_output_tok += (uint64_t)event.n_tok;
    if (first) take_prompt(engine, job, &event);
    if (event.finish == NB_FINISH_NONE)
        job->on_event(job->user, &event);
    else
        nb_engine_finish(engine, job, &event);
}

static void take_proposal(nb_engine *engine, nb_job *job, const int32_t *proposal)
{
    nb_sequence *seq = &job->seq;
    if (!proposal || !seq->running || job->constrained) return;
    while (seq->n_draft < engine->n_draft && proposal[seq->n_draft] >= 0) {
        seq->draft[seq->n_draft] = proposal[seq->n_draft];
        seq->n_draft++;
    }
}

static void take_end_of_prompt(nb_engine *engine, nb_job *job)
{
    nb_event event = nb_engine_event(job, NB_FINISH_LENGTH, engine->now_us);
    take_prompt(engine, job, &event);
    nb_engine_finish(engine, job, &event);
}

static void digest_item(nb_engine *engine, const nb_plan_item *item, const nb_row_result *row, const int32_t *proposal)
{
    nb_job *job = nb_job_of(item->seq);
    if (!job->finished) {
        take_prompt_rows(job, item, row);
        if (item->draw)
            take_tokens(engine, job, item, row + item->n_prompt_row);
        else if (item->last)
            take_end_of_prompt(engine, job);
    }
    if (!job->finished && item->draw) take_proposal(engine, job, proposal);
    nb_engine_leave_flight(job);
}

static int32_t row_count(const nb_plan_item *item)
{
    return item->n_prompt_row + (item->draw ? 1 + item->n_draft : 0);
}

static int check_tokens(const nb_engine *engine, const nb_row_result *row, int n, nb_error *err)
{
    for (int i = 0; i < n; i++)
        if (row[i].tok < 0 || row[i].tok >= engine->vocab_size)
            return nb_error_set(err, NB_ERR_DEVICE, "the device drew token %d of %d", row[i].tok, engine->vocab_size);
    return NB_OK;
}

static int check_result(const nb_engine *engine, const nb_flight *flight, const nb_result *result, nb_error *err)
{
    int32_t n_row = 0;
    for (int i = 0; i < flight->n_item; i++) n_row += row_count(&flight->item[i]);
    if (n_row != result->n_row)
        return nb_error_set(err, NB_ERR_DEVICE, "the device gave %d rows, %d were asked for", result->n_row, n_row);
    const nb_row_result *row = result->row;
    for (int i = 0; i < flight->n_item; i++) {
        int n_prompt_row = flight->item[i].n_prompt_row, n = row_count(&flight->item[i]);
        NB_TRY(check_tokens(engine, row + n_prompt_row, n - n_prompt_row, err));
        row += n;
    }
    return NB_OK;
}

int nb_engine_digest(nb_engine *engine, nb_error *err)
{
    nb_flight *flight = &engine->flight[engine->flight_first];
    nb_result result = {0};
    NB_TRY(engine->device->ops->wait(engine->device, &result, err));
    NB_TRY(check_result(engine, flight, &result, err));
    engine->now_us = nb_clock_us();
    engine->flight_first = (engine->flight_first + 1) % NB_IN_FLIGHT;
    engine->n_flight--;
    const nb_row_result *row = result.row;
    for (int i = 0; i < flight->n_item; i++) {
        const nb_plan_item *item = &flight->item[i];
        digest_item(engine, item, row, result.proposal ? result.proposal[i] : NULL);
        row += row_count(item);
    }
    return NB_OK;
}
