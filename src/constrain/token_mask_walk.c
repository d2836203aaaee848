// Walks of the trie with all stacks at once. Below the rule that the walk begins with nothing is known.
#include "constrain/token_mask_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

void nb_mask_walk_open(nb_mask_walk *w, const nb_vocabulary_trie *trie)
{
    *w = (nb_mask_walk){.trie = trie};
    nb_stacks_open(&w->stacks, NULL);
    w->head = nb_alloc(sizeof(*w->head) * NB_STACKS_HEADS_MAX * (NB_TRIE_TOKEN_BYTES_MAX + 2));
    w->tok = nb_alloc(sizeof(*w->tok) * (size_t)(trie->n_tok + 1));
}

void nb_mask_walk_close(nb_mask_walk *w)
{
    nb_stacks_close(&w->stacks);
    free(w->head);
    free(w->tok);
    free(w->resume);
}

static void begin(nb_mask_walk *w, const nb_automaton *automaton)
{
    nb_stacks_clear(&w->stacks);
    w->stacks.automaton = automaton;
    w->stacks.failed = false;
    w->n_tok = w->n_resume = 0;
    w->work = NB_MASK_WORK_MAX;
    memset(w->whole, 0, sizeof(w->whole));
}

static void note_resume(nb_mask_walk *w, int32_t node)
{
    if (w->trie->node[node].end == node + 1) return; // nothing longer
    if (w->n_resume == w->cap_resume) {
        w->cap_resume = w->cap_resume ? 2 * w->cap_resume : 256;
        w->resume = nb_realloc(w->resume, sizeof(*w->resume) * (size_t)w->cap_resume);
    }
    w->resume[w->n_resume++] = node;
}

static void add_tokens(nb_mask_walk *w, int32_t list)
{
    if (list < 0) return;
    while (w->trie->list[list] >= 0) w->tok[w->n_tok++] = w->trie->list[list++];
    w->tok[w->n_tok++] = ~w->trie->list[list];
}

// Heads behind a byte, as nb_stacks_read; most often there is one and it stays in its rule.
static inline void read_byte(nb_stacks *stacks, const nb_head *head, int n, uint8_t b, nb_heads *out)
{
    if (n == 1) {
        int32_t to = nb_automaton_step(stacks->automaton, head->state, b);
        if (to < 0) return;
        if (stacks->automaton->state[to].simple) {
            out->at[out->n++] = (nb_head){to, head->below};
            return;
        }
    }
    nb_stacks_read(stacks, head, n, b, out);
}

// Nodes [first, end), which are below a node at depth `base`, with the `n` heads at w->head[0].
static void walk(nb_mask_walk *w, int32_t first, int32_t end, int base, int n)
{
    const nb_trie_node *all = w->trie->node;
    int32_t from[NB_TRIE_TOKEN_BYTES_MAX + 2]; // heads of a depth: from[d] to from[d + 1]
    from[base] = 0;
    from[base + 1] = n;
    for (int32_t i = first; i < end && !w->stacks.failed;) {
        const nb_trie_node *node = &all[i];
        int d = node->depth, n_head = from[d] - from[d - 1];
        nb_heads out = {.at = w->head + from[d]};
        read_byte(&w->stacks, w->head + from[d - 1], n_head, node->byte, &out);
        if ((w->work -= n_head) < 0) w->stacks.failed = true;
        if (out.n == 0 && !out.escaped) {
            i = node->end;
            continue;
        }
        add_tokens(w, node->list);
        if (out.escaped) note_resume(w, i);
        from[d + 1] = from[d] + out.n;
        i = out.n ? i + 1 : node->end;
    }
}

// ---- Plain groups that need no walk

// States behind bytes lo to hi of `state`, put into `out`; false when one of the bytes cannot be read.
static bool read_all(const nb_automaton *a, int32_t state, int lo, int hi, int32_t *out, int *n)
{
    const nb_state *s = &a->state[state];
    bool all = true;
    *n = 0;
    for (int k = 0; k < s->n_edge && lo <= hi; k++) {
        const nb_edge *e = &a->edge[s->edge + k];
        if (e->hi < lo) continue;
        if (e->lo > hi) break;
        all &= e->lo <= lo;
        out[(*n)++] = e->to;
        lo = e->hi + 1;
    }
    return all && lo > hi;
}

typedef struct byte_range {
    uint8_t lo, hi;
} byte_range;

// Where the plain characters lead from a state of one rule.
typedef enum plain_step {
    PLAIN_SAME,    // all of them to one state
    PLAIN_NONE,    // none of them anywhere
    PLAIN_DIFFERS, // anything else
} plain_step;

typedef struct plain_walk {
    const nb_automaton *automaton;
    int32_t to;           // the state found, or -1
    bool some, all, same; // of the characters seen: some can be read, all can, they lead to one state
} plain_walk;

