// The heads of one sequence: see matcher.h.
#include "constrain/matcher.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { COMPACT_FRAMES = 4096 }; // frames that no head uses any more are taken out from time to time

struct nb_matcher {
    nb_stacks stacks;
    nb_heads now, next;
    nb_head head[2][NB_STACKS_HEADS_MAX];
    int32_t compact_at; // frames
};

nb_matcher *nb_matcher_open(const nb_automaton *automaton)
{
    nb_matcher *m = nb_alloc(sizeof(*m));
    nb_stacks_open(&m->stacks, automaton);
    m->now.at = m->head[0];
    m->next.at = m->head[1];
    m->compact_at = COMPACT_FRAMES;
    nb_stacks_enter(&m->stacks, automaton->start, NB_BELOW_NONE, &m->now);
    return m;
}

void nb_matcher_close(nb_matcher *m)
{
    if (!m) return;
    nb_stacks_close(&m->stacks);
    free(m);
}

bool nb_matcher_read(nb_matcher *m, nb_str bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        nb_stacks_read(&m->stacks, m->now.at, m->now.n, (uint8_t)bytes.ptr[i], &m->next);
        nb_heads swap = m->now;
        m->now = m->next;
        m->next = swap;
        if ((m->now.n == 0 && !m->now.ended) || m->stacks.failed) return false;
    }
    if (m->stacks.n_frame > m->compact_at) {
        nb_stacks_compact(&m->stacks, m->now.at, m->now.n);
        m->compact_at = 2 * m->stacks.n_frame + COMPACT_FRAMES;
    }
    return true;
}

bool nb_matcher_can_end(const nb_matcher *m)
{
    return m->now.ended;
}

bool nb_matcher_must_end(const nb_matcher *m)
{
    return m->now.ended && m->now.n == 0;
}

int nb_matcher_mask(const nb_matcher *m, nb_mask_cache *cache, uint32_t *mask, nb_error *err)
{
    if (m->stacks.failed)
        return nb_error_set(err, NB_ERR_LIMIT, "the constraint leaves too many possibilities open at once");
    return nb_mask_cache_add(cache, &m->stacks, m->now.at, m->now.n, mask, err);
}
