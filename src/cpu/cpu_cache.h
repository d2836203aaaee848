// The KV pages of all attention layers. A page holds NB_PAGE_TOKENS tokens: [layer][key |
// value][n_kv_head][token][d_head] in the KV format. Beside the pages lies a tail for MTP drafts, whose keys and values
// live for one step only: [sequence][key | value][n_kv_head][NB_DRAFT_MAX][d_head].
#ifndef NB_CPU_CACHE_H
#define NB_CPU_CACHE_H

#include "model/device.h"

typedef enum nb_cpu_cache_part { NB_CPU_KEY, NB_CPU_VALUE } nb_cpu_cache_part;

typedef struct nb_cpu_cache {
    nb_kv_format format;
    int n_page, n_layer, n_kv_head, d_head, max_seq;
    int64_t row_bytes;   // one head of one token
    int64_t layer_bytes; // of a page
    int64_t page_bytes;
    uint8_t *page; // [n_page][page_bytes]
    uint8_t *tail; // [max_seq][2][n_kv_head][NB_DRAFT_MAX][row_bytes]
} nb_cpu_cache;

// Where the keys and values of one sequence lie: indices below n_paged in pages, the others in the tail.
typedef struct nb_cpu_kv_view {
    const int32_t *page;
    int64_t n_paged;
    int i_tail;  // row of the tail
    int i_layer; // i_attention
} nb_cpu_kv_view;

int64_t nb_cpu_cache_page_bytes(const nb_model *model, nb_kv_format format);
int nb_cpu_cache_open(nb_cpu_cache *cache, const nb_model *model, nb_kv_format format, int n_page, int max_seq,
                      nb_error *err);
void nb_cpu_cache_close(nb_cpu_cache *cache);
int64_t nb_cpu_cache_bytes(const nb_cpu_cache *cache);

// d_head elements of the KV format.
void *nb_cpu_cache_row(const nb_cpu_cache *cache, const nb_cpu_kv_view *view, nb_cpu_cache_part part, int kv_head,
                       int64_t index);

#endif
