// The phases of an output and the mask of its next token, which is found as soon as a token is accepted. See guide.h.
#include "constrain/guide.h"

#include <stdlib.h>
#include <string.h>

typedef enum phase {
    PHASE_START,     // the model may think first, or begin at once
    PHASE_REASONING, // until </think>
    PHASE_LINES,     // behind </think>: blank lines, which the output parser takes away
    PHASE_CONSTRAINED,
} phase;

struct nb_guide {
    const nb_tokenizer *tokenizer;
    nb_mask_cache *masks;
    nb_program *program;
    nb_matcher *matcher;
    phase phase;
    int32_t think, end_think, line[2]; // tokens, -1: there is none
    int32_t *stop;                     // [n_stop]
    int n_stop;
    int32_t n_word;
    uint32_t *mask; // [n_word] of the next token; not in PHASE_REASONING
    nb_error error;
};

static void allow(nb_guide *g, int32_t tok)
{
    if (tok >= 0 && tok / 32 < g->n_word) g->mask[tok / 32] |= 1u << (tok % 32);
}

static bool allows_any(const nb_guide *g)
{
    for (int32_t i = 0; i < g->n_word; i++)
        if (g->mask[i]) return true;
    return false;
}

// The mask of the next token.
static int look_ahead(nb_guide *g)
{
    memset(g->mask, 0, sizeof(*g->mask) * (size_t)g->n_word);
    NB_TRY(nb_matcher_mask(g->matcher, g->masks, g->mask, &g->error));
    for (int i = 0; i < g->n_stop && nb_matcher_can_end(g->matcher); i++) allow(g, g->stop[i]);
    if (g->phase == PHASE_START) allow(g, g->think);
    for (int i = 0; i < 2 && g->phase == PHASE_LINES; i++) allow(g, g->line[i]);
    if (allows_any(g)) return NB_OK;
    return nb_error_set(&g->error, NB_ERR_INPUT,
                        "the output cannot be completed: no token of the vocabulary fits the constraint");
}

static nb_verdict verdict_of(nb_guide *g, int code, const char **message)
{
    *message = g->error.text;
    return code == NB_OK ? NB_VERDICT_GO_ON : NB_VERDICT_FAILED;
}

static bool is_line(const nb_guide *g, int32_t tok)
{
    return tok == g->line[0] || tok == g->line[1];
}

static nb_verdict accept(void *user, int32_t tok, const char **message)
{
    nb_guide *g = user;
    if (g->phase == PHASE_START && tok == g->think) g->phase = PHASE_REASONING;
    if (g->phase == PHASE_REASONING && tok != g->end_think) return NB_VERDICT_GO_ON;
    if (g->phase == PHASE_REASONING) {
        g->phase = PHASE_LINES;
        return verdict_of(g, look_ahead(g), message);
    }
    bool line = g->phase == PHASE_LINES && is_line(g, tok);
    g->phase = PHASE_CONSTRAINED;
    if (!line && !nb_matcher_read(g->matcher, nb_tokenizer_token(g->tokenizer, tok))) {
        nb_error_set(&g->error, NB_ERR_INPUT, "a token was drawn that the constraint does not allow");
        return verdict_of(g, NB_ERR_INPUT, message);
    }
    if (nb_matcher_must_end(g->matcher)) return NB_VERDICT_COMPLETE;
    return verdict_of(g, look_ahead(g), message);
}

const char *nb_guide_failure(const nb_guide *g)
{
    return g->error.code != NB_OK ? g->error.text : NULL;
}

static bool mask(void *user, uint32_t *out)
{
    const nb_guide *g = user;
    if (g->phase == PHASE_REASONING) return false;
    memcpy(out, g->mask, sizeof(*out) * (size_t)g->n_word);
    return true;
}

nb_constraint nb_guide_constraint(nb_guide *g)
{
    return (nb_constraint){g, accept, mask};
}

static phase first_phase(const nb_guide_options *o)
{
    if (!o->thinks || o->think == NB_THINK_CLOSED) return PHASE_CONSTRAINED;
    return o->think == NB_THINK_OPEN ? PHASE_REASONING : PHASE_START;
}

int nb_guide_open(const nb_guide_options *o, nb_guide **out, nb_error *err)
{
    nb_guide *g = nb_alloc(sizeof *g);
    *g = (nb_guide){
        .tokenizer = o->tokenizer,
        .masks = nb_constrainer_masks(o->constrainer),
        .program = nb_program_take(o->program),
        .matcher = nb_matcher_open(nb_program_automaton(o->program)),
        .phase = first_phase(o),
        .think = nb_tokenizer_find(o->tokenizer, NB_STR("<think>")),
        .end_think = nb_tokenizer_find(o->tokenizer, NB_STR("</think>")),
        .line = {nb_tokenizer_find(o->tokenizer, NB_STR("\n")), nb_tokenizer_find(o->tokenizer, NB_STR("\n\n"))},
        .stop = nb_alloc(sizeof(int32_t) * (size_t)(o->n_stop + 1)),
        .n_stop = o->n_stop,
        .n_word = nb_constrainer_words(o->constrainer),
    };
    if (o->n_stop) memcpy(g->stop, o->stop, sizeof *g->stop * (size_t)o->n_stop);
    g->mask = nb_alloc(sizeof *g->mask * (size_t)g->n_word);
    *out = g;
    if (look_ahead(g) == NB_OK) return NB_OK;
    return nb_error_set(err, g->error.code, "%s", g->error.text);
}

void nb_guide_close(nb_guide *g)
{
    if (!g) return;
    nb_matcher_close(g->matcher);
    nb_program_drop(g->program);
    free(g->stop);
    free(g->mask);
    free(g);
}
