// Runs the chain of splits. Each step sees only the piece that the step before gave it: an expression cannot look
// beyond.
#include "text/pretokenize_internal.h"

#include <stdlib.h>

typedef struct run {
    const nb_pretokenizer *pretokenizer;
    pcre2_match_data *match[NB_PRETOKENIZE_STEPS_MAX];
    nb_piece_fn fn;
    void *user;
} run;

// The pieces of one step are collected as spans: a span waits until it is known that the next one does not join it.
typedef struct spans {
    run *run;
    int i_step;
    nb_str text;
    size_t from, to; // the waiting span; empty when from == to
    bool is_match;
} spans;

static int split(run *r, int i_step, nb_str text, nb_error *err);

static int flush(spans *s, nb_error *err)
{
    bool dropped = s->is_match && s->run->pretokenizer->step[s->i_step].behavior == NB_SPLIT_REMOVED;
    if (s->from == s->to || dropped) return NB_OK;
    return split(s->run, s->i_step + 1, nb_str_slice(s->text, s->from, s->to), err);
}

static bool joins(nb_split_behavior behavior, bool before_is_match, bool is_match)
{
    switch (behavior) {
    case NB_SPLIT_MERGED_WITH_PREVIOUS: return is_match && !before_is_match;
    case NB_SPLIT_MERGED_WITH_NEXT: return before_is_match && !is_match;
    case NB_SPLIT_CONTIGUOUS: return before_is_match == is_match;
    default: return false;
    }
}

static int add_span(spans *s, size_t to, bool matched, nb_error *err)
{
    const nb_split_step *step = &s->run->pretokenizer->step[s->i_step];
    bool is_match = matched != step->invert;
    if (to == s->to) return NB_OK;
    if (s->from == s->to || !joins(step->behavior, s->is_match, is_match)) {
        NB_TRY(flush(s, err));
        s->from = s->to;
    }
    s->to = to;
    s->is_match = is_match;
    return NB_OK;
}

// The next match at or after *at, as [*at, *to). Empty matches do not count.
static int next_match(const run *r, int i_step, nb_str text, size_t *at, size_t *to, bool *found, nb_error *err)
{
    const pcre2_code *code = r->pretokenizer->step[i_step].code;
    pcre2_match_context *context = r->pretokenizer->context;
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int n = pcre2_match(code, (PCRE2_SPTR)text.ptr, text.len, *at, options, r->match[i_step], context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) { // the interpreter works on the heap
        n = pcre2_match(code, (PCRE2_SPTR)text.ptr, text.len, *at, options | PCRE2_NO_JIT, r->match[i_step], context);
    }
    *found = n >= 0;
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return nb_error_set(err, NB_ERR_LIMIT,
                            "the pre-tokenizer's expression gave up at byte %zu of %zu (PCRE2 error %d)", *at, text.len,
                            n);
    if (*found) {
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(r->match[i_step]);
        *to = range[1];
        *at = range[0] < *at ? *at : range[0];
    }
    return NB_OK;
}

static int split(run *r, int i_step, nb_str text, nb_error *err)
{
    if (i_step == r->pretokenizer->n_step) return r->fn(r->user, text, err);
    spans s = {.run = r, .i_step = i_step, .text = text};
    for (size_t at = 0, to = 0; at < text.len; at = to) {
        bool found;
        NB_TRY(next_match(r, i_step, text, &at, &to, &found, err));
        if (!found || to <= at) break;
        NB_TRY(add_span(&s, at, false, err));
        NB_TRY(add_span(&s, to, true, err));
    }
    NB_TRY(add_span(&s, text.len, false, err));
    return flush(&s, err);
}

int nb_pretokenize(const nb_pretokenizer *pretokenizer, nb_str text, nb_piece_fn fn, void *user, nb_error *err)
{
    run r = {.pretokenizer = pretokenizer, .fn = fn, .user = user};
    if (text.len == 0) return NB_OK;
    for (int i = 0; i < pretokenizer->n_step; i++) {
        r.match[i] = pcre2_match_data_create_from_pattern(pretokenizer->step[i].code, NULL);
        if (!r.match[i]) abort(); // as nb_alloc does
    }
    int code = split(&r, 0, text, err);
    for (int i = 0; i < pretokenizer->n_step; i++) pcre2_match_data_free(r.match[i]);
    return code;
}
