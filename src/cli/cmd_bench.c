// nibble bench: the raw speed of a device on a checkpoint, held against the roof of `nibble plan`.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "cli/bench_card.h"
#include "cli/bench_device.h"
#include "cli/byte_text.h"
#include "cli/commands.h"
#include "cli/session_options.h"

enum { LIST_MAX = 16, KERNEL_MAX = 64, SEQUENCES_MAX = 4096 };

static nb_session_options session_options = NB_SESSION_DEFAULTS;
static const char *batch_text = "1,4,16,64,256", *context_text = "1024", *prefill_text = "512,2048,8192", *csv;
static const char *commit = NB_VERSION, *card_name;
static int64_t chunk = 2048, n_step = 100, n_prompt = 3;
static double bandwidth_gb_s, tflops;
static bool kernels;

static const nb_option options[] = {
    {"batch", 'b', NB_OPTION_STRING, &batch_text, "N,..", "sequences of a decode step"},
    {"context", 'c', NB_OPTION_STRING, &context_text, "N,..", "tokens that each of them has"},
    {"prefill", 'p', NB_OPTION_STRING, &prefill_text, "N,..", "tokens of a prompt; 0: none"},
    {"kernels", 0, NB_OPTION_FLAG, &kernels, NULL,
     "the time of each part of a step and of each kernel, against the roof (CUDA)"},
    {"csv", 0, NB_OPTION_STRING, &csv, "FILE", "append rows: commit,card,case,value,unit"},
    {"commit", 0, NB_OPTION_STRING, &commit, "ID", "what the rows say was measured"},
    {"card", 0, NB_OPTION_STRING, &card_name, "NAME", "what they say it ran on (default: the device's name)"},
    {"steps", 0, NB_OPTION_INT, &n_step, "N", "decode steps that are timed; the median counts"},
    {"prompts", 0, NB_OPTION_INT, &n_prompt, "N", "prompts that are timed; the median counts"},
    {"max-num-batched-tokens", 0, NB_OPTION_INT, &chunk, "N", "tokens of a prefill step"},
    {"bandwidth", 0, NB_OPTION_DOUBLE, &bandwidth_gb_s, "GB/S", "memory's read rate, for the roof; 0: measured first"},
    {"tflops", 0, NB_OPTION_DOUBLE, &tflops, "N", "rate of bf16 products, for the roof; 0: the card's if known"},
    {"load-format", 0, NB_OPTION_STRING, &session_options.load_format, "auto|dummy",
     "dummy: random weights of config.json's shape; auto: so where there are none"},
    {"layers", 0, NB_OPTION_INT, &session_options.n_layer, "N", "of a dummy model only the first N"},
    {"device", 0, NB_OPTION_STRING, &session_options.device, "auto|cpu|cuda", "where to run; auto takes a GPU"},
    {"portable", 0, NB_OPTION_FLAG, &session_options.portable, NULL,
     "CUDA: only kernels that serve every card, not those of one architecture"},
    {"threads", 't', NB_OPTION_INT, &session_options.n_thread, "N", "CPU threads; 0 takes all cores"},
    {"kv-cache-dtype", 0, NB_OPTION_STRING, &session_options.kv, "auto|bf16|fp8|fp8_e4m3|f32", "KV cache"},
    {"gpu-memory-utilization", 0, NB_OPTION_DOUBLE, &session_options.gpu_memory_utilization, "SHARE",
     "share of the GPU's memory that may be used"},
    {0},
};

const nb_command nb_command_bench = {
    .name = "bench",
    .arguments = "CKPT",
    .summary = "raw speed of the device: decode steps and prefill against the roof",
    .example = "nibble bench models/demo --device cpu --batch 1,8 --context 64 --prefill 256 --steps 20\n"
               "nibble bench nvidia/Qwen3.6-35B-A3B-NVFP4 --batch 1,16,64 --context 1024,32768 --kernels",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 1,
};

typedef struct list {
    int value[LIST_MAX], n;
} list;

typedef struct bench {
    nb_session session;
    nb_bench_card card;
    nb_bench_device *device;
    FILE *csv;
    list batch, context, prefill;
} bench;

// "1,4,16": whole numbers from least to most; zeros are left out.
static int parse_list(const char *option, const char *text, int64_t most, list *out, nb_error *err)
{
    *out = (list){0};
    for (const char *at = text; *at;) {
        char *end;
        errno = 0;
        long long value = strtoll(at, &end, 10);
        if (end == at || errno || value < 0 || value > most || (*end && *end != ','))
            return nb_error_set(err, NB_ERR_USAGE, "--%s: '%s' is not a list of numbers from 1 to %lld, as in 1,16",
                                option, text, (long long)most);
        if (out->n == LIST_MAX) return nb_error_set(err, NB_ERR_USAGE, "--%s: at most %d numbers", option, LIST_MAX);
        if (value > 0) out->value[out->n++] = (int)value;
        at = *end ? end + 1 : end;
    }
    return NB_OK;
}

