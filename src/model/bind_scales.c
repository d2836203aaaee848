// NVFP4 block scales must be positive numbers: codes 0x01 to 0x7e. A full-size checkpoint has 2 GB of them, a tenth of
// the file; they are read once when it is bound, by all cores, which takes a few tenths of a second from the page cache
// and brings in pages that the device reads anyway.
#include <stdlib.h>

#include "base/threads.h"
#include "model/bind_format.h"

typedef struct scan_item {
    const nb_tensor *tensor;
    int64_t bad; // byte that is no positive scale, or -1
} scan_item;

// A loop that compilers vectorise: only whether any is bad.
static bool any_bad(const uint8_t *code, size_t n)
{
    uint8_t bad = 0;
    for (size_t i = 0; i < n; i++) bad |= (uint8_t)(code[i] - 1) > 0x7d;
    return bad;
}

static void scan(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    scan_item *item = (scan_item *)user + i_task;
    item->bad = -1;
    if (!any_bad(item->tensor->data, item->tensor->n_byte)) return;
    for (item->bad = 0; (uint8_t)(item->tensor->data[item->bad] - 1) <= 0x7d; item->bad++) {
    }
}

static bool is_block_scale(const nb_binder *b, int64_t i)
{
    const nb_tensor *tensor = nb_checkpoint_at(b->ckpt, i);
    return b->used[i] && tensor->dtype == NB_DTYPE_F8_E4M3 && nb_str_ends(tensor->name, NB_STR(".weight_scale"));
}

static int report_bad(nb_binder *b, const scan_item *item, int n_item, nb_error *err)
{
    for (int i = 0; i < n_item; i++) {
        if (item[i].bad < 0) continue;
        b->role = b->used[item[i].tensor - nb_checkpoint_at(b->ckpt, 0)] - 1u;
        int code = nb_binder_wrong(b, item[i].tensor, err,
                                   "has the code 0x%02x at byte %lld; block scales must be finite and positive",
                                   item[i].tensor->data[item[i].bad], (long long)item[i].bad);
        if (!b->report) return code;
    }
    return NB_OK;
}

int nb_bind_check_block_scales(nb_binder *b, nb_error *err)
{
    int64_t n_tensor = nb_checkpoint_count(b->ckpt);
    scan_item *item = nb_alloc(((size_t)n_tensor + 1) * sizeof *item);
    int n_item = 0;
    for (int64_t i = 0; i < n_tensor; i++)
        if (is_block_scale(b, i)) item[n_item++].tensor = nb_checkpoint_at(b->ckpt, i);
    if (n_item) {
        nb_threads *team = nb_threads_open(0);
        nb_threads_run(team, scan, item, n_item);
        nb_threads_close(team);
    }
    int code = report_bad(b, item, n_item, err);
    free(item);
    return code;
}
