// See api_constrain.h.
#include "serve/api_constrain.h"

#include <stdlib.h>

#include "constrain/guide.h"
#include "serve/api_internal.h"

struct nb_choice_constraint {
    nb_constraint engine;
    nb_guide *guide;
};

int nb_api_constrain_compile(const nb_api *api, const nb_generation *generation, nb_program **out,
                             nb_request_error *error)
{
    nb_constrain_spec spec = generation->constrain;
    nb_error err = {0};
    *out = NULL;
    if (spec.kind == NB_CONSTRAIN_NONE) return NB_OK;
    spec.tools.format = nb_api_tool_format(api);
    if (nb_constrainer_compile(api->constrainer, &spec, out, &err) == NB_OK) return NB_OK;
    return nb_request_refuse(error, 400, spec.param, "unsupported_constraint", "%s: %s", spec.param, err.text);
}

int nb_api_constrain_open(const nb_choice *choice, nb_program *program, const int32_t *stop, int n_stop,
                          nb_choice_constraint **out, nb_request_error *error)
{
    const nb_api *api = choice->job->api;
    const nb_api_options *server = &api->options;
    nb_guide_options options = {.constrainer = api->constrainer,
                                .tokenizer = server->tokenizer,
                                .program = program,
                                .thinks = choice->job->generation->reasons && server->reasoning != NB_REASONING_NONE,
                                .think = nb_reasoning_think(server->tokenizer, choice->prompt),
                                .stop = stop,
                                .n_stop = n_stop};
    nb_choice_constraint *c = nb_alloc(sizeof(*c));
    nb_error err;
    *out = c;
    if (nb_guide_open(&options, &c->guide, &err) != NB_OK)
        return nb_request_refuse(error, 400, choice->job->generation->constrain.param, "unsupported_constraint", "%s",
                                 err.text);
    c->engine = nb_guide_constraint(c->guide);
    return NB_OK;
}

const char *nb_api_constrain_failure(const nb_choice_constraint *c)
{
    return c ? nb_guide_failure(c->guide) : NULL;
}

void nb_api_constrain_close(nb_choice_constraint *c)
{
    if (!c) return;
    nb_guide_close(c->guide);
    free(c);
}

const nb_constraint *nb_api_constrain_engine(const nb_choice_constraint *c)
{
    return c ? &c->engine : NULL;
}
