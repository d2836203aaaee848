// The page pool: who holds which KV page. A page is in exactly one of three states:
//
//   free      nobody holds it, nothing useful in it
//   idle      nobody holds it, but the prefix index knows its content: kept until somebody needs the room, oldest first
//   held      by n_ref sequences; it may be known to the index as well
//
//   free --take--> held --drop--> free or, if indexed, idle --hold--> held;   idle --forget--> free
//
// free + idle + held = all, always. The pool decides nothing: the prefix index evicts (prefix.h).
#ifndef NB_PAGES_H
#define NB_PAGES_H

#include "engine/lru.h"

typedef struct nb_pages {
    int n_page;
    int n_free, n_held;
    int32_t *free;  // [n_free] a stack
    int32_t *n_ref; // [n_page]
    bool *indexed;  // [n_page]
    nb_lru idle;
} nb_pages;

void nb_pages_open(nb_pages *pages, int n_page);
void nb_pages_close(nb_pages *pages);

int32_t nb_pages_take(nb_pages *pages);              // a free page, held once; -1: none
void nb_pages_hold(nb_pages *pages, int32_t page);   // one holder more, of a held or idle page
void nb_pages_drop(nb_pages *pages, int32_t page);   // one holder less
void nb_pages_index(nb_pages *pages, int32_t page);  // a held page becomes known to the index
void nb_pages_forget(nb_pages *pages, int32_t page); // an idle page becomes free

int nb_pages_available(const nb_pages *pages); // free or idle
bool nb_pages_check(const nb_pages *pages);    // the whole invariant, O(n_page)

#endif
