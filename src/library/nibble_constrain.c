// Constrained requests: what the public request asks for becomes a program, and a guide that the engine asks.
#include "library/nibble_internal.h"

// The spec of the request; NB_CONSTRAIN_NONE where nothing is asked for.
static int read_spec(const nibble_request *q, nb_constrain_spec *spec, json_t **value, nb_error *err)
{
    const char *json = q->json_schema ? q->json_schema : q->choice;
    *spec = (nb_constrain_spec){.kind = NB_CONSTRAIN_NONE, .param = "request"};
    if (!!q->json_schema + !!q->regex + !!q->choice + !!q->grammar > 1)
        return nb_error_set(err, NB_ERR_USAGE, "a request has one of json_schema, regex, choice and grammar");
    if (json) NB_TRY(nb_json_parse(nb_str_from(json), q->json_schema ? "json_schema" : "choice", value, err));
    if (q->choice && (!json_is_array(*value) || json_array_size(*value) == 0))
        return nb_error_set(err, NB_ERR_INPUT, "choice must be a JSON array of strings");
    spec->value = *value;
    spec->text = nb_str_from(q->regex ? q->regex : q->grammar);
    if (q->json_schema) spec->kind = NB_CONSTRAIN_SCHEMA;
    if (q->choice) spec->kind = NB_CONSTRAIN_CHOICE;
    if (q->regex) spec->kind = NB_CONSTRAIN_REGEX;
    if (q->grammar) spec->kind = NB_CONSTRAIN_GRAMMAR;
    return NB_OK;
}

// Made by the first request that needs it: its trie of the vocabulary takes time and memory.
static nb_constrainer *constrainer(nibble *model)
{
    pthread_mutex_lock(&model->lock);
    if (!model->constrainer)
        model->constrainer = nb_constrainer_open(model->session.tokenizer, model->session.model->config.vocab_size);
    pthread_mutex_unlock(&model->lock);
    return model->constrainer;
}

int nb_nibble_constrain(nibble *model, const nibble_request *q, bool thinks, const nb_ids *prompt,
                        nb_nibble_constraint *out, nb_error *err)
{
    const nb_config *c = &model->session.model->config;
    nb_constrain_spec spec;
    nb_program *program;
    *out = (nb_nibble_constraint){0};
    NB_TRY(read_spec(q, &spec, &out->value, err));
    if (spec.kind == NB_CONSTRAIN_NONE) return NB_OK;
    NB_TRY(nb_constrainer_compile(constrainer(model), &spec, &program, err));
    nb_guide_options options = {.constrainer = model->constrainer,
                                .tokenizer = model->session.tokenizer,
                                .program = program,
                                .thinks = thinks,
                                .think = nb_reasoning_think(model->session.tokenizer, prompt),
                                .stop = c->eos_token_id,
                                .n_stop = q->ignore_eos ? 0 : c->n_eos};
    int code = nb_guide_open(&options, &out->guide, err);
    nb_program_drop(program);
    out->engine = nb_guide_constraint(out->guide);
    return code;
}

void nb_nibble_constrain_drop(nb_nibble_constraint *constraint)
{
    nb_guide_close(constraint->guide);
    json_decref(constraint->value);
}
