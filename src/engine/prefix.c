// The tree of pages in a chained hash table: see prefix.h.
#include "engine/prefix.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/arena.h"

static int32_t *filled(size_t n, int32_t value)
{
    int32_t *array = nb_alloc(sizeof(int32_t) * n);
    for (size_t i = 0; i < n; i++) array[i] = value;
    return array;
}

void nb_prefix_open(nb_prefix *prefix, nb_pages *pages, nb_slots *slots, bool needs_state)
{
    size_t n = (size_t)pages->n_page;
    *prefix = (nb_prefix){.pages = pages, .slots = slots, .needs_state = needs_state, .n_bucket = 16};
    while (prefix->n_bucket < n) prefix->n_bucket *= 2;
    prefix->bucket = filled(prefix->n_bucket, -1);
    prefix->next = filled(n, -1);
    prefix->parent = filled(n, -1);
    prefix->state = filled(n, -1);
    prefix->n_child = filled(n, 0);
    prefix->key = nb_alloc(sizeof(uint64_t) * n);
    prefix->tok = nb_alloc(sizeof(prefix->tok[0]) * n);
}

void nb_prefix_close(nb_prefix *prefix)
{
    free(prefix->bucket);
    free(prefix->next);
    free(prefix->parent);
    free(prefix->state);
    free(prefix->n_child);
    free(prefix->key);
    free(prefix->tok);
}

static uint64_t key_of(const nb_prefix *prefix, int32_t parent, const int32_t *tok)
{
    return XXH3_64bits_withSeed(tok, sizeof(prefix->tok[0]), parent < 0 ? 0 : prefix->key[parent]);
}

static int32_t *bucket_of(const nb_prefix *prefix, uint64_t key)
{
    return &prefix->bucket[key & (prefix->n_bucket - 1)];
}

static int32_t child_of(const nb_prefix *prefix, int32_t parent, uint64_t key, const int32_t *tok)
{
    int32_t page = *bucket_of(prefix, key);
    for (; page >= 0; page = prefix->next[page])
        if (prefix->key[page] == key && prefix->parent[page] == parent &&
            memcmp(prefix->tok[page], tok, sizeof(prefix->tok[0])) == 0)
            break;
    return page;
}

int nb_prefix_find(const nb_prefix *prefix, const int32_t *tok, int n_page, int32_t *page)
{
    int n_hit = 0;
    int32_t node = -1;
    for (int i = 0; i < n_page; i++, tok += NB_PAGE_TOKENS) {
        node = child_of(prefix, node, key_of(prefix, node, tok), tok);
        if (node < 0) break;
        page[i] = node;
        if (!prefix->needs_state || prefix->state[node] >= 0) n_hit = i + 1;
    }
    return n_hit;
}

int32_t nb_prefix_add(nb_prefix *prefix, int32_t parent, const int32_t *tok, int32_t page)
{
    uint64_t key = key_of(prefix, parent, tok);
    int32_t known = child_of(prefix, parent, key, tok);
    if (known >= 0) return known;
    prefix->key[page] = key;
    prefix->parent[page] = parent;
    memcpy(prefix->tok[page], tok, sizeof(prefix->tok[0]));
    prefix->next[page] = *bucket_of(prefix, key);
    *bucket_of(prefix, key) = page;
    if (parent >= 0) prefix->n_child[parent]++;
    nb_pages_index(prefix->pages, page);
    return page;
}

void nb_prefix_attach(nb_prefix *prefix, int32_t page, int32_t slot)
{
    assert(prefix->pages->indexed[page] && prefix->state[page] < 0);
    prefix->state[page] = slot;
    nb_slots_save(prefix->slots, slot, page);
}

int32_t nb_prefix_detach(nb_prefix *prefix, int32_t page)
{
    assert(prefix->state[page] >= 0);
    nb_slots_drop(prefix->slots, prefix->state[page]);
    prefix->state[page] = -1;
    return nb_slots_take(prefix->slots);
}

static void drop_state(nb_prefix *prefix, int32_t page)
{
    if (prefix->state[page] >= 0) nb_slots_drop(prefix->slots, prefix->state[page]);
    prefix->state[page] = -1;
}

static void evict_page(nb_prefix *prefix, int32_t page)
{
    assert(prefix->n_child[page] == 0);
    int32_t *link = bucket_of(prefix, prefix->key[page]);
    while (*link != page) link = &prefix->next[*link];
    *link = prefix->next[page];
    if (prefix->parent[page] >= 0) prefix->n_child[prefix->parent[page]]--;
    prefix->parent[page] = -1;
    drop_state(prefix, page);
    nb_pages_forget(prefix->pages, page);
}

int32_t nb_prefix_take_page(nb_prefix *prefix)
{
    if (prefix->pages->n_free == 0 && prefix->pages->idle.n > 0) evict_page(prefix, prefix->pages->idle.oldest);
    return nb_pages_take(prefix->pages);
}

int32_t nb_prefix_take_slot(nb_prefix *prefix)
{
    nb_slots *slots = prefix->slots;
    if (slots->n_free == 0 && slots->saved.n > 0) drop_state(prefix, slots->owner[slots->saved.oldest]);
    return nb_slots_take(slots);
}

static bool check_node(const nb_prefix *prefix, int32_t page, int *n_state, int *n_child)
{
    int32_t state = prefix->state[page], parent = prefix->parent[page];
    if (!prefix->pages->indexed[page]) return state < 0 && prefix->n_child[page] == 0;
    *n_child += prefix->n_child[page];
    if (parent >= 0) --*n_child;
    if (state >= 0) ++*n_state;
    if (state >= 0 && prefix->slots->owner[state] != page) return false;
    if (parent >= 0 && !prefix->pages->indexed[parent]) return false;
    return child_of(prefix, parent, key_of(prefix, parent, prefix->tok[page]), prefix->tok[page]) == page;
}

bool nb_prefix_check(const nb_prefix *prefix)
{
    int n_state = 0, n_child = 0;
    for (int32_t page = 0; page < prefix->pages->n_page; page++)
        if (!check_node(prefix, page, &n_state, &n_child)) return false;
    return n_state == prefix->slots->saved.n && n_child == 0 && nb_pages_check(prefix->pages) &&
           nb_slots_check(prefix->slots);
}
