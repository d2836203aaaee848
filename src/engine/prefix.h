// The prefix index: which pages hold the keys and values of which tokens, and at which page ends the recurrent state is
// saved. It is a tree whose nodes are pages: a node's key is the hash of its tokens seeded with its parent's key, so a
// key stands for the whole prefix, and a lookup walks from the root. On a hit the parent and the token ids are
// compared: two prefixes with the same hash are two nodes, never one.
//
// A model with DeltaNet layers can only go on from a saved state, so there a hit is the longest prefix whose pages are
// all known and that ends at a page with a saved state. Without such layers any full page will do.
//
// Invariants
//  1. A node's parent is a node. Eviction takes leaves only. This needs no search: whoever holds a page holds its
//     parents, and holders drop their pages from the last to the first, so the oldest idle page has no children.
//  2. The state saved at a page is the state after exactly the tokens of the path to it.
//  3. Content that is already known is not indexed twice: nb_prefix_add gives back the page that has it.
#ifndef NB_PREFIX_H
#define NB_PREFIX_H

#include "engine/pages.h"
#include "engine/slots.h"
#include "model/batch.h"

typedef struct nb_prefix {
    nb_pages *pages;
    nb_slots *slots;
    bool needs_state;               // the model has DeltaNet layers
    uint32_t n_bucket;              // a power of two
    int32_t *bucket;                // [n_bucket] first page, -1: empty
    int32_t *next;                  // [n_page] in the bucket
    uint64_t *key;                  // [n_page]
    int32_t *parent;                // [n_page] page, -1: at the root
    int32_t *n_child;               // [n_page]
    int32_t *state;                 // [n_page] slot with the state at the page's end, -1: none
    int32_t (*tok)[NB_PAGE_TOKENS]; // [n_page]
} nb_prefix;

void nb_prefix_open(nb_prefix *prefix, nb_pages *pages, nb_slots *slots, bool needs_state);
void nb_prefix_close(nb_prefix *prefix);

// The longest hit for tok[n_page * NB_PAGE_TOKENS]: writes its pages and returns how many. Holds nothing.
int nb_prefix_find(const nb_prefix *prefix, const int32_t *tok, int n_page, int32_t *page);

// Makes the held page `page` known as the child of `parent` (-1: root) with these NB_PAGE_TOKENS tokens. Returns it, or
// the page that already has this content; the caller then should hold that one and drop its own.
int32_t nb_prefix_add(nb_prefix *prefix, int32_t parent, const int32_t *tok, int32_t page);

// Attaches a running slot, which becomes saved, to an indexed page that has no state. Detach makes it running again.
void nb_prefix_attach(nb_prefix *prefix, int32_t page, int32_t slot);
int32_t nb_prefix_detach(nb_prefix *prefix, int32_t page);

// A page or a slot for a sequence; gives up the page or state that nobody used for the longest time. -1: none is left.
int32_t nb_prefix_take_page(nb_prefix *prefix);
int32_t nb_prefix_take_slot(nb_prefix *prefix);

bool nb_prefix_check(const nb_prefix *prefix); // pools, tree and states agree, O(n_page + n_slot)

#endif
