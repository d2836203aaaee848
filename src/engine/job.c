// Checking requests and turning them into jobs. Runs on the threads of those who submit.
#include "engine/job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static int check_tokens(const char *what, const int32_t *tok, int64_t n, int vocab_size, nb_error *err)
{
    for (int64_t i = 0; i < n; i++)
        if (tok[i] < 0 || tok[i] >= vocab_size)
            return nb_error_set(err, NB_ERR_INPUT, "%s contains token id %d, but the vocabulary has the ids 0 to %d",
                                what, tok[i], vocab_size - 1);
    return NB_OK;
}

static int check_length(const nb_request *request, int64_t context, nb_error *err)
{
    if (request->n_prompt < 1) return nb_error_set(err, NB_ERR_INPUT, "the prompt is empty");
    if (request->max_new < 0 || request->min_new < 0)
        return nb_error_set(err, NB_ERR_INPUT, "the numbers of output tokens must not be negative");
    if (request->n_prompt + (request->max_new > 0 ? 1 : 0) > context)
        return nb_error_set(err, NB_ERR_INPUT,
                            "the prompt has %d tokens, but the context has room for %lld tokens of prompt and output",
                            request->n_prompt, (long long)context);
    return NB_OK;
}

static int check_sampling(const nb_sampling *s, nb_error *err)
{
    if (!isfinite(s->temperature) || s->temperature < 0)
        return nb_error_set(err, NB_ERR_INPUT, "temperature must be 0 or more, not %g", s->temperature);
    if (s->top_k < 0) return nb_error_set(err, NB_ERR_INPUT, "top_k must be 0 or more, not %d", s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return nb_error_set(err, NB_ERR_INPUT, "top_p must be over 0 and at most 1, not %g", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return nb_error_set(err, NB_ERR_INPUT, "min_p must be from 0 to 1, not %g", s->min_p);
    if (!isfinite(s->repetition_penalty) || s->repetition_penalty <= 0)
        return nb_error_set(err, NB_ERR_INPUT, "repetition_penalty must be over 0, not %g", s->repetition_penalty);
    if (!isfinite(s->presence_penalty) || !isfinite(s->frequency_penalty))
        return nb_error_set(err, NB_ERR_INPUT, "presence_penalty and frequency_penalty must be finite");
    return NB_OK;
}

static int check_bias(const nb_request *request, int vocab_size, nb_error *err)
{
    if (request->n_bias < 0 || request->n_bias > vocab_size)
        return nb_error_set(err, NB_ERR_INPUT, "logit_bias has %d entries; at most %d make sense", request->n_bias,
                            vocab_size);
    for (int i = 0; i < request->n_bias; i++) {
        NB_TRY(check_tokens("logit_bias", &request->bias[i].tok, 1, vocab_size, err));
        if (!isfinite(request->bias[i].bias))
            return nb_error_set(err, NB_ERR_INPUT, "logit_bias of token %d must be finite", request->bias[i].tok);
    }
    return NB_OK;
}

int nb_job_check(const nb_request *request, int vocab_size, int64_t context, nb_error *err)
{
    NB_TRY(check_length(request, context, err));
    NB_TRY(check_tokens("the prompt", request->prompt, request->n_prompt, vocab_size, err));
    NB_TRY(check_sampling(&request->sampling, err));
    NB_TRY(check_bias(request, vocab_size, err));
    if (request->n_stop < 0 || request->n_stop > NB_STOP_TOKEN_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "%d stop tokens were given; at most %d are possible", request->n_stop,
                            NB_STOP_TOKEN_MAX);
    NB_TRY(check_tokens("the list of stop tokens", request->stop_tok, request->n_stop, vocab_size, err));
    if (request->n_top > NB_TOP_LOGPROBS_MAX || request->n_prompt_top > NB_TOP_LOGPROBS_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "log-probabilities of at most %d tokens can be asked for",
                            NB_TOP_LOGPROBS_MAX);
    return NB_OK;
}

static void *copy_of(const void *src, size_t n_byte)
{
    if (n_byte == 0) return NULL;
    return memcpy(nb_alloc(n_byte), src, n_byte);
}

static bool has_penalty(const nb_sampling *s)
{
    return s->repetition_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0;
}

static void open_tally(nb_job *job)
{
    job->penalized = has_penalty(&job->sampling);
    if (!job->penalized) return;
    nb_tally_open(&job->tally, job->seq.n_prompt);
    for (int32_t i = 0; i < job->seq.n_prompt; i++) nb_tally_add(&job->tally, job->seq.tok[i], false);
}

static void open_sequence(nb_sequence *seq, const nb_request *request, int64_t context, int64_t now_us)
{
    int32_t p = request->priority;
    seq->priority = p > NB_PRIORITY_MAX ? NB_PRIORITY_MAX : p < -NB_PRIORITY_MAX ? -NB_PRIORITY_MAX : p;
    seq->rank_us = nb_sequence_rank_us(now_us, seq->priority);
    seq->n_prompt = seq->n_tok = request->n_prompt;
    seq->limit = request->max_new;
    if (seq->limit > context - seq->n_prompt) seq->limit = (int32_t)(context - seq->n_prompt);
    seq->tok = copy_of(request->prompt, sizeof(int32_t) * (size_t)request->n_prompt);
    seq->n_prompt_row = request->n_prompt_top >= 0 ? request->n_prompt - 1 : 0;
}

nb_job *nb_job_open(const nb_request *request, int64_t context, int n_propose, int64_t now_us)
{
    nb_job *job = nb_alloc(sizeof(*job));
    open_sequence(&job->seq, request, context, now_us);
    job->seq.n_propose = n_propose > 0 && request->constraint ? 1 : n_propose;
    job->seq.known_input = request->constraint != NULL || n_propose > 0;
    job->sampling = request->sampling;
    job->n_bias = request->n_bias;
    job->bias = copy_of(request->bias, sizeof(nb_bias) * (size_t)request->n_bias);
    job->n_stop = request->n_stop;
    memcpy(job->stop_tok, request->stop_tok, sizeof(int32_t) * (size_t)request->n_stop);
    job->min_new = request->min_new;
    job->n_top = request->n_top;
    job->n_prompt_top = request->n_prompt_top;
    job->want_logits = request->want_logits;
    job->constrained = request->constraint != NULL;
    if (job->constrained) job->constraint = *request->constraint;
    if (job->seq.n_prompt_row > 0) job->prompt_detail = nb_alloc(sizeof(nb_row_result) * (size_t)job->seq.n_prompt_row);
    job->on_event = request->on_event;
    job->user = request->user;
    job->accepted_us = now_us;
    open_tally(job);
    return job;
}

void nb_job_close(nb_job *job)
{
    nb_tally_close(&job->tally);
    free(job->prompt_detail);
    free(job->bias);
    free(job->seq.tok);
    free(job->seq.page);
    free(job);
}

bool nb_job_stops(const nb_job *job, int32_t tok)
{
    for (int i = 0; i < job->n_stop; i++)
        if (job->stop_tok[i] == tok) return true;
    return false;
}