static int largest(const list *l)
{
    int most = 0;
    for (int i = 0; i < l->n; i++) most = l->value[i] > most ? l->value[i] : most;
    return most;
}

static int check_options(bench *b, nb_error *err)
{
    NB_TRY(parse_list("batch", batch_text, SEQUENCES_MAX, &b->batch, err));
    NB_TRY(parse_list("context", context_text, 1 << 24, &b->context, err));
    NB_TRY(parse_list("prefill", prefill_text, 1 << 24, &b->prefill, err));
    if (n_step < 1 || n_step > 1000000 || n_prompt < 1 || n_prompt > 32)
        return nb_error_set(err, NB_ERR_USAGE, "--steps must be from 1 to 1000000 and --prompts from 1 to 32");
    if (chunk < NB_PAGE_TOKENS || chunk > 65536)
        return nb_error_set(err, NB_ERR_USAGE, "--max-num-batched-tokens must be from %d to 65536", NB_PAGE_TOKENS);
    if (b->batch.n * b->context.n + b->prefill.n == 0)
        return nb_error_set(err, NB_ERR_USAGE, "nothing to measure: give --batch with --context, or --prefill");
    return NB_OK;
}

static void print_memory(const bench *b, int64_t open_us)
{
    nb_memory m;
    b->session.device->ops->memory(b->session.device, &m);
    printf("%s, reads %.0f GB/s", b->card.name, b->card.read_rate / 1e9);
    if (b->card.flop_rate > 0) printf(", %.0f TFLOP/s", b->card.flop_rate / 1e12);
    printf("\nweights %s, states %s, KV %s, scratch %s; ready in %.2f s\n\n",
           nb_byte_text_of((double)m.weight_bytes).c_str, nb_byte_text_of((double)m.state_bytes).c_str,
           nb_byte_text_of((double)m.kv_bytes).c_str, nb_byte_text_of((double)m.scratch_bytes).c_str,
           (double)open_us / 1e6);
    fflush(stdout);
}

static int open_bench(const char *name, bench *b, nb_error *err)
{
    const char *folder;
    int64_t begin = nb_clock_us();
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    if (!nb_checkpoint_has_weights(folder)) session_options.load_format = "dummy";
    NB_TRY(nb_command_open_model(name, &session_options, &b->session, err));
    int64_t load_us = nb_clock_us() - begin;
    NB_TRY(nb_bench_card_read(b->session.device, (int)session_options.n_thread, bandwidth_gb_s * 1e9, &b->card, err));
    if (tflops > 0) b->card.flop_rate = tflops * 1e12;
    if (card_name) snprintf(b->card.name, sizeof b->card.name, "%s", card_name);
    int decode = b->batch.n ? largest(&b->context) : 0, prefill = largest(&b->prefill), n_seq = largest(&b->batch);
    nb_bench_options o = {.device = b->session.device,
                          .model = b->session.model,
                          .kv = b->session.kv,
                          .max_seq = n_seq > 0 ? n_seq : 1,
                          .max_context = decode > prefill ? decode : prefill,
                          .chunk = (int)chunk,
                          .n_step = (int)n_step,
                          .n_prompt = (int)n_prompt,
                          .read_rate = b->card.read_rate,
                          .flop_rate = b->card.flop_rate};
    begin = nb_clock_us();
    NB_TRY(nb_bench_device_open(&o, &b->device, err));
    print_memory(b, load_us + nb_clock_us() - begin);
    return NB_OK;
}

// The rows of a table that is there already are kept; a new one gets its head.
static int open_csv(bench *b, nb_error *err)
{
    if (!csv) return NB_OK;
    b->csv = fopen(csv, "a");
    if (!b->csv) return nb_error_set(err, NB_ERR_IO, "%s: cannot open: %s", csv, strerror(errno));
    fseek(b->csv, 0, SEEK_END);
    if (ftell(b->csv) == 0) fputs("commit,card,case,value,unit\n", b->csv);
    return NB_OK;
}

static void print_case(const bench *b, const char *name, const nb_bench_result *r, bool as_time)
{
    double rate = r->n_tok / r->us * 1e6;
    printf("%-34s %10.3f ms %10.0f tok/s %8.0f GB/s %8.2f TFLOP/s", name, r->us / 1e3, rate, r->n_byte / r->us / 1e3,
           r->n_flop / r->us / 1e6);
    if (as_time && b->card.flop_rate <= 0)
        printf("   roof unknown: --tflops\n");
    else
        printf(" %5.1f %% of %.0f tok/s\n", 100 * r->roof_us / r->us, r->n_tok / r->roof_us * 1e6);
    fflush(stdout);
    if (!b->csv) return;
    fprintf(b->csv, "%s,%s,%s,%.*f,%s\n", commit, b->card.name, name, as_time ? 1 : 0, as_time ? r->us / 1e3 : rate,
            as_time ? "ms" : "tok/s");
    fflush(b->csv);
}