// Characters made of these ranges of bytes.
static void read_chars(plain_walk *p, int32_t state, const byte_range *range, int n_range)
{
    int32_t next[256];
    int n;
    p->all &= read_all(p->automaton, state, range[0].lo, range[0].hi, next, &n);
    for (int i = 0; i < n; i++) {
        if (n_range > 1) {
            read_chars(p, next[i], range + 1, n_range - 1);
            continue;
        }
        p->same &= p->to < 0 || p->to == next[i];
        p->to = next[i];
        p->some = true;
    }
}

static plain_step read_plain(const nb_automaton *automaton, int32_t state, int32_t *to)
{
    static const struct {
        int n;
        byte_range range[4];
    } form[] = {
        {1, {{0x20, 0x21}}},
        {1, {{0x23, 0x5B}}},
        {1, {{0x5D, 0x7E}}},
        {2, {{0xC2, 0xDF}, {0x80, 0xBF}}},
        {3, {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}},
        {3, {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {3, {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}},
        {3, {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {4, {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {4, {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {4, {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}},
    };
    plain_walk p = {.automaton = automaton, .to = -1, .all = true, .same = true};
    for (size_t i = 0; i < sizeof(form) / sizeof(form[0]) && p.same && (p.all || !p.some); i++)
        read_chars(&p, state, form[i].range, form[i].n);
    *to = p.to;
    if (!p.some) return PLAIN_NONE;
    return p.all && p.same ? PLAIN_SAME : PLAIN_DIFFERS;
}

// The states behind 0, 1, 2, ... plain characters, whichever they are.
typedef struct plain_chain {
    int32_t state[NB_TRIE_PREFIX_MAX + 1];
    int n;        // states known
    bool forever; // as many characters as one likes; the last state stands for all behind it
    bool stops;   // behind the last state no plain character can be read
} plain_chain;

static void follow_plain(const nb_automaton *automaton, int32_t state, plain_chain *out)
{
    *out = (plain_chain){.state = {state}, .n = 1};
    for (;;) {
        int32_t at = out->state[out->n - 1], to;
        plain_step step = read_plain(automaton, at, &to);
        out->forever = step == PLAIN_SAME && to == at;
        out->stops = step == PLAIN_NONE;
        if (step != PLAIN_SAME || out->forever || out->n > NB_TRIE_PREFIX_MAX) return;
        out->state[out->n++] = to;
    }
}

// ---- Both kinds of walk

static void walk_group(nb_mask_walk *w, int group, int32_t state)
{
    w->head[0] = (nb_head){state, NB_BELOW_UNKNOWN};
    walk(w, w->trie->group[group], w->trie->group[group + 1], 0, 1);
}

static void walk_plain_groups(nb_mask_walk *w, const plain_chain *chain, int32_t state)
{
    for (int k = 0, least = 1; k < NB_TRIE_PLAIN_GROUPS; least = nb_trie_plain_chars[k++] + 1) {
        if (chain->forever || nb_trie_plain_chars[k] < chain->n)
            w->whole[k] = true;
        else if (!chain->stops || least < chain->n)
            walk_group(w, k, state);
    }
}

static void walk_tails(nb_mask_walk *w, const plain_chain *chain, int32_t state)
{
    for (int k = 0; k <= NB_TRIE_PREFIX_MAX; k++)
        if (k < chain->n || chain->forever)
            walk_group(w, NB_TRIE_TAILS + k, chain->state[k < chain->n ? k : chain->n - 1]);
    if (!chain->stops) walk_group(w, NB_TRIE_LONG, state);
}

// Tails say all of a token only if every number of plain characters before them is known to be possible or impossible.
bool nb_mask_walk_head(nb_mask_walk *w, const nb_automaton *automaton, int32_t state)
{
    plain_chain chain;
    begin(w, automaton);
    follow_plain(automaton, state, &chain);
    walk_plain_groups(w, &chain, state);
    if (chain.forever || chain.stops || chain.n > NB_TRIE_PREFIX_MAX)
        walk_tails(w, &chain, state);
    else
        walk_group(w, NB_TRIE_REST, state);
    return !w->stacks.failed;
}

bool nb_mask_walk_resume(nb_mask_walk *w, const nb_automaton *automaton, int32_t state, const int32_t *node, int32_t n)
{
    begin(w, automaton);
    nb_heads first = {.at = w->head};
    nb_stacks_enter(&w->stacks, state, NB_BELOW_UNKNOWN, &first);
    for (int32_t i = 0; i < n; i++) {
        const nb_trie_node *at = &w->trie->node[node[i]];
        if (first.escaped) note_resume(w, node[i]);
        walk(w, node[i] + 1, at->end, at->depth, first.n);
    }
    return !w->stacks.failed;
}
