// What the files of the CPU device share: the device itself, the pass that a block works on, its scratch memory, and
// the blocks. Blocks run on the worker thread and split their loops over the team; none of them allocates.
//
// Exactness: a row's numbers are computed by kernels whose result does not depend on the row's neighbours, on how a
// loop is split, or on the thread. So a sequence's result never depends on the rest of the batch, on chunking or
// threads.
#ifndef NB_CPU_DEVICE_INTERNAL_H
#define NB_CPU_DEVICE_INTERNAL_H

#include <pthread.h>

#include "base/threads.h"
#include "cpu/cpu_attention.h"
#include "cpu/cpu_cache.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_device_linear.h"
#include "cpu/cpu_kernels.h"
#include "cpu/cpu_moe.h"
#include "cpu/cpu_sample.h"
#include "cpu/cpu_slots.h"

// Rows of one sequence within a pass.
typedef struct nb_cpu_span {
    int i_seq;           // of the batch
    int first, n_row;    // rows of the pass
    int64_t position;    // of the first row: RoPE
    int64_t index;       // KV index of the first row
    int64_t kv_from;     // the first KV index that holds anything: 0; of the MTP layer 1
    nb_cpu_kv_view view; // i_layer is set by the attention block
} nb_cpu_span;

// The rows that go through a layer together: the tokens of the batch, or the MTP module's rows.
typedef struct nb_cpu_pass {
    int n_row, n_span;
    nb_cpu_span *span;    // [max_seq]
    int32_t *span_of_row; // [max_row_of_pass]
    float *x;             // [n_row][d_model] residual stream
    float *cos, *sin;     // [n_row][n_rot / 2]
} nb_cpu_pass;

// A sequence that proposes drafts.
typedef struct nb_cpu_mtp_draft {
    int i_seq;
    int row;     // of the batch: its last confirmed token
    int32_t tok; // drawn behind it, then the last proposal
    int n_propose;
} nb_cpu_mtp_draft;

// Scratch of the blocks, laid out once by reserve. R = rows a pass may have. Attention, DeltaNet and MoE run one after
// the other and share one region.
typedef struct nb_cpu_scratch {
    void *memory;
    size_t n_byte;
    float *normed;                  // [R][d_model] input of a block
    float *hidden;                  // [R][d_model] after the final norm
    float *concat;                  // [R][2 * d_model] MTP's input
    float *draft;                   // [max_seq][d_model] MTP's output, chained
    float *wanted;                  // [max_row][d_model] rows of `hidden` that the head reads
    float *mtp_logits;              // [max_seq][vocab]
    nb_cpu_mtp_draft *anchor;       // [max_seq]
    int32_t *tok;                   // [max_tok] with NB_TOKEN_LAST resolved
    nb_sample_candidate *candidate; // [n_thread][vocab]
    struct {
        float *query, *key, *value,
            *out;     // [R][n_head * d_head * (1 + gate)], [R][n_kv_head * d_head], .., [R][n_head * d_head]
        float *score; // [n_thread][max_context]
        int64_t max_context;
    } attention;
    struct {
        float *raw, *conv; // [R][n_channel]
        float *z, *out;    // [R][n_value_head * d_value]
        float *a, *b;      // [R][n_value_head]; the gates g and beta replace them
        float *work;       // [n_thread][work_floats]
        int64_t work_floats;
    } deltanet;
    nb_cpu_moe_scratch moe;
} nb_cpu_scratch;

// A step under way: a copy of the batch, and its result. One more than NB_IN_FLIGHT, because the host still reads the
// result of the last wait while two steps are under way.
enum { NB_CPU_STEPS = NB_IN_FLIGHT + 1 };

typedef struct nb_cpu_step {
    nb_batch batch;        // its arrays are this step's own
    nb_cpu_seq_plan *plan; // [max_seq]
    int32_t *tok, *page;
    nb_seq *seq;
    nb_row *row;
    nb_history *history;
    nb_bias *bias;
    uint32_t *mask;
    nb_slot_copy *copy;
    int64_t cap_page, cap_history, cap_bias, cap_mask, cap_copy;
    nb_row_result *row_result;         // [max_row]
    float *logits;                     // [max_row][vocab]
    int32_t (*proposal)[NB_DRAFT_MAX]; // [max_seq]
    int64_t device_us;
    int code;
} nb_cpu_step;

typedef struct nb_cpu {
    nb_device base;
    nb_cpu_options options;
    const nb_cpu_kernel_set *kernels;
    nb_threads *team;
    const nb_model *model;
    int64_t weight_bytes;
    float *inv_freq; // [n_rot / 2]
    nb_reserve limits;
    bool reserved;
    nb_cpu_cache cache;
    nb_cpu_slots slots;
    nb_cpu_linears linears;
    nb_cpu_scratch scratch;
    nb_cpu_pass pass;
    nb_cpu_step *now; // the step that the worker runs
    nb_tap_fn tap;
    void *tap_user;

    // The queue. The worker runs step[n_done % NB_CPU_STEPS] while n_done < n_submitted; wait hands out n_taken.
    nb_cpu_step step[NB_CPU_STEPS];
    int64_t n_submitted, n_done, n_taken;
    bool stop, has_worker;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
} nb_cpu;

// cpu_device_queue.c
int nb_cpu_queue_open(nb_cpu *cpu, nb_error *err);
void nb_cpu_queue_close(nb_cpu *cpu);
int nb_cpu_queue_submit(nb_device *device, const nb_batch *batch, nb_error *err);
int nb_cpu_queue_wait(nb_device *device, nb_result *result, nb_error *err);

// cpu_device_scratch.c
int nb_cpu_scratch_open(nb_cpu *cpu, nb_error *err);
void nb_cpu_scratch_close(nb_cpu *cpu);
int64_t nb_cpu_scratch_estimate(nb_cpu *cpu); // bytes, before n_page is known

// cpu_device_step.c
int nb_cpu_step_run(nb_cpu *cpu, nb_cpu_step *step);
void nb_cpu_pass_begin(nb_cpu *cpu, nb_cpu_pass *pass); // after its spans are set: span_of_row, cos and sin
void nb_cpu_norm(nb_cpu *cpu, const float *x, const float *weight, int n_row, float *y); // RMSNorm of [n_row][d_model]
void nb_cpu_tap_rows(nb_cpu *cpu, nb_tap_site site, int layer, const float *data, int64_t n_row, int64_t n_col);

// Multiply-adds (about 30 microseconds of them) below which starting the team costs more than it saves.
enum { NB_CPU_TEAM_COST = 1 << 19 };

// Splits [0, n) into ranges for the team; inline if the whole costs little. `cost` of one element: multiply-adds,
// about.
typedef void (*nb_cpu_range_fn)(void *user, int from, int to, int i_thread);
void nb_cpu_split(nb_cpu *cpu, nb_cpu_range_fn fn, void *user, int n, int64_t cost);

// Blocks: each normalises pass->x, works, and adds its result to pass->x.
void nb_cpu_attention_block(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer);
void nb_cpu_attention_absorb(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer); // keys and values only
// Between attention's projections: scratch.attention.{query, key, value} to scratch.attention.out.
void nb_cpu_attention_core(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer);
void nb_cpu_deltanet_block(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer, int i_layer);
void nb_cpu_moe_block(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer, int i_layer);
void nb_cpu_head_block(nb_cpu *cpu, const nb_cpu_pass *pass); // results into cpu->now
void nb_cpu_mtp_block(nb_cpu *cpu);

#endif
