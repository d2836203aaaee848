// The outer seam. A device owns weights, KV pages and state slots and does one thing: run a batch. Both devices are in
// one binary, so a test can run the same batch on both and compare.
//
// Life: open (cpu/cpu_device.h, cuda/cuda_device.h) -> load -> reserve -> { submit, wait }* -> close.
// submit returns at once; up to NB_IN_FLIGHT steps may be under way; wait returns them in order. One thread drives it.
// After NB_ERR_DEVICE the device cannot be used any more.
#ifndef NB_DEVICE_H
#define NB_DEVICE_H

#include "model/batch.h"
#include "model/weights.h"

enum { NB_IN_FLIGHT = 2 };

typedef enum nb_kv_format { NB_KV_BF16, NB_KV_FP8, NB_KV_F32 } nb_kv_format; // F32: CPU reference only
const char *nb_kv_format_name(nb_kv_format kv);

typedef struct nb_reserve {
    nb_kv_format kv;
    int n_slot;     // state slots: running sequences and saved states
    bool fit_saved; // n_slot is without saved states; nb_plan_saved_states says how many the memory allows
    int n_page;     // KV pages; 0: as many as the memory allows after everything else
    int max_tok;    // of one batch
    int max_seq;
    int max_row;
} nb_reserve;

typedef struct nb_memory {
    int64_t total_bytes; // of the device
    int64_t free_bytes;
    int64_t weight_bytes, kv_bytes, state_bytes, scratch_bytes;
    int64_t page_bytes, slot_bytes; // of one
    int n_page, n_slot;             // reserved
} nb_memory;

// Named sites of the forward pass. Shapes: row = token of the batch.
typedef enum nb_tap_site {
    NB_TAP_RESIDUAL,     // [n_tok][d_model] residual stream entering layer `layer`; layer n = after the last layer
    NB_TAP_MIXER,        // [n_tok][d_model] residual stream after the mixer of `layer`, before its MoE
    NB_TAP_LINEAR_INPUT, // [rows][n_in] input of `linear`, as the kernel sees it
    NB_TAP_ROUTER,       // [n_tok][top_k] weights, and `index` the expert ids by falling weight
    NB_TAP_GDN_STATE,    // [n_value_head][d_key][d_value] of one sequence (`seq`) after the step, journal folded in
    NB_TAP_CONV_STATE,   // [kernel - 1][n_channel] of one sequence, oldest first
    NB_TAP_FINAL_NORM,   // [n_tok][d_model]
    NB_TAP_LOGITS,       // [n_row][vocab]
    NB_TAP_MTP_HIDDEN,   // [rows][d_model] after mtp.norm, of the rows that take in the step's tokens (not the
                         // proposals')
    NB_TAP_MTP_LOGITS,   // [rows][vocab] of the same rows
} nb_tap_site;

typedef struct nb_tap {
    nb_tap_site site;
    int layer, seq;
    const nb_linear *linear;
    int64_t n_row, n_col;
    const float *data;    // [n_row][n_col], host memory, valid during the call
    const int32_t *index; // NB_TAP_ROUTER
} nb_tap;
typedef void (*nb_tap_fn)(void *user, const nb_tap *tap);

typedef struct nb_device nb_device;

typedef struct nb_device_ops {
    const char *name;
    // Takes the model's weights; the model must outlive the device. A dummy model (data NULL) is filled by the device.
    int (*load)(nb_device *device, const nb_model *model, nb_error *err);
    // Allocates pages, slots and scratch, once. NB_ERR_MEMORY says what was wanted and what there is.
    int (*reserve)(nb_device *device, const nb_reserve *reserve, nb_error *err);
    int (*submit)(nb_device *device, const nb_batch *batch, nb_error *err);
    int (*wait)(nb_device *device, nb_result *result, nb_error *err);
    // From now on calls `fn` at every site of each step (slow); NULL stops.
    void (*tap)(nb_device *device, nb_tap_fn fn, void *user);
    void (*memory)(const nb_device *device, nb_memory *out);
    void (*close)(nb_device *device);
} nb_device_ops;

struct nb_device { // first member of each device's own struct
    const nb_device_ops *ops;
};

#endif
