// nibble_generate: a public request becomes an engine's, and the engine's text goes through the parser of think blocks
// to the caller.
#include <stddef.h>
#include <string.h>

#include "library/nibble_internal.h"
#include "model/plan.h"
#include "text/output_parser.h"

_Static_assert((int)NIBBLE_FINISH_STOP == NB_FINISH_STOP && (int)NIBBLE_FINISH_LENGTH == NB_FINISH_LENGTH &&
                   (int)NIBBLE_FINISH_CANCELLED == NB_FINISH_CANCELLED,
               "one set of reasons");

void nibble_request_init(nibble_request *request, size_t size)
{
    nibble_request r = {
        .size = size, .top_k = -1, .temperature = -1, .top_p = -1, .min_p = -1, .repetition_penalty = -1};
    memset(request, 0, size);
    memcpy(request, &r, size < sizeof r ? size : sizeof r);
}

typedef struct run {
    nibble *model;
    nibble_request request;
    uint_fast32_t n_cancel;   // of the model when the run began
    nb_output_parser *parser; // NULL: all text is content
    json_t *tools;            // borrowed by the parser
    bool stopped;             // the callback said so
} run;

static void give(run *r, int part, nb_str text)
{
    if (r->stopped || !r->request.on_text) return;
    r->stopped = r->request.on_text(r->request.user, part, text.len ? text.ptr : "", text.len) != 0;
}

static void on_part(void *user, const nb_part *part)
{
    static const int part_of[] = {[NB_PART_REASONING] = NIBBLE_REASONING,
                                  [NB_PART_CONTENT] = NIBBLE_CONTENT,
                                  [NB_PART_TOOL_BEGIN] = NIBBLE_TOOL_NAME,
                                  [NB_PART_TOOL_ARGUMENTS] = NIBBLE_TOOL_ARGUMENTS,
                                  [NB_PART_TOOL_END] = NIBBLE_TOOL_END};
    if (part->text.len || part->kind == NB_PART_TOOL_END) give(user, part_of[part->kind], part->text);
}

static bool on_text(void *user, nb_str text)
{
    run *r = user;
    if (text.len && r->parser) {
        nb_output_parser_feed(r->parser, text, on_part, r);
    } else {
        give(r, NIBBLE_CONTENT, text);
    }
    return !r->stopped && atomic_load(&r->model->n_cancel) == r->n_cancel;
}

static int open_parser(run *r, nb_str prompt, nb_error *err)
{
    const nibble_request *q = &r->request;
    nb_output_parser_options options = {.reasoning = NB_REASONING_QWEN3,
                                        .starts_in_reasoning = nb_str_ends(prompt, NB_STR("<think>\n"))};
    if (q->tool_parser) NB_TRY(nb_tool_format_parse(q->tool_parser, &options.tool, err));
    if (q->tools) NB_TRY(nb_json_parse(nb_str_from(q->tools), "tools", &r->tools, err));
    options.tools = r->tools;
    r->parser = nb_output_parser_open(&options);
    return NB_OK;
}

static int encode_messages(run *r, nb_ids *ids, nb_error *err)
{
    const nibble_request *q = &r->request;
    nb_buf prompt = {0};
    int code = nb_nibble_render(r->model, q->messages, q->tools, q->variables, &prompt, err);
    if (code == NB_OK) code = nb_tokenizer_encode(r->model->session.tokenizer, nb_buf_str(&prompt), true, ids, err);
    if (code == NB_OK) code = open_parser(r, nb_buf_str(&prompt), err);
    nb_buf_drop(&prompt);
    return code;
}

static int make_prompt(run *r, nb_ids *ids, nb_error *err)
{
    const nibble_request *q = &r->request;
    if (!!q->prompt + !!q->token + !!q->messages != 1)
        return nb_error_set(err, NB_ERR_USAGE, "a request has one of prompt, token and messages");
    if (q->messages) return encode_messages(r, ids, err);
    for (size_t i = 0; q->token && i < q->n_token; i++) nb_ids_add(ids, q->token[i]);
    if (q->token) return NB_OK;
    nb_str text = {q->prompt, q->n_prompt_byte ? q->n_prompt_byte : strlen(q->prompt)};
    return nb_tokenizer_encode(r->model->session.tokenizer, text, true, ids, err);
}

