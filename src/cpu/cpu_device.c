// The CPU device's table of operations: opening, loading, reserving memory, reporting it. See cpu_device.h.
#include "cpu/cpu_device_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/bind.h"
#include "model/plan.h"

static int add_weight_bytes(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    int64_t *total = user, n = 4; // vectors are binary32
    for (int i = 0; i < bound->n_dim; i++) n *= bound->shape[i];
    *total += bound->linear ? nb_linear_bytes(bound->linear) : n;
    return NB_OK;
}

static int load(nb_device *device, const nb_model *model, nb_error *err)
{
    nb_cpu *cpu = (nb_cpu *)device;
    if (cpu->model) return nb_error_set(err, NB_ERR_INPUT, "the CPU device has a model already");
    if (!model->embed_tokens.data)
        return nb_error_set(err, NB_ERR_INPUT,
                            "the model's weights have no data: fill them with nb_synth_materialize first");
    NB_TRY(nb_model_walk(model, add_weight_bytes, &cpu->weight_bytes, err));
    cpu->inv_freq = nb_alloc(sizeof(float) * (size_t)(model->config.rope.n_rot / 2 + 1));
    nb_cpu_rope_inv_freq(&model->config.rope, cpu->inv_freq);
    cpu->model = model;
    return NB_OK;
}

// MemAvailable of /proc/meminfo: free memory and what the system would give back (the mapped checkpoint is in it).
static int64_t available_bytes(void)
{
    long long kilobytes = 0;
    char line[256];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld", &kilobytes) == 1) break;
    if (f) fclose(f);
    return kilobytes * 1024;
}

static int check_reserve(const nb_cpu *cpu, const nb_reserve *r, nb_error *err)
{
    if (!cpu->model) return nb_error_set(err, NB_ERR_INPUT, "the CPU device was asked to reserve before load");
    if (cpu->reserved) return nb_error_set(err, NB_ERR_INPUT, "the CPU device has reserved already");
    if (r->n_slot < 1 || r->n_page < 0 || r->max_tok < 1 || r->max_seq < 1 || r->max_row < 1 || r->max_seq > r->max_tok)
        return nb_error_set(
            err, NB_ERR_INPUT,
            "reserve: %d slots, %d pages, batches of %d tokens, %d sequences, %d rows; all must be positive "
            "and a batch cannot have more sequences than tokens",
            r->n_slot, r->n_page, r->max_tok, r->max_seq, r->max_row);
    return NB_OK;
}

static int64_t slot_bytes_of(const nb_cpu *cpu)
{
    return nb_cpu_slot_layout_make(cpu->model).slot_floats * (int64_t)sizeof(float);
}

static int64_t taken_bytes(nb_cpu *cpu)
{
    return cpu->weight_bytes + cpu->limits.n_slot * slot_bytes_of(cpu) + nb_cpu_scratch_estimate(cpu);
}

// All memory, less an eighth for the rest of the system.
static int64_t usable_bytes(void)
{
    return available_bytes() / 8 * 7;
}

static void add_saved_states(nb_cpu *cpu)
{
    int64_t page_bytes = nb_cpu_cache_page_bytes(cpu->model, cpu->limits.kv);
    int64_t room = usable_bytes() - taken_bytes(cpu) - cpu->limits.n_page * page_bytes;
    cpu->limits.n_slot += nb_plan_saved_states(room, slot_bytes_of(cpu), cpu->limits.max_seq);
}

// Pages for all memory that is left.
static int fitting_pages(nb_cpu *cpu, nb_error *err)
{
    int64_t page_bytes = nb_cpu_cache_page_bytes(cpu->model, cpu->limits.kv);
    int64_t taken = taken_bytes(cpu), left = usable_bytes() - taken;
    // Each thread holds the scores of the longest context.
    int64_t n = left / (page_bytes + nb_threads_count(cpu->team) * NB_PAGE_TOKENS * (int64_t)sizeof(float));
    if (n < 1)
        return nb_error_set(err, NB_ERR_MEMORY,
                            "no memory for KV pages: %lld MB are available and weights, states and "
                            "scratch take %lld MB",
                            (long long)(available_bytes() >> 20), (long long)(taken >> 20));
    cpu->limits.n_page = n > 1 << 20 ? 1 << 20 : (int)n;
    return NB_OK;
}

static int reserve(nb_device *device, const nb_reserve *r, nb_error *err)
{
    nb_cpu *cpu = (nb_cpu *)device;
    NB_TRY(check_reserve(cpu, r, err));
    cpu->limits = *r;
    if (r->fit_saved) add_saved_states(cpu);
    NB_TRY(nb_cpu_slots_open(&cpu->slots, cpu->model, cpu->limits.n_slot, err));
    if (r->n_page == 0) NB_TRY(fitting_pages(cpu, err));
    NB_TRY(nb_cpu_cache_open(&cpu->cache, cpu->model, r->kv, cpu->limits.n_page, r->max_seq, err));
    NB_TRY(nb_cpu_scratch_open(cpu, err));
    NB_TRY(nb_cpu_queue_open(cpu, err));
    cpu->reserved = true;
    return NB_OK;
}

static void set_tap(nb_device *device, nb_tap_fn fn, void *user)
{
    nb_cpu *cpu = (nb_cpu *)device;
    cpu->tap = fn;
    cpu->tap_user = user;
}

static void memory(const nb_device *device, nb_memory *out)
{
    const nb_cpu *cpu = (const nb_cpu *)device;
    *out = (nb_memory){.total_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE),
                       .free_bytes = available_bytes(),
                       .weight_bytes = cpu->weight_bytes,
                       .kv_bytes = nb_cpu_cache_bytes(&cpu->cache),
                       .state_bytes = nb_cpu_slots_bytes(&cpu->slots),
                       .scratch_bytes = (int64_t)cpu->scratch.n_byte,
                       .page_bytes = cpu->cache.page_bytes,
                       .slot_bytes = slot_bytes_of(cpu),
                       .n_page = cpu->cache.n_page,
                       .n_slot = cpu->slots.n_slot};
}

static void close_device(nb_device *device)
{
    nb_cpu *cpu = (nb_cpu *)device;
    nb_cpu_queue_close(cpu);
    nb_cpu_scratch_close(cpu);
    nb_cpu_cache_close(&cpu->cache);
    nb_cpu_slots_close(&cpu->slots);
    nb_threads_close(cpu->team);
    pthread_mutex_destroy(&cpu->lock);
    pthread_cond_destroy(&cpu->work);
    pthread_cond_destroy(&cpu->done);
    free(cpu->inv_freq);
    free(cpu);
}

int nb_cpu_open(const nb_cpu_options *options, nb_device **out, nb_error *err)
{
    static const nb_device_ops ops = {"cpu",   load,   reserve,     nb_cpu_queue_submit, nb_cpu_queue_wait,
                                      set_tap, memory, close_device};
    const nb_cpu_kernel_set *kernels;
    NB_TRY(nb_cpu_kernels_find(options->kernels, &kernels, err));
    nb_cpu *cpu = nb_alloc(sizeof *cpu);
    cpu->base.ops = &ops;
    cpu->options = *options;
    cpu->kernels = kernels;
    cpu->team = nb_threads_open(options->n_thread);
    pthread_mutex_init(&cpu->lock, NULL);
    pthread_cond_init(&cpu->work, NULL);
    pthread_cond_init(&cpu->done, NULL);
    *out = &cpu->base;
    return NB_OK;
}
