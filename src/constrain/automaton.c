// Compiling a grammar: see automaton.h and automaton_internal.h.
#include "constrain/automaton.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "constrain/automaton_internal.h"

// A rule's states behind those of the rules before.
static void append(nb_dfa *all, const nb_dfa *part)
{
    int32_t base = all->n_state;
    for (int32_t i = 0; i < part->n_state; i++) {
        const nb_state *s = &part->state[i];
        nb_dfa_begin_state(all, s->ends);
        for (int k = 0; k < s->n_edge; k++) {
            const nb_edge *e = &part->edge[s->edge + k];
            nb_dfa_add_edge(all, e->lo, e->hi, base + e->to);
        }
        for (int k = 0; k < s->n_call; k++)
            nb_dfa_add_call(all, part->call[s->call + k].rule, base + part->call[s->call + k].back);
    }
}

static void make_parts(nb_build *build, nb_parts *out)
{
    const nb_grammar *g = build->grammar;
    *out = (nb_parts){.n_rule = g->n_rule, .root = g->root};
    out->start = nb_alloc(sizeof(*out->start) * (size_t)(g->n_rule + 1));
    for (int32_t i = 0; i < g->n_rule && !build->failed; i++) {
        nb_dfa part;
        nb_dfa_of(build, g->rule[i], &part);
        out->start[i] = out->all.n_state;
        append(&out->all, &part);
        nb_dfa_drop(&part);
        if (out->all.n_state > NB_AUTOMATON_STATES_MAX || out->all.n_edge > NB_AUTOMATON_EDGES_MAX)
            build->failed = true;
    }
}

static int too_large(nb_error *err)
{
    return nb_error_set(err, NB_ERR_LIMIT,
                        "it is too large: its automaton would need more than %d states or too much work; lower the "
                        "bounds of its repetitions and lengths, or split it",
                        NB_AUTOMATON_STATES_MAX);
}

static int join(nb_build *build, nb_parts *parts, nb_automaton **out, nb_error *err)
{
    if (build->failed) return too_large(err);
    bool possible = nb_parts_trim(build, parts);
    int32_t left = possible ? nb_parts_left_recursion(build, parts) : -1;
    if (build->failed) return too_large(err);
    if (!possible) return nb_error_set(err, NB_ERR_INPUT, "no text satisfies it");
    if (left >= 0) {
        nb_str name = build->grammar->name[left];
        return nb_error_set(err, NB_ERR_INPUT,
                            "the rule \"%.*s\" is left-recursive: it can call itself before it reads anything; write "
                            "it with a repetition instead",
                            (int)(name.len > 80 ? 80 : name.len), name.ptr ? name.ptr : "");
    }
    static atomic_uint_least64_t n_serial;
    *out = nb_alloc(sizeof(**out));
    nb_parts_join(parts, *out);
    (*out)->serial = atomic_fetch_add(&n_serial, 1) + 1;
    return NB_OK;
}

int nb_automaton_compile(const nb_grammar *grammar, nb_automaton **out, nb_error *err)
{
    nb_build build = {.grammar = grammar, .work = NB_AUTOMATON_WORK_MAX, .failed = grammar->overflow};
    nb_parts parts;
    make_parts(&build, &parts);
    int code = join(&build, &parts, out, err);
    nb_dfa_drop(&parts.all);
    free(parts.start);
    return code;
}

void nb_automaton_close(nb_automaton *a)
{
    if (!a) return;
    free(a->state);
    free(a->edge);
    free(a->call);
    free(a);
}

int64_t nb_automaton_bytes(const nb_automaton *a)
{
    return (int64_t)sizeof(*a) + (int64_t)sizeof(nb_state) * a->n_state + (int64_t)sizeof(nb_edge) * a->n_edge +
           (int64_t)sizeof(nb_call) * a->n_call;
}