static void fill_sampling(const run *r, nb_sampling *s)
{
    const nibble_request *q = &r->request;
    nb_session_sampling(&r->model->session, s);
    if (q->temperature >= 0) s->temperature = (float)q->temperature;
    if (q->top_k >= 0) s->top_k = q->top_k;
    if (q->top_p >= 0) s->top_p = (float)q->top_p;
    if (q->min_p >= 0) s->min_p = (float)q->min_p;
    if (q->repetition_penalty >= 0) s->repetition_penalty = (float)q->repetition_penalty;
    s->presence_penalty = (float)q->presence_penalty;
    s->frequency_penalty = (float)q->frequency_penalty;
    s->seed = q->seed;
}

static int fill_request(const run *r, const nb_ids *ids, nb_request *out, nb_error *err)
{
    const nb_config *c = &r->model->session.model->config;
    nb_engine_stats stats;
    nb_engine_stats_read(r->model->engine, &stats);
    if (r->request.max_tokens < 0) return nb_error_set(err, NB_ERR_USAGE, "max_tokens must not be negative");
    bool hash = r->request.want_logits_hash;
    *out = (nb_request){.prompt = ids->id,
                        .n_prompt = (int32_t)ids->n,
                        .max_new = r->request.max_tokens ? r->request.max_tokens : (int32_t)stats.max_model_len,
                        .n_top = hash ? 0 : -1,
                        .n_prompt_top = -1,
                        .want_logits = hash};
    fill_sampling(r, &out->sampling);
    for (int i = 0; i < c->n_eos && !r->request.ignore_eos; i++) out->stop_tok[out->n_stop++] = c->eos_token_id[i];
    return NB_OK;
}

// Bytes a decode step of one sequence moves at least.
static double step_bytes(const nb_session *s, int64_t n_past)
{
    nb_plan plan;
    nb_plan_step step;
    nb_error err;
    if (nb_plan_make(s->model, s->kv, &plan, &err) != NB_OK) return 0;
    nb_plan_step_make(&plan, s->model, s->kv, 1, 1, n_past, &step);
    return step.weight_bytes + step.state_bytes + step.kv_bytes;
}

static int generate(run *r, nb_generated *out, nb_error *err)
{
    nb_ids ids = {0};
    nb_request request;
    nb_nibble_constraint constraint = {0};
    const nb_session *session = &r->model->session;
    int code = make_prompt(r, &ids, err);
    if (code == NB_OK) code = fill_request(r, &ids, &request, err);
    if (code == NB_OK) code = nb_nibble_constrain(r->model, &r->request, r->parser, &ids, &constraint, err);
    if (constraint.guide) request.constraint = &constraint.engine;
    bool keep_special = r->request.keep_special || r->parser; // a parser needs to see </think>
    if (code == NB_OK) code = nb_generate(r->model->engine, session, &request, keep_special, on_text, r, out, err);
    if (code != NB_OK && constraint.guide && nb_guide_failure(constraint.guide))
        code = nb_error_set(err, NB_ERR_INPUT, "%s", nb_guide_failure(constraint.guide)); // the device is well
    if (r->parser) {
        if (code == NB_OK) nb_output_parser_end(r->parser, on_part, r);
        nb_output_parser_close(r->parser);
    }
    json_decref(r->tools);
    nb_nibble_constrain_drop(&constraint);
    nb_ids_drop(&ids);
    return code;
}

static void fill_result(const nibble *model, const nb_generated *from, nibble_result *out)
{
    nibble_result r = {.size = out->size,
                       .finish = (int32_t)from->finish,
                       .n_prompt = from->n_prompt,
                       .n_cached = from->n_cached,
                       .n_output = from->n_output,
                       .prefill_us = from->prefill_us,
                       .decode_us = from->decode_us,
                       .step_bytes = step_bytes(&model->session, from->n_prompt),
                       .logits_hash = from->logits_hash};
    memcpy(out, &r, out->size < sizeof r ? out->size : sizeof r);
}

int nibble_generate(nibble *model, const nibble_request *request, nibble_result *result, nibble_error *error)
{
    nb_error err = {0};
    nb_generated generated = {0};
    run r = {.model = model, .n_cancel = atomic_load(&model->n_cancel)};
    nibble_request_init(&r.request, sizeof r.request);
    int code = nb_nibble_read_struct(&r.request, sizeof r.request, request, request->size, "request", &err);
    if (code == NB_OK) code = generate(&r, &generated, &err);
    if (code != NB_OK) return nb_nibble_fail(&err, error);
    if (result) fill_result(model, &generated, result);
    return NB_OK;
}
