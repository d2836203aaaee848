// A piece of bytes becomes ids. The symbols are a linked list; a heap holds every pair that has a rank, as
// rank << 32 | position, so that its smallest key is the pair to merge next. Merging leaves outdated keys behind in the
// heap: a key counts only while the symbol at its position still has that rank. Each merge adds at most two keys.
#include "text/bpe_internal.h"

#include <stdlib.h>

typedef struct work {
    const nb_bpe *bpe;
    struct nb_bpe_symbol *symbol;
    uint64_t *heap;
    size_t n_heap;
} work;

static void push(work *w, uint64_t key)
{
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t pop(work *w)
{
    uint64_t top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < w->n_heap; i = child, child = 2 * i + 1) {
        if (child + 1 < w->n_heap && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= last) break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

// Looks up the pair that begins at symbol i, and queues it if it can be merged.
static void queue_pair(work *w, int32_t i)
{
    struct nb_bpe_symbol *left = &w->symbol[i];
    left->rank = -1;
    if (left->next < 0) return;
    const nb_bpe_merge *merge = nb_bpe_merge_find(w->bpe, left->id, w->symbol[left->next].id);
    if (!merge) return;
    left->rank = merge->rank;
    left->merged = merge->id;
    push(w, (uint64_t)merge->rank << 32 | (uint32_t)i);
}

static void merge_at(work *w, int32_t i)
{
    struct nb_bpe_symbol *left = &w->symbol[i], *right = &w->symbol[left->next];
    left->id = left->merged;
    left->next = right->next;
    right->rank = -1;
    if (left->next >= 0) w->symbol[left->next].prev = i;
    queue_pair(w, i);
    if (left->prev >= 0) queue_pair(w, left->prev);
}

static int32_t symbols_of(work *w, nb_str piece)
{
    int32_t n = 0;
    for (size_t i = 0; i < piece.len; i++) {
        int32_t id = w->bpe->byte_id[(uint8_t)piece.ptr[i]];
        if (id < 0) continue;
        w->symbol[n] = (struct nb_bpe_symbol){.id = id, .prev = n - 1, .next = n + 1};
        n++;
    }
    if (n > 0) w->symbol[n - 1].next = -1;
    return n;
}

static void reserve(nb_bpe_scratch *s, size_t n)
{
    if (n > s->n_symbol_max) {
        s->n_symbol_max = 2 * n;
        s->symbol = nb_realloc(s->symbol, s->n_symbol_max * sizeof(*s->symbol));
        s->n_heap_max = 3 * s->n_symbol_max; // n - 1 pairs at the start, two keys for each of n - 1 merges
        s->heap = nb_realloc(s->heap, s->n_heap_max * sizeof(*s->heap));
    }
}

void nb_bpe_merge_piece(const nb_bpe *bpe, nb_bpe_scratch *scratch, nb_str piece, nb_ids *out)
{
    reserve(scratch, piece.len);
    work w = {.bpe = bpe, .symbol = scratch->symbol, .heap = scratch->heap};
    int32_t n = symbols_of(&w, piece);
    for (int32_t i = 0; i < n; i++) queue_pair(&w, i);
    while (w.n_heap > 0) {
        uint64_t key = pop(&w);
        int32_t i = (int32_t)(uint32_t)key;
        if (w.symbol[i].rank == (int32_t)(key >> 32)) merge_at(&w, i);
    }
    if (n == 0) return;
    for (int32_t i = 0; i >= 0; i = w.symbol[i].next) nb_ids_add(out, w.symbol[i].id);
}

void nb_bpe_encode(const nb_bpe *bpe, nb_bpe_scratch *scratch, nb_str piece, nb_ids *out)
{
    int32_t id = nb_bpe_find(bpe, piece);
    if (id >= 0 && bpe->whole[id]) {
        nb_ids_add(out, id);
    } else {
        nb_bpe_merge_piece(bpe, scratch, piece, out);
    }
}

void nb_bpe_scratch_drop(nb_bpe_scratch *scratch)
{
    free(scratch->symbol);
    free(scratch->heap);
    *scratch = (nb_bpe_scratch){0};
}