typedef struct kernel_times {
    const char *name[KERNEL_MAX];
    double us[KERNEL_MAX], total_us;
    int count[KERNEL_MAX], n;
    double part_us[NB_PART_COUNT];
} kernel_times;

static void add_kernel(void *user, nb_plan_part part, const char *name, double us)
{
    kernel_times *t = user;
    int i = 0;
    t->total_us += us, t->part_us[part] += us;
    while (i < t->n && strcmp(t->name[i], name) != 0) i++;
    if (i == KERNEL_MAX) return;
    if (i == t->n) t->name[t->n++] = name;
    t->us[i] += us, t->count[i]++;
}

// What each part of the step reached, and its share of the roof.
static void print_parts(const bench *b, const kernel_times *t, const nb_plan_step *work)
{
    for (nb_plan_part part = 0; part < NB_PART_COUNT; part++) {
        double us = t->part_us[part], n_byte = work->part_bytes[part], flop = work->part_flop[part];
        double read_us = n_byte / b->card.read_rate * 1e6;
        double flop_us = b->card.flop_rate > 0 ? flop / b->card.flop_rate * 1e6 : 0;
        if (us <= 0) continue;
        printf("    %-24s %9.0f us %5.1f %% %8.0f GB/s %8.2f TFLOP/s %5.1f %% of the roof\n", nb_plan_part_name(part),
               us, 100 * us / t->total_us, n_byte / us / 1e3, flop / us / 1e6,
               100 * (read_us > flop_us ? read_us : flop_us) / us);
    }
}

// Longest first.
static void print_times(kernel_times *t)
{
    for (int shown = 0; shown < t->n; shown++) {
        int best = 0;
        for (int i = 1; i < t->n; i++) best = t->us[i] > t->us[best] ? i : best;
        printf("    %-56.56s %5d x %9.1f us %9.0f us %5.1f %%\n", t->name[best], t->count[best],
               t->us[best] / t->count[best], t->us[best], 100 * t->us[best] / t->total_us);
        t->us[best] = -1;
    }
}

// Times of single kernels, without the overlap that steps have.
static int print_kernels(bench *b, nb_error *err)
{
    if (!kernels) return NB_OK;
    kernel_times t = {0};
    nb_plan_step work;
    NB_TRY(nb_bench_kernels(b->device, add_kernel, &t, &work, err));
    print_parts(b, &t, &work);
    print_times(&t);
    printf("    %-24s %9.0f us\n", "sum", t.total_us);
    return NB_OK;
}

static int run_decode(bench *b, int n_seq, int context, nb_error *err)
{
    char name[64];
    nb_bench_result result;
    snprintf(name, sizeof name, "decode batch %d context %d", n_seq, context);
    NB_TRY(nb_bench_decode(b->device, n_seq, context, &result, err));
    print_case(b, name, &result, false);
    return print_kernels(b, err);
}

static int run_prefill(bench *b, int n, nb_error *err)
{
    char name[64];
    nb_bench_result result;
    snprintf(name, sizeof name, "prefill %d", n);
    NB_TRY(nb_bench_prefill(b->device, n, &result, err));
    print_case(b, name, &result, true);
    return print_kernels(b, err);
}

static int run(const char *checkpoint, bench *b, nb_error *err)
{
    NB_TRY(check_options(b, err));
    NB_TRY(open_csv(b, err));
    NB_TRY(open_bench(checkpoint, b, err));
    if (kernels && strcmp(b->session.device->ops->name, "cuda") != 0)
        return nb_error_set(err, NB_ERR_USAGE, "--kernels: only the CUDA device times its kernels");
    for (int c = 0; c < b->context.n; c++)
        for (int i = 0; i < b->batch.n; i++) NB_TRY(run_decode(b, b->batch.value[i], b->context.value[c], err));
    for (int i = 0; i < b->prefill.n; i++) NB_TRY(run_prefill(b, b->prefill.value[i], err));
    return NB_OK;
}

int nb_cmd_bench(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[1];
    int n_argument, code = nb_command_parse(&nb_command_bench, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    bench b = {0};
    if (code == NB_OK) code = run(argument[0], &b, &err);
    nb_bench_device_close(b.device);
    nb_session_close(&b.session);
    if (b.csv) fclose(b.csv);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
