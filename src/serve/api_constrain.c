// See api_constrain.h.
#include "serve/api_constrain.h"

#include <stdlib.h>
#include <string.h>

#include "serve/api_internal.h"
#include "serve/reasoning.h"

typedef enum phase {
    PHASE_START,     // the model may think first, or begin at once
    PHASE_REASONING, // until </think>
    PHASE_LINES,     // behind </think>: blank lines, which the output parser takes away
    PHASE_CONSTRAINED,
} phase;

struct nb_choice_constraint {
    nb_constraint engine;
    const nb_tokenizer *tokenizer;
    nb_mask_cache *masks;
    nb_program *program;
    nb_matcher *matcher;
    phase phase;
    int32_t think, end_think, line[2]; // tokens, -1: there is none
    int32_t stop[NB_STOP_TOKEN_MAX];
    int n_stop;
    int32_t n_word;
    uint32_t *mask; // [n_word] of the next token; not in PHASE_REASONING
    nb_error error;
};

static void allow(nb_choice_constraint *c, int32_t tok)
{
    if (tok >= 0 && tok / 32 < c->n_word) c->mask[tok / 32] |= 1u << (tok % 32);
}

static bool allows_any(const nb_choice_constraint *c)
{
    for (int32_t i = 0; i < c->n_word; i++)
        if (c->mask[i]) return true;
    return false;
}

// The mask of the next token.
static int look_ahead(nb_choice_constraint *c)
{
    memset(c->mask, 0, sizeof(*c->mask) * (size_t)c->n_word);
    NB_TRY(nb_matcher_mask(c->matcher, c->masks, c->mask, &c->error));
    for (int i = 0; i < c->n_stop && nb_matcher_can_end(c->matcher); i++) allow(c, c->stop[i]);
    if (c->phase == PHASE_START) allow(c, c->think);
    for (int i = 0; i < 2 && c->phase == PHASE_LINES; i++) allow(c, c->line[i]);
    if (allows_any(c)) return NB_OK;
    return nb_error_set(&c->error, NB_ERR_INPUT,
                        "the output cannot be completed: no token of the vocabulary fits the constraint");
}

static nb_verdict verdict_of(nb_choice_constraint *c, int code, const char **message)
{
    *message = c->error.text;
    return code == NB_OK ? NB_VERDICT_GO_ON : NB_VERDICT_FAILED;
}

static bool is_line(const nb_choice_constraint *c, int32_t tok)
{
    return tok == c->line[0] || tok == c->line[1];
}

static nb_verdict accept(void *user, int32_t tok, const char **message)
{
    nb_choice_constraint *c = user;
    if (c->phase == PHASE_START && tok == c->think) c->phase = PHASE_REASONING;
    if (c->phase == PHASE_REASONING && tok != c->end_think) return NB_VERDICT_GO_ON;
    if (c->phase == PHASE_REASONING) {
        c->phase = PHASE_LINES;
        return verdict_of(c, look_ahead(c), message);
    }
    bool line = c->phase == PHASE_LINES && is_line(c, tok);
    c->phase = PHASE_CONSTRAINED;
    if (!line && !nb_matcher_read(c->matcher, nb_tokenizer_token(c->tokenizer, tok))) {
        nb_error_set(&c->error, NB_ERR_INPUT, "a token was drawn that the constraint does not allow");
        return verdict_of(c, NB_ERR_INPUT, message);
    }
    if (nb_matcher_must_end(c->matcher)) return NB_VERDICT_COMPLETE;
    return verdict_of(c, look_ahead(c), message);
}

static bool mask(void *user, uint32_t *out)
{
    const nb_choice_constraint *c = user;
    if (c->phase == PHASE_REASONING) return false;
    memcpy(out, c->mask, sizeof(*out) * (size_t)c->n_word);
    return true;
}

// ---- Opening

static phase first_phase(const nb_choice *choice)
{
    const nb_api_options *server = &choice->job->api->options;
    if (!choice->job->generation->reasons || server->reasoning == NB_REASONING_NONE) return PHASE_CONSTRAINED;
    switch (nb_reasoning_think(server->tokenizer, choice->prompt)) {
    case NB_THINK_OPEN: return PHASE_REASONING;
    case NB_THINK_CLOSED: return PHASE_CONSTRAINED;
    case NB_THINK_NOT_BEGUN: break;
    }
    return PHASE_START;
}

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
    const nb_tokenizer *tokenizer = api->options.tokenizer;
    nb_choice_constraint *c = nb_alloc(sizeof(*c));
    *c = (nb_choice_constraint){
        .engine = {c, accept, mask},
        .tokenizer = tokenizer,
        .masks = nb_constrainer_masks(api->constrainer),
        .program = nb_program_take(program),
        .matcher = nb_matcher_open(nb_program_automaton(program)),
        .phase = first_phase(choice),
        .think = nb_tokenizer_find(tokenizer, NB_STR("<think>")),
        .end_think = nb_tokenizer_find(tokenizer, NB_STR("</think>")),
        .line = {nb_tokenizer_find(tokenizer, NB_STR("\n")), nb_tokenizer_find(tokenizer, NB_STR("\n\n"))},
        .n_stop = n_stop,
        .n_word = nb_constrainer_words(api->constrainer),
    };
    memcpy(c->stop, stop, sizeof(*stop) * (size_t)n_stop);
    c->mask = nb_alloc(sizeof(*c->mask) * (size_t)c->n_word);
    *out = c;
    if (look_ahead(c) == NB_OK) return NB_OK;
    return nb_request_refuse(error, 400, choice->job->generation->constrain.param, "unsupported_constraint", "%s",
                             c->error.text);
}

const char *nb_api_constrain_failure(const nb_choice_constraint *c)
{
    return c && c->error.code != NB_OK ? c->error.text : NULL;
}

void nb_api_constrain_close(nb_choice_constraint *c)
{
    if (!c) return;
    nb_matcher_close(c->matcher);
    nb_program_drop(c->program);
    free(c->mask);
    free(c);
}

const nb_constraint *nb_api_constrain_engine(const nb_choice_constraint *c)
{
    return c ? &c->engine : NULL;
}
