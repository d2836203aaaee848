// Sets of code points: see char_set.h. Adding keeps the ranges sorted and apart, so every other operation is a walk.
#include "constrain/char_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static void insert(nb_char_set *set, int at, nb_char_range range)
{
    if (set->n == set->cap) {
        set->cap = set->cap ? 2 * set->cap : 8;
        set->range = nb_realloc(set->range, sizeof(*set->range) * (size_t)set->cap);
    }
    memmove(set->range + at + 1, set->range + at, sizeof(*set->range) * (size_t)(set->n - at));
    set->range[at] = range;
    set->n++;
}

static void erase(nb_char_set *set, int from, int to)
{
    if (from == to) return; // the set may hold nothing at all
    memmove(set->range + from, set->range + to, sizeof(*set->range) * (size_t)(set->n - to));
    set->n -= to - from;
}

// Takes in what it touches on both sides.
static void add(nb_char_set *set, uint32_t lo, uint32_t hi)
{
    if (lo > hi) return;
    int from = 0;
    while (from < set->n && set->range[from].hi + 1 < lo) from++;
    int to = from;
    for (; to < set->n && set->range[to].lo <= hi + 1; to++) {
        if (set->range[to].lo < lo) lo = set->range[to].lo;
        if (set->range[to].hi > hi) hi = set->range[to].hi;
    }
    erase(set, from, to);
    insert(set, from, (nb_char_range){lo, hi});
}

void nb_char_set_add(nb_char_set *set, uint32_t lo, uint32_t hi)
{
    if (hi > NB_CHAR_LAST) hi = NB_CHAR_LAST;
    add(set, lo, hi < 0xD7FF ? hi : 0xD7FF);
    add(set, lo > 0xE000 ? lo : 0xE000, hi);
}

void nb_char_set_add_set(nb_char_set *set, const nb_char_set *other)
{
    for (int i = 0; i < other->n; i++) add(set, other->range[i].lo, other->range[i].hi);
}

void nb_char_set_remove(nb_char_set *set, uint32_t lo, uint32_t hi)
{
    nb_char_set rest = {0};
    for (int i = 0; i < set->n; i++) {
        nb_char_range r = set->range[i];
        if (lo > 0) add(&rest, r.lo, r.hi < lo - 1 ? r.hi : lo - 1);
        add(&rest, r.lo > hi + 1 ? r.lo : hi + 1, r.hi);
    }
    nb_char_set_drop(set);
    *set = rest;
}

void nb_char_set_invert(nb_char_set *set)
{
    nb_char_set all = {0};
    nb_char_set_add(&all, 0, NB_CHAR_LAST);
    for (int i = 0; i < set->n; i++) nb_char_set_remove(&all, set->range[i].lo, set->range[i].hi);
    nb_char_set_drop(set);
    *set = all;
}

void nb_char_set_fold_ascii(nb_char_set *set)
{
    bool letter[26] = {0};
    for (uint32_t i = 0; i < 26; i++) letter[i] = nb_char_set_has(set, 'a' + i) || nb_char_set_has(set, 'A' + i);
    for (uint32_t i = 0; i < 26; i++) {
        if (!letter[i]) continue;
        add(set, 'a' + i, 'a' + i);
        add(set, 'A' + i, 'A' + i);
    }
}

bool nb_char_set_has(const nb_char_set *set, uint32_t c)
{
    for (int i = 0; i < set->n; i++)
        if (c >= set->range[i].lo && c <= set->range[i].hi) return true;
    return false;
}

void nb_char_set_drop(nb_char_set *set)
{
    free(set->range);
    *set = (nb_char_set){0};
}
