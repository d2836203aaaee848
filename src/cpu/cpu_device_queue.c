// The queue of the CPU device: submit copies a batch into a step of its own and wakes the worker thread; the worker
// runs steps in order; wait hands their results out in order. A step's memory is used again only after the host has
// waited for a later one, so a result stays valid until the next wait.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu_device_internal.h"

static void *work(void *user)
{
    nb_cpu *cpu = user;
    pthread_mutex_lock(&cpu->lock);
    for (;;) {
        while (!cpu->stop && cpu->n_done == cpu->n_submitted) pthread_cond_wait(&cpu->work, &cpu->lock);
        if (cpu->stop) break;
        nb_cpu_step *step = &cpu->step[cpu->n_done % NB_CPU_STEPS];
        pthread_mutex_unlock(&cpu->lock);
        int64_t start_us = nb_clock_us();
        step->code = nb_cpu_step_run(cpu, step);
        step->device_us = nb_clock_us() - start_us;
        pthread_mutex_lock(&cpu->lock);
        cpu->n_done++;
        pthread_cond_signal(&cpu->done);
    }
    pthread_mutex_unlock(&cpu->lock);
    return NULL;
}

static int open_step(nb_cpu *cpu, nb_cpu_step *step, nb_error *err)
{
    const nb_reserve *r = &cpu->limits;
    size_t vocab = (size_t)cpu->model->config.vocab_size;
    step->plan = nb_alloc(sizeof *step->plan * (size_t)r->max_seq);
    step->tok = nb_alloc(sizeof *step->tok * (size_t)r->max_tok);
    step->seq = nb_alloc(sizeof *step->seq * (size_t)r->max_seq);
    step->row = nb_alloc(sizeof *step->row * (size_t)r->max_row);
    step->proposal = nb_alloc(sizeof *step->proposal * (size_t)r->max_seq);
    step->row_result = nb_alloc(sizeof *step->row_result * (size_t)r->max_row);
    step->logits = nb_alloc_large(sizeof(float) * vocab * (size_t)r->max_row);
    if (!step->logits)
        return nb_error_set(err, NB_ERR_MEMORY, "no memory for the logits of %d rows; ask for fewer", r->max_row);
    return NB_OK;
}

int nb_cpu_queue_open(nb_cpu *cpu, nb_error *err)
{
    for (int i = 0; i < NB_CPU_STEPS; i++) NB_TRY(open_step(cpu, &cpu->step[i], err));
    if (pthread_create(&cpu->worker, NULL, work, cpu) != 0)
        return nb_error_set(err, NB_ERR_LIMIT, "the CPU device cannot start its thread");
    cpu->has_worker = true;
    return NB_OK;
}

static void close_step(const nb_cpu *cpu, nb_cpu_step *step)
{
    void *const owned[] = {step->plan, step->tok,     step->seq,  step->row,  step->proposal, step->row_result,
                           step->page, step->history, step->bias, step->mask, step->copy};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) free(owned[i]);
    size_t vocab = cpu->model ? (size_t)cpu->model->config.vocab_size : 0;
    nb_free_large(step->logits, sizeof(float) * vocab * (size_t)cpu->limits.max_row);
}

void nb_cpu_queue_close(nb_cpu *cpu)
{
    pthread_mutex_lock(&cpu->lock);
    cpu->stop = true;
    pthread_cond_signal(&cpu->work);
    pthread_mutex_unlock(&cpu->lock);
    if (cpu->has_worker) pthread_join(cpu->worker, NULL);
    for (int i = 0; i < NB_CPU_STEPS; i++) close_step(cpu, &cpu->step[i]);
}

// Lists without a reserved size grow to the largest batch seen.
static void *copy_growing(void *to, int64_t *cap, const void *from, int64_t n, size_t element_bytes)
{
    if (n > *cap) {
        *cap = n + n / 2;
        to = nb_realloc(to, (size_t)*cap * element_bytes);
    }
    if (n > 0) memcpy(to, from, (size_t)n * element_bytes);
    return to;
}

