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

// Nodes [first, end), which are below a node at depth `base`, with the `n` heads at w->head[0].
static void walk(nb_mask_walk *w, int32_t first, int32_t end, int base, int n)
{
    const nb_vocabulary_trie *trie = w->trie;
    int32_t from[NB_TRIE_TOKEN_BYTES_MAX + 2]; // heads of a depth: from[d] to from[d + 1]
    from[base] = 0;
    from[base + 1] = n;
    for (int32_t i = first; i < end && !w->stacks.failed;) {
        const nb_trie_node *node = &trie->node[i];
        int d = node->depth;
        const nb_head *head = w->head + from[d - 1];
        nb_heads out = {.at = w->head + from[d]};
        int n_head = from[d] - from[d - 1];
        nb_stacks_read(&w->stacks, head, n_head, node->byte, &out);
        if ((w->work -= n_head) < 0) w->stacks.failed = true;
        if (out.n == 0 && !out.escaped) {
            i = node->end;
            continue;
        }
        for (int32_t tok = node->tok; tok >= 0; tok = trie->twin[tok]) w->tok[w->n_tok++] = tok;
        if (out.escaped) note_resume(w, i);
        from[d + 1] = from[d] + out.n;
        i = out.n ? i + 1 : node->end;
    }
}

// ---- Plain groups that need no walk

enum { PLAIN_SEEN_MAX = 512 };

typedef struct plain_walk { // states reached by plain characters, in the order of the fewest characters
    const nb_automaton *automaton;
    int32_t seen[PLAIN_SEEN_MAX];
    int n;
    bool full;
} plain_walk;

static void plain_see(plain_walk *p, int32_t state)
{
    for (int i = 0; i < p->n; i++)
        if (p->seen[i] == state) return;
    if (p->n == PLAIN_SEEN_MAX)
        p->full = true;
    else
        p->seen[p->n++] = state;
}

// States behind bytes lo to hi of `state`, put into `out`; false when one of the bytes cannot be read.
static bool read_all(const nb_automaton *a, int32_t state, int lo, int hi, int32_t *out, int *n)
{
    const nb_state *s = &a->state[state];
    *n = 0;
    for (int k = 0; k < s->n_edge && lo <= hi; k++) {
        const nb_edge *e = &a->edge[s->edge + k];
        if (e->hi < lo) continue;
        if (e->lo > lo) return false;
        out[(*n)++] = e->to;
        lo = e->hi + 1;
    }
    return lo > hi;
}

typedef struct byte_range {
    uint8_t lo, hi;
} byte_range;

// All characters made of these ranges of bytes lead on.
static bool read_chars(plain_walk *p, int32_t state, const byte_range *range, int n_range)
{
    int32_t next[256];
    int n;
    if (!read_all(p->automaton, state, range[0].lo, range[0].hi, next, &n)) return false;
    for (int i = 0; i < n; i++) {
        if (n_range == 1)
            plain_see(p, next[i]);
        else if (!read_chars(p, next[i], range + 1, n_range - 1))
            return false;
    }
    return true;
}

static bool read_plain(plain_walk *p, int32_t state)
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
    for (size_t i = 0; i < sizeof(form) / sizeof(form[0]); i++)
        if (!read_chars(p, state, form[i].range, form[i].n)) return false;
    return true;
}

// The number of plain characters, whichever they are, that the state's own rule reads; at most the longest group's.
static int plain_depth(const nb_automaton *automaton, int32_t state)
{
    plain_walk p = {.automaton = automaton, .seen = {state}, .n = 1};
    int depth = 0, most = nb_trie_plain_chars[NB_TRIE_PLAIN_GROUPS - 1];
    for (int i = 0; i < p.n; depth++) {
        int level_end = p.n;
        for (; i < level_end; i++)
            if (!read_plain(&p, p.seen[i]) || p.full) return depth;
    }
    return most;
}

// ---- Both kinds of walk

bool nb_mask_walk_head(nb_mask_walk *w, const nb_automaton *automaton, int32_t state)
{
    begin(w, automaton);
    int depth = plain_depth(automaton, state);
    for (int k = 0; k < NB_TRIE_GROUPS; k++) {
        if (k < NB_TRIE_PLAIN_GROUPS && nb_trie_plain_chars[k] <= depth) {
            w->whole[k] = true;
            continue;
        }
        w->head[0] = (nb_head){state, NB_BELOW_UNKNOWN};
        walk(w, w->trie->group[k], w->trie->group[k + 1], 0, 1);
    }
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
