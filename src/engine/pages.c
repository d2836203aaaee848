// Reference counts and the free stack: see pages.h.
#include "engine/pages.h"

#include <assert.h>
#include <stdlib.h>

#include "base/arena.h"

void nb_pages_open(nb_pages *pages, int n_page)
{
    *pages = (nb_pages){.n_page = n_page, .n_free = n_page};
    pages->free = nb_alloc(sizeof(int32_t) * (size_t)n_page);
    pages->n_ref = nb_alloc(sizeof(int32_t) * (size_t)n_page);
    pages->indexed = nb_alloc(sizeof(bool) * (size_t)n_page);
    for (int i = 0; i < n_page; i++) pages->free[i] = n_page - 1 - i; // page 0 is taken first
    nb_lru_open(&pages->idle, n_page);
}

void nb_pages_close(nb_pages *pages)
{
    free(pages->free);
    free(pages->n_ref);
    free(pages->indexed);
    nb_lru_close(&pages->idle);
}

int32_t nb_pages_take(nb_pages *pages)
{
    if (pages->n_free == 0) return -1;
    int32_t page = pages->free[--pages->n_free];
    pages->n_ref[page] = 1;
    pages->n_held++;
    return page;
}

void nb_pages_hold(nb_pages *pages, int32_t page)
{
    if (pages->n_ref[page]++ > 0) return;
    nb_lru_remove(&pages->idle, page);
    pages->n_held++;
}

void nb_pages_drop(nb_pages *pages, int32_t page)
{
    assert(pages->n_ref[page] > 0);
    if (--pages->n_ref[page] > 0) return;
    pages->n_held--;
    if (pages->indexed[page])
        nb_lru_push(&pages->idle, page);
    else
        pages->free[pages->n_free++] = page;
}

void nb_pages_index(nb_pages *pages, int32_t page)
{
    assert(pages->n_ref[page] > 0 && !pages->indexed[page]);
    pages->indexed[page] = true;
}

void nb_pages_forget(nb_pages *pages, int32_t page)
{
    assert(pages->n_ref[page] == 0 && pages->indexed[page]);
    nb_lru_remove(&pages->idle, page);
    pages->indexed[page] = false;
    pages->free[pages->n_free++] = page;
}

int nb_pages_available(const nb_pages *pages)
{
    return pages->n_free + pages->idle.n;
}

bool nb_pages_check(const nb_pages *pages)
{
    int n_free = 0, n_idle = 0, n_held = 0;
    for (int32_t page = 0; page < pages->n_page; page++) {
        bool idle = pages->n_ref[page] == 0 && pages->indexed[page];
        if (pages->n_ref[page] < 0 || idle != nb_lru_has(&pages->idle, page)) return false;
        if (pages->n_ref[page] > 0)
            n_held++;
        else if (idle)
            n_idle++;
        else
            n_free++;
    }
    return n_free == pages->n_free && n_idle == pages->idle.n && n_held == pages->n_held;
}
