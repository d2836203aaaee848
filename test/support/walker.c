#include "support/walker.h"

#include <string.h>

#include "base/arena.h"

uint32_t walk_random(uint64_t *seed) // splitmix64
{
    uint64_t z = *seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static bool can_read(const nb_automaton *a, const nb_heads *heads, int byte)
{
    for (int i = 0; i < heads->n; i++)
        if (nb_automaton_step(a, heads->at[i].state, (uint8_t)byte) >= 0) return true;
    return false;
}

static int pick_byte(const nb_automaton *a, const nb_heads *heads, uint64_t *seed)
{
    int possible[256], n = 0;
    for (int b = 0; b < 256; b++)
        if (can_read(a, heads, b)) possible[n++] = b;
    return possible[walk_random(seed) % (uint32_t)n];
}

bool walk_text(const nb_automaton *a, uint64_t *seed, size_t max_bytes, uint32_t reluctance, nb_buf *out)
{
    static nb_head room[2][NB_STACKS_HEADS_MAX];
    nb_stacks stacks;
    nb_heads now = {.at = room[0]}, next = {.at = room[1]};
    nb_stacks_open(&stacks, a);
    nb_stacks_enter(&stacks, a->start, NB_BELOW_NONE, &now);
    nb_buf_clear(out);
    bool ended = false;
    while (out->len <= max_bytes && !ended) {
        ended = now.ended && (now.n == 0 || walk_random(seed) % reluctance == 0);
        if (ended) break;
        int b = pick_byte(a, &now, seed);
        nb_buf_add_char(out, (char)b);
        nb_stacks_read(&stacks, now.at, now.n, (uint8_t)b, &next);
        nb_heads swap = now;
        now = next;
        next = swap;
    }
    nb_stacks_close(&stacks);
    return ended;
}

bool walk_accepts(const nb_automaton *a, nb_str text)
{
    nb_matcher *m = nb_matcher_open(a);
    bool ok = nb_matcher_read(m, text) && nb_matcher_can_end(m);
    nb_matcher_close(m);
    return ok;
}