static void copy_batch(nb_cpu_step *step, const nb_batch *b)
{
    memcpy(step->tok, b->tok, sizeof *b->tok * (size_t)b->n_tok);
    memcpy(step->seq, b->seq, sizeof *b->seq * (size_t)b->n_seq);
    if (b->n_row > 0) memcpy(step->row, b->row, sizeof *b->row * (size_t)b->n_row);
    step->page = copy_growing(step->page, &step->cap_page, b->page, b->n_page, sizeof *b->page);
    step->history = copy_growing(step->history, &step->cap_history, b->history, b->n_history, sizeof *b->history);
    step->bias = copy_growing(step->bias, &step->cap_bias, b->bias, b->n_bias, sizeof *b->bias);
    step->mask = copy_growing(step->mask, &step->cap_mask, b->mask, b->n_mask, sizeof *b->mask);
    step->copy = copy_growing(step->copy, &step->cap_copy, b->copy, b->n_copy, sizeof *b->copy);
    step->batch = *b;
    step->batch.tok = step->tok;
    step->batch.seq = step->seq;
    step->batch.row = step->row;
    step->batch.page = step->page;
    step->batch.history = step->history;
    step->batch.bias = step->bias;
    step->batch.mask = step->mask;
    step->batch.copy = step->copy;
}

static int check(const nb_cpu *cpu, const nb_batch *batch, nb_error *err)
{
    const nb_reserve *r = &cpu->limits;
    if (!cpu->reserved) return nb_error_set(err, NB_ERR_INPUT, "the CPU device was given a batch before reserve");
    if (cpu->n_submitted - cpu->n_taken >= NB_IN_FLIGHT)
        return nb_error_set(err, NB_ERR_LIMIT, "%d steps are under way; wait for one first", NB_IN_FLIGHT);
    if (batch->n_tok > r->max_tok || batch->n_seq > r->max_seq || batch->n_row > r->max_row)
        return nb_error_set(err, NB_ERR_INPUT, "batch: %d tokens, %d sequences, %d rows; reserved are %d, %d, %d",
                            batch->n_tok, batch->n_seq, batch->n_row, r->max_tok, r->max_seq, r->max_row);
    return nb_batch_check(batch, cpu->model->config.vocab_size, r->n_slot, r->n_page, err);
}

int nb_cpu_queue_submit(nb_device *device, const nb_batch *batch, nb_error *err)
{
    nb_cpu *cpu = (nb_cpu *)device;
    NB_TRY(check(cpu, batch, err));
    nb_cpu_step *step = &cpu->step[cpu->n_submitted % NB_CPU_STEPS];
    NB_TRY(nb_cpu_slots_plan(&cpu->slots, batch, step->plan, err));
    copy_batch(step, batch);
    pthread_mutex_lock(&cpu->lock);
    cpu->n_submitted++;
    pthread_cond_signal(&cpu->work);
    pthread_mutex_unlock(&cpu->lock);
    return NB_OK;
}

int nb_cpu_queue_wait(nb_device *device, nb_result *result, nb_error *err)
{
    nb_cpu *cpu = (nb_cpu *)device;
    if (cpu->n_taken == cpu->n_submitted) return nb_error_set(err, NB_ERR_INPUT, "wait without a submitted step");
    pthread_mutex_lock(&cpu->lock);
    while (cpu->n_done == cpu->n_taken) pthread_cond_wait(&cpu->done, &cpu->lock);
    pthread_mutex_unlock(&cpu->lock);
    const nb_cpu_step *step = &cpu->step[cpu->n_taken++ % NB_CPU_STEPS];
    *result = (nb_result){.n_row = step->batch.n_row,
                          .n_seq = step->batch.n_seq,
                          .row = step->row_result,
                          .proposal = (const int32_t(*)[NB_DRAFT_MAX])step->proposal,
                          .device_us = step->device_us};
    if (step->code != NB_OK) return nb_error_set(err, NB_ERR_DEVICE, "the CPU device failed with code %d", step->code);
    return NB_OK;
}
