// The cache of masks: see token_mask.h. An entry is found by the one before it (of the head, then of each frame below)
// and a state; the first by the automaton. Serial numbers are never used twice, so what belongs to an automaton or
// entry that is gone is never found again and leaves as the least recently used.
#include "constrain/token_mask.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "constrain/token_mask_internal.h"

typedef struct entry {
    uint64_t before; // serial of the entry before; of the automaton, with its highest bit set
    int32_t state;
    uint64_t serial;
    struct entry *next; // in the hash table
    struct entry *newer, *older;
    uint32_t *bits; // [n_word], or NULL and
    int32_t *tok;   // [n_tok]
    int32_t n_tok;
    int32_t *resume; // [n_resume]
    int32_t n_resume;
    int64_t n_byte;
} entry;

enum { SLOTS = 1 << 16 };

struct nb_mask_cache {
    const nb_vocabulary_trie *trie;
    int64_t max_bytes;
    pthread_mutex_t mutex; // all below
    nb_mask_walk walk;
    entry *slot[SLOTS];
    entry *newest, *oldest;
    uint64_t n_serial;
    nb_mask_cache_stats stats;
};

nb_mask_cache *nb_mask_cache_open(const nb_vocabulary_trie *trie, int64_t max_bytes)
{
    nb_mask_cache *cache = nb_alloc(sizeof(*cache));
    cache->trie = trie;
    cache->max_bytes = max_bytes;
    pthread_mutex_init(&cache->mutex, NULL);
    nb_mask_walk_open(&cache->walk, trie);
    return cache;
}

// ---- Entries

static entry **slot_of(nb_mask_cache *cache, uint64_t before, int32_t state)
{
    uint64_t h = (before * 0x9E3779B97F4A7C15u + (uint32_t)state) * 0xD6E8FEB86659FD93u;
    return &cache->slot[h >> 48];
}

static void unlink_age(nb_mask_cache *cache, entry *e)
{
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
}

static void link_newest(nb_mask_cache *cache, entry *e)
{
    e->newer = NULL;
    e->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = e;
    cache->newest = e;
}

static void drop(nb_mask_cache *cache, entry *e)
{
    entry **at = slot_of(cache, e->before, e->state);
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    unlink_age(cache, e);
    cache->stats.n_byte -= e->n_byte;
    cache->stats.n_entry--;
    free(e->bits);
    free(e->tok);
    free(e->resume);
    free(e);
}

