// Stacks as a shared tree: see stacks.h.
#include "constrain/stacks.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { FIRST_SLOTS = 256 };

void nb_stacks_open(nb_stacks *s, const nb_automaton *automaton)
{
    s->automaton = automaton;
    s->frame = NULL;
    s->n_frame = s->cap_frame = 0;
    s->n_slot = FIRST_SLOTS;
    s->slot = nb_alloc(sizeof(*s->slot) * FIRST_SLOTS);
    s->failed = false;
}

void nb_stacks_close(nb_stacks *s)
{
    free(s->frame);
    free(s->slot);
}

// ---- Frames

static uint32_t hash(int32_t state, int32_t below)
{
    uint64_t h = ((uint64_t)(uint32_t)state << 32 | (uint32_t)below) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static int32_t *slot_of(const nb_stacks *s, int32_t state, int32_t below)
{
    uint32_t h = hash(state, below), mask = (uint32_t)s->n_slot - 1;
    for (;; h++) {
        int32_t *slot = &s->slot[h & mask];
        if (!*slot || (s->frame[*slot - 1].state == state && s->frame[*slot - 1].below == below)) return slot;
    }
}

void nb_stacks_clear(nb_stacks *s)
{
    if (s->n_frame > s->n_slot / 8) {
        memset(s->slot, 0, sizeof(*s->slot) * (size_t)s->n_slot);
    } else {
        while (s->n_frame > 0) { // newest first, so that the ones before are still found
            const nb_frame *f = &s->frame[s->n_frame - 1];
            *slot_of(s, f->state, f->below) = 0;
            s->n_frame--;
        }
    }
    s->n_frame = 0;
}

static void grow(nb_stacks *s)
{
    if (s->n_frame == s->cap_frame) {
        s->cap_frame = s->cap_frame ? 2 * s->cap_frame : 64;
        s->frame = nb_realloc(s->frame, sizeof(*s->frame) * (size_t)s->cap_frame);
    }
    if (2 * (s->n_frame + 1) < s->n_slot) return;
    free(s->slot);
    s->n_slot *= 4;
    s->slot = nb_alloc(sizeof(*s->slot) * (size_t)s->n_slot);
    for (int32_t i = 0; i < s->n_frame; i++) *slot_of(s, s->frame[i].state, s->frame[i].below) = i + 1;
}

enum { NO_FRAME = -3 };

// The number of a frame; NO_FRAME when there may be no more.
static int32_t frame_of(nb_stacks *s, int32_t state, int32_t below)
{
    int32_t *slot = slot_of(s, state, below);
    if (*slot) return *slot - 1;
    if (s->n_frame >= NB_STACKS_FRAMES_MAX) {
        s->failed = true;
        return NO_FRAME;
    }
    int32_t depth = below >= 0 ? s->frame[below].depth + 1 : 1;
    if (depth > NB_STACKS_DEPTH_MAX) return NO_FRAME;
    grow(s);
    s->frame[s->n_frame] = (nb_frame){state, below, depth};
    *slot_of(s, state, below) = s->n_frame + 1;
    return s->n_frame++;
}

// ---- Heads

static void add_head(nb_stacks *s, nb_head head, nb_heads *out)
{
    for (int i = 0; i < out->n; i++)
        if (out->at[i].state == head.state && out->at[i].below == head.below) return;
    if (out->n == NB_STACKS_HEADS_MAX)
        s->failed = true;
    else
        out->at[out->n++] = head;
}

static void see(nb_stacks *s, int32_t state, int32_t below, int *n)
{
    for (int i = 0; i < *n; i++)
        if (s->seen[i].state == state && s->seen[i].below == below) return;
    if (*n == NB_STACKS_SEEN_MAX)
        s->failed = true;
    else
        s->seen[(*n)++] = (nb_head){state, below};
}

static void see_calls(nb_stacks *s, const nb_state *state, int32_t below, int *n)
{
    for (int k = 0; k < state->n_call && !s->failed; k++) {
        const nb_call *c = &s->automaton->call[state->call + k];
        int32_t frame = c->back < 0 ? below : frame_of(s, c->back, below);
        if (frame != NO_FRAME) see(s, c->start, frame, n);
    }
}

void nb_stacks_enter(nb_stacks *s, int32_t first, int32_t first_below, nb_heads *out)
{
    if (s->automaton->state[first].simple) {
        add_head(s, (nb_head){first, first_below}, out);
        return;
    }
    int n = 0;
    see(s, first, first_below, &n);
    for (int i = 0; i < n; i++) {
        nb_head at = s->seen[i];
        const nb_state *state = &s->automaton->state[at.state];
        if (state->n_edge > 0) add_head(s, at, out);
        see_calls(s, state, at.below, &n);
        if (!state->ends) continue;
        if (at.below == NB_BELOW_NONE)
            out->ended = true;
        else if (at.below == NB_BELOW_UNKNOWN)
            out->escaped = true;
        else
            see(s, s->frame[at.below].state, s->frame[at.below].below, &n);
    }
}

void nb_stacks_read(nb_stacks *s, const nb_head *head, int n, uint8_t b, nb_heads *out)
{
    out->n = 0;
    out->ended = out->escaped = false;
    for (int i = 0; i < n; i++) {
        int32_t to = nb_automaton_step(s->automaton, head[i].state, b);
        if (to >= 0) nb_stacks_enter(s, to, head[i].below, out);
    }
}

// ---- Taking out what is no longer used

static int32_t keep(nb_stacks *fresh, const nb_stacks *old, int32_t *number, int32_t below)
{
    int32_t path[NB_STACKS_DEPTH_MAX];
    int n = 0;
    for (; below >= 0 && number[below] < 0; below = old->frame[below].below) path[n++] = below;
    int32_t under = below >= 0 ? number[below] : below;
    while (n > 0) {
        int32_t i = path[--n];
        under = number[i] = frame_of(fresh, old->frame[i].state, under);
    }
    return under;
}

void nb_stacks_compact(nb_stacks *s, nb_head *head, int n)
{
    nb_stacks *fresh = nb_alloc(sizeof(*fresh));
    int32_t *number = nb_alloc(sizeof(*number) * (size_t)(s->n_frame + 1));
    nb_stacks_open(fresh, s->automaton);
    for (int32_t i = 0; i < s->n_frame; i++) number[i] = -1;
    for (int i = 0; i < n; i++) head[i].below = keep(fresh, s, number, head[i].below);
    fresh->failed |= s->failed;
    nb_stacks_close(s);
    *s = *fresh;
    free(fresh);
    free(number);
}
