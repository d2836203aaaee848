// Random steps of all kinds on a device, for long runs and for tools that watch it (compute-sanitizer). Prints the free
// memory of the device and the resident memory of the process every half minute; exits with 1 if either drifts, which
// runs of less than 100 steps do not judge: in those, buffers and graphs still come up.
//
//   bench_soak [CKPT] [--load-format auto|dummy] [--device cpu|cuda] [--steps N] [--seconds S] [--kv bf16|fp8]
//
// dummy: random weights of the shape that CKPT's config.json states. Two hours at full size:
//   bench_soak FOLDER_WITH_CONFIG_JSON --load-format dummy --seconds 7200
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu_device.h"
#include "cuda/cuda_device.h"
#include "model/bind.h"
#include "model/synth.h"
#include "support/check.h"
#include "support/random_steps.h"

// Graphs, which are made when their batch size first comes, and the allocators' slack; a leak of a page a step passes
// it in a minute.
#define DRIFT_BYTES (INT64_C(64) << 20)

enum { JUDGED_STEPS = 100 }; // drift is judged from so many steps on

typedef struct soak {
    const char *folder, *device;
    bool dummy;
    int n_step;
    double seconds;
    nb_kv_format kv;
} soak;

typedef struct usage {
    int64_t free_bytes, resident_bytes;
} usage;

static void die(const nb_error *err)
{
    fprintf(stderr, "bench_soak: %s\n", err->text);
    exit(2);
}

static void open_model(const soak *s, nb_checkpoint **ckpt, nb_model **model)
{
    nb_error err;
    if (!s->dummy) {
        if (nb_checkpoint_open(s->folder, ckpt, &err) || nb_model_bind(*ckpt, model, &err)) die(&err);
        return;
    }
    if (nb_checkpoint_open_config(s->folder, ckpt, &err)) die(&err);
    const nb_config *config = nb_checkpoint_config(*ckpt);
    if (nb_synth_model(config, config->mix, 1, 0, model, &err)) die(&err);
    if (strcmp(s->device, "cpu") == 0 && nb_synth_materialize(*model, &err)) die(&err);
}

static nb_device *open_device(const soak *s, const nb_model *model)
{
    nb_error err;
    nb_device *device;
    nb_reserve r = nb_random_steps_reserve(s->kv);
    int code = strcmp(s->device, "cpu") == 0
                   ? nb_cpu_open(&(nb_cpu_options){0}, &device, &err)
                   : nb_cuda_open(&(nb_cuda_options){.gpu_memory_utilization = 0.9, .mtp = true}, &device, &err);
    if (code || device->ops->load(device, model, &err) || device->ops->reserve(device, &r, &err)) die(&err);
    return device;
}

static usage usage_of(const nb_device *device)
{
    nb_memory memory;
    device->ops->memory(device, &memory);
    return (usage){memory.free_bytes, nb_random_steps_resident()};
}

static void print_usage(int64_t n_step, int64_t begin, usage u)
{
    printf("%lld steps in %.1f s; free bytes of the device %lld, resident ones of the process %lld\n",
           (long long)n_step, (double)(nb_clock_us() - begin) / 1e6, (long long)u.free_bytes,
           (long long)u.resident_bytes);
    fflush(stdout);
}

// Other programs may change what is free on the device; the CPU's is not of interest beside the process.
static bool has_drifted(const soak *s, usage before, usage after)
{
    return after.resident_bytes - before.resident_bytes > DRIFT_BYTES ||
           (strcmp(s->device, "cpu") != 0 && before.free_bytes - after.free_bytes > DRIFT_BYTES);
}

// Steps of the largest size, so that every buffer's pages are there before memory is watched: one for each step that
// may be under way, and one more.
static void touch_buffers(nb_random_steps *r)
{
    enum { EACH = NB_DRIVE_TOKENS / NB_DRIVE_SEQS };
    int32_t tok[EACH] = {0};
    for (int step = 0; step <= NB_IN_FLIGHT; step++) {
        nb_drive_begin(r->drive);
        for (int i = 0; i < NB_DRIVE_SEQS; i++) {
            r->seq[i].n_past = 0;
            nb_drive_add(r->drive, &r->seq[i], tok, EACH, NB_DRIVE_ALL);
        }
        nb_drive_run(r->drive);
    }
}

// Whether memory stayed as it was, as far as the steps suffice to tell.
static bool run(const soak *s, const nb_model *model)
{
    enum { WARM = 20, BLOCK = 50, PRINT_US = 30 * 1000 * 1000 };
    nb_device *device = open_device(s, model);
    nb_random_steps r;
    nb_random_steps_open(&r, device, model->config.vocab_size);
    if (s->n_step > WARM) touch_buffers(&r);
    nb_random_steps_run(&r, s->n_step < WARM ? s->n_step : WARM);
    usage before = usage_of(device);
    int64_t begin = nb_clock_us(), printed = begin, n = 0;
    print_usage(n, begin, before);
    while (n < s->n_step && (double)(nb_clock_us() - begin) < s->seconds * 1e6) {
        int block = s->n_step - n < BLOCK ? (int)(s->n_step - n) : BLOCK;
        nb_random_steps_run(&r, block);
        n += block;
        if (nb_clock_us() - printed < PRINT_US) continue;
        printed = nb_clock_us();
        print_usage(n, begin, usage_of(device));
    }
    usage after = usage_of(device);
    print_usage(n, begin, after);
    nb_random_steps_close(&r);
    device->ops->close(device);
    return n < JUDGED_STEPS || !has_drifted(s, before, after);
}

static void read_option(soak *s, const char *name, const char *value)
{
    if (strcmp(name, "--load-format") == 0) s->dummy = strcmp(value, "dummy") == 0;
    if (strcmp(name, "--device") == 0) s->device = value;
    if (strcmp(name, "--steps") == 0) s->n_step = atoi(value);
    if (strcmp(name, "--seconds") == 0) s->seconds = atof(value);
    if (strcmp(name, "--kv") == 0) s->kv = strcmp(value, "bf16") == 0 ? NB_KV_BF16 : NB_KV_FP8;
}

int main(int argc, char **argv)
{
    soak s = {
        .folder = nb_test_path("models/demo"), .device = "cuda", .n_step = 1 << 30, .seconds = 1e9, .kv = NB_KV_FP8};
    nb_checkpoint *ckpt;
    nb_model *model;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            s.folder = argv[i];
            continue;
        }
        read_option(&s, argv[i], i + 1 < argc ? argv[i + 1] : "");
        i++;
    }
    open_model(&s, &ckpt, &model);
    bool steady = run(&s, model);
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
    if (!steady) fprintf(stderr, "bench_soak: memory has drifted by more than %lld bytes\n", (long long)DRIFT_BYTES);
    return steady ? 0 : 1;
}