void nb_mask_cache_close(nb_mask_cache *cache)
{
    if (!cache) return;
    while (cache->oldest) drop(cache, cache->oldest);
    nb_mask_walk_close(&cache->walk);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

static void *copy_of(const void *from, size_t n_byte)
{
    return n_byte ? memcpy(nb_alloc(n_byte), from, n_byte) : NULL;
}

static void set_bits(uint32_t *mask, const int32_t *tok, int32_t n)
{
    for (int32_t i = 0; i < n; i++) mask[tok[i] / 32] |= 1u << (tok[i] % 32);
}

static void add_bits(uint32_t *mask, const uint32_t *bits, int32_t n_word)
{
    for (int32_t i = 0; i < n_word; i++) mask[i] |= bits[i];
}

// The walk's result, as a list of tokens or as bits, whichever is smaller.
static entry *make_entry(nb_mask_cache *cache, uint64_t before, int32_t state)
{
    const nb_mask_walk *w = &cache->walk;
    entry *e = nb_alloc(sizeof(*e));
    bool dense = w->n_tok > cache->trie->n_word;
    for (int k = 0; k < NB_TRIE_PLAIN_GROUPS; k++) dense |= w->whole[k];
    *e = (entry){.before = before, .state = state, .serial = ++cache->n_serial, .n_resume = w->n_resume};
    e->resume = copy_of(w->resume, sizeof(*w->resume) * (size_t)w->n_resume);
    if (dense) {
        e->bits = nb_alloc(sizeof(*e->bits) * (size_t)cache->trie->n_word);
        for (int k = 0; k < NB_TRIE_PLAIN_GROUPS; k++)
            if (w->whole[k]) add_bits(e->bits, cache->trie->mask[k], cache->trie->n_word);
        set_bits(e->bits, w->tok, w->n_tok);
    } else {
        e->n_tok = w->n_tok;
        e->tok = copy_of(w->tok, sizeof(*w->tok) * (size_t)w->n_tok);
    }
    e->n_byte = (int64_t)(sizeof(*e) + sizeof(int32_t) * (size_t)(e->n_tok + e->n_resume) +
                          (dense ? sizeof(uint32_t) * (size_t)cache->trie->n_word : 0));
    return e;
}

static entry *insert(nb_mask_cache *cache, entry *e)
{
    entry **slot = slot_of(cache, e->before, e->state);
    e->next = *slot;
    *slot = e;
    link_newest(cache, e);
    cache->stats.n_byte += e->n_byte;
    cache->stats.n_entry++;
    while (cache->stats.n_byte > cache->max_bytes && cache->oldest != e) drop(cache, cache->oldest);
    return e;
}

static entry *find(nb_mask_cache *cache, uint64_t before, int32_t state)
{
    entry *e = *slot_of(cache, before, state);
    while (e && (e->before != before || e->state != state)) e = e->next;
    if (!e) {
        cache->stats.n_miss++;
        return NULL;
    }
    cache->stats.n_hit++;
    unlink_age(cache, e);
    link_newest(cache, e);
    return e;
}

// ---- Masks

static void add_entry(const nb_mask_cache *cache, const entry *e, uint32_t *mask)
{
    if (e->bits)
        add_bits(mask, e->bits, cache->trie->n_word);
    else
        set_bits(mask, e->tok, e->n_tok);
}

// The entry of a head's state; NULL: it would take too much work.
static entry *entry_of_head(nb_mask_cache *cache, const nb_automaton *automaton, int32_t state)
{
    uint64_t root = automaton->serial | 1ull << 63;
    entry *e = find(cache, root, state);
    if (e) return e;
    if (!nb_mask_walk_head(&cache->walk, automaton, state)) return NULL;
    return insert(cache, make_entry(cache, root, state));
}

static int readable_ascii(const nb_automaton *automaton, int32_t state)
{
    const nb_state *s = &automaton->state[state];
    int n = 0;
    for (int k = 0; k < s->n_edge; k++) {
        const nb_edge *e = &automaton->edge[s->edge + k];
        if (e->lo < 0x80) n += (e->hi < 0x80 ? e->hi : 0x7F) - e->lo + 1;
    }
    return n;
}

void nb_mask_cache_warm(nb_mask_cache *cache, const nb_automaton *automaton)
{
    int64_t work = NB_MASK_WARM_WORK;
    for (int32_t i = 0; i < automaton->n_state && work > 0; i++) {
        if (readable_ascii(automaton, i) < NB_MASK_WARM_BYTES) continue;
        pthread_mutex_lock(&cache->mutex); // for one state at a time: the engine's thread waits for it, too
        entry_of_head(cache, automaton, i);
        work -= NB_MASK_WORK_MAX - cache->walk.work;
        pthread_mutex_unlock(&cache->mutex);
    }
}

// The head's own entry, then one for each frame below for as long as longer tokens go on there. The walk of an entry
// reads the one before, which is newer than all others and hence still there.
static bool add_head(nb_mask_cache *cache, const nb_stacks *stacks, nb_head head, uint32_t *mask)
{
    const nb_automaton *automaton = stacks->automaton;
    entry *e = entry_of_head(cache, automaton, head.state);
    if (!e) return false;
    add_entry(cache, e, mask);
    for (int32_t below = head.below; below >= 0 && e->n_resume > 0; below = stacks->frame[below].below) {
        int32_t state = stacks->frame[below].state;
        entry *next = find(cache, e->serial, state);
        if (!next) {
            if (!nb_mask_walk_resume(&cache->walk, automaton, state, e->resume, e->n_resume)) return false;
            next = insert(cache, make_entry(cache, e->serial, state));
        }
        e = next;
        add_entry(cache, e, mask);
    }
    return true;
}

int nb_mask_cache_add(nb_mask_cache *cache, const nb_stacks *stacks, const nb_head *head, int n, uint32_t *mask,
                      nb_error *err)
{
    bool ok = true;
    pthread_mutex_lock(&cache->mutex);
    for (int i = 0; i < n && ok; i++) ok = add_head(cache, stacks, head[i], mask);
    pthread_mutex_unlock(&cache->mutex);
    if (ok) return NB_OK;
    return nb_error_set(err, NB_ERR_LIMIT, "the constraint leaves too many possibilities open at once");
}

nb_mask_cache_stats nb_mask_cache_read(nb_mask_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    nb_mask_cache_stats stats = cache->stats;
    pthread_mutex_unlock(&cache->mutex);
    return stats;
}
