// Where a token's keys and values lie: pages, and the tail of MTP drafts. See cpu_cache.h.
#include "cpu/cpu_cache.h"

static int64_t element_bytes(nb_kv_format format)
{
    return format == NB_KV_F32 ? 4 : format == NB_KV_BF16 ? 2 : 1;
}

int64_t nb_cpu_cache_page_bytes(const nb_model *model, nb_kv_format format)
{
    const nb_config *c = &model->config;
    return element_bytes(format) * c->head_dim * c->num_key_value_heads * NB_PAGE_TOKENS * 2 * model->n_attention;
}

static int64_t tail_bytes(const nb_cpu_cache *cache)
{
    return cache->row_bytes * NB_DRAFT_MAX * cache->n_kv_head * 2 * cache->max_seq;
}

int64_t nb_cpu_cache_bytes(const nb_cpu_cache *cache)
{
    return cache->page_bytes * cache->n_page + tail_bytes(cache);
}

int nb_cpu_cache_open(nb_cpu_cache *cache, const nb_model *model, nb_kv_format format, int n_page, int max_seq,
                      nb_error *err)
{
    const nb_config *c = &model->config;
    *cache = (nb_cpu_cache){.format = format,
                            .n_page = n_page,
                            .n_layer = model->n_attention,
                            .n_kv_head = c->num_key_value_heads,
                            .d_head = c->head_dim,
                            .max_seq = max_seq};
    cache->row_bytes = element_bytes(format) * c->head_dim;
    cache->layer_bytes = cache->row_bytes * NB_PAGE_TOKENS * cache->n_kv_head * 2;
    cache->page_bytes = cache->layer_bytes * cache->n_layer;
    cache->page = nb_alloc_large((size_t)nb_cpu_cache_bytes(cache));
    if (!cache->page)
        return nb_error_set(err, NB_ERR_MEMORY, "no memory for %d KV pages of %lld bytes; ask for fewer", n_page,
                            (long long)cache->page_bytes);
    cache->tail = cache->page + cache->page_bytes * n_page;
    return NB_OK;
}

void nb_cpu_cache_close(nb_cpu_cache *cache)
{
    nb_free_large(cache->page, (size_t)nb_cpu_cache_bytes(cache));
    *cache = (nb_cpu_cache){0};
}

void *nb_cpu_cache_row(const nb_cpu_cache *cache, const nb_cpu_kv_view *view, nb_cpu_cache_part part, int kv_head,
                       int64_t index)
{
    int64_t head = (int64_t)part * cache->n_kv_head + kv_head;
    if (index >= view->n_paged) {
        int64_t row = (((int64_t)view->i_tail * 2 * cache->n_kv_head) + head) * NB_DRAFT_MAX + index - view->n_paged;
        return cache->tail + row * cache->row_bytes;
    }
    int64_t page = view->page[index / NB_PAGE_TOKENS], row = head * NB_PAGE_TOKENS + index % NB_PAGE_TOKENS;
    return cache->page + page * cache->page_bytes + view->i_layer * cache->layer_bytes + row * cache->row_bytes;
}
