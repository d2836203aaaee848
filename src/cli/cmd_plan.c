// nibble plan: what a checkpoint needs, what fits a device, and the least a step must move.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/byte_text.h"
#include "cli/commands.h"
#include "model/plan.h"
#include "model/synth.h"

static int64_t device_memory = INT64_C(80000000000), scratch = INT64_C(2000000000);
static int64_t context = 8192, sequences = 1;
static double bandwidth_gb_s, gpu_memory_utilization = 0.9;
static const char *kv_name = "auto";
static bool json;

static const nb_option options[] = {
    {"device-memory", 'm', NB_OPTION_BYTES, &device_memory, "BYTES", "memory of the device"},
    {"context", 'c', NB_OPTION_INT, &context, "N", "tokens of each sequence"},
    {"sequences", 's', NB_OPTION_INT, &sequences, "N", "sequences at a time"},
    {"kv", 0, NB_OPTION_STRING, &kv_name, "auto|bf16|fp8", "format of the KV cache; auto: as the checkpoint says"},
    {"scratch", 0, NB_OPTION_BYTES, &scratch, "BYTES", "memory kept free for activations and the driver"},
    {"gpu-memory-utilization", 0, NB_OPTION_DOUBLE, &gpu_memory_utilization, "SHARE",
     "share of the memory that a server may use"},
    {"bandwidth", 'b', NB_OPTION_DOUBLE, &bandwidth_gb_s, "GB/S",
     "memory bandwidth, for the roof in tokens per second"},
    {"json", 0, NB_OPTION_FLAG, &json, NULL, "print one JSON object"},
    {0},
};

const nb_command nb_command_plan = {
    .name = "plan",
    .arguments = "CKPT",
    .summary = "what a checkpoint needs, what fits a device, and the fewest bytes of a step",
    .example =
        "nibble plan models/demo --device-memory 1G --sequences 4\n"
        "nibble plan nvidia/Qwen3.6-35B-A3B-NVFP4 --device-memory 141G --context 32768 --sequences 64 --bandwidth 4300",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 1,
};

typedef struct planning {
    nb_checkpoint *ckpt;
    nb_model *model;
    bool from_config; // no weights in the folder: formats as its quantization section says
    nb_kv_format kv;
    nb_plan plan;
    nb_plan_fit fit;
    nb_plan_serving serving;
    nb_plan_step step; // one new token of every sequence
} planning;

static int open_model(const char *name, planning *p, nb_error *err)
{
    const char *folder;
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    p->from_config = !nb_checkpoint_has_weights(folder);
    if (!p->from_config) {
        NB_TRY(nb_checkpoint_open(folder, &p->ckpt, err));
        return nb_model_bind(p->ckpt, &p->model, err);
    }
    NB_TRY(nb_checkpoint_open_config(folder, &p->ckpt, err));
    const nb_config *config = nb_checkpoint_config(p->ckpt);
    return nb_synth_model(config, config->mix, 0, 0, &p->model, err);
}

static int make_plan(const char *name, planning *p, nb_error *err)
{
    if (context < 1 || sequences < 1)
        return nb_error_set(err, NB_ERR_USAGE, "--context and --sequences must be at least 1");
    if (!(gpu_memory_utilization > 0 && gpu_memory_utilization <= 1))
        return nb_error_set(err, NB_ERR_USAGE, "--gpu-memory-utilization must be above 0 and at most 1");
    NB_TRY(open_model(name, p, err));
    const nb_config *config = &p->model->config;
    if (context > config->max_position_embeddings)
        return nb_error_set(err, NB_ERR_USAGE, "--context %" PRId64 " is beyond the model's %" PRId64 " positions",
                            context, config->max_position_embeddings);
    p->kv = !strcmp(kv_name, "fp8") || (!strcmp(kv_name, "auto") && config->kv_cache_fp8) ? NB_KV_FP8 : NB_KV_BF16;
    NB_TRY(nb_plan_make(p->model, p->kv, &p->plan, err));
    nb_plan_fit_make(&p->plan, p->model, device_memory, scratch, context, sequences, &p->fit);
    nb_plan_serving_make(&p->plan, (int64_t)((double)device_memory * gpu_memory_utilization), scratch, sequences,
                         &p->serving);
    nb_plan_step_make(&p->plan, p->model, p->kv, sequences, 1, context - 1, &p->step);
    return NB_OK;
}

static double step_bytes(const planning *p)
{
    return p->step.weight_bytes + p->step.state_bytes + p->step.kv_bytes;
}

static double roof_tokens_s(const planning *p)
{
    return bandwidth_gb_s * 1e9 / step_bytes(p) * (double)sequences;
}

static void line(const char *label, double n_byte)
{
    printf("  %-38s %12s\n", label, nb_byte_text_of(n_byte).c_str);
}

static void print_weights(const planning *p)
{
    printf("weights%s\n", p->from_config ? " (no weights in this folder: formats as its configuration says)" : "");
    for (nb_role role = 0; role < NB_ROLE_VISION; role++)
        if (p->plan.weight_bytes[role]) line(nb_role_name(role), (double)p->plan.weight_bytes[role]);
    line("total", (double)p->plan.weight_bytes_total);
}

static const char *kv_text(const planning *p)
{
    return p->kv == NB_KV_FP8 ? "fp8" : "bf16";
}

static void count(const char *label, int64_t n)
{
    printf("  %-38s %12" PRId64 "\n", label, n);
}

static void print_text(const planning *p)
{
    print_weights(p);
    printf("\nsequence (KV cache %s)\n", kv_text(p));
    line("KV per token", (double)p->plan.kv_bytes_per_token);
    line("KV page of 64 tokens", (double)p->plan.page_bytes);
    line("state slot", (double)p->plan.slot_bytes);
    printf("\n%" PRId64 " sequences of %" PRId64 " tokens on a device of %s\n", sequences, context,
           nb_byte_text_of((double)device_memory).c_str);
    line("scratch", (double)scratch);
    line(p->fit.fits ? "needed: fits" : "needed: DOES NOT FIT", (double)p->fit.needed_bytes);
    count("most sequences of that context", p->fit.max_sequences);
    count("longest context of as many", p->fit.max_context);
    printf("\nnibble serve --max-num-seqs %" PRId64 " with %.0f %% of the device%s\n", sequences,
           100 * gpu_memory_utilization, p->serving.kv_tok > 0 ? "" : ": DOES NOT FIT");
    count("saved states of the prefix cache", p->serving.saved_states);
    count("tokens of the KV cache", p->serving.kv_tok);
    printf("\nstep: one token of each, the fewest bytes\n");
    line("weights (expected under even routing)", p->step.weight_bytes);
    line("states and journals", p->step.state_bytes);
    line("KV", p->step.kv_bytes);
    line("total", step_bytes(p));
    printf("  %-38s %9.2f GFLOP\n", "operations", p->step.flop / 1e9);
    if (bandwidth_gb_s > 0)
        printf("  roof at %.0f GB/s: %.0f tokens/s, %.3f ms a step\n", bandwidth_gb_s, roof_tokens_s(p),
               step_bytes(p) / bandwidth_gb_s / 1e6);
}

static json_t *weights_json(const planning *p)
{
    json_t *weights = json_object();
    for (nb_role role = 0; role < NB_ROLE_COUNT; role++)
        if (p->plan.weight_bytes[role])
            json_object_set_new(weights, nb_role_name(role), json_integer(p->plan.weight_bytes[role]));
    json_object_set_new(weights, "total", json_integer(p->plan.weight_bytes_total));
    return weights;
}

static void print_json(const planning *p)
{
    json_t *top = json_pack(
        "{s:b, s:s, s:o, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}, s:{s:I, s:I}, "
        "s:{s:f, s:f, s:f, s:f, s:f}}",
        "from_config", p->from_config, "kv", kv_text(p), "weight_bytes", weights_json(p), "kv_bytes_per_token",
        (json_int_t)p->plan.kv_bytes_per_token, "page_bytes", (json_int_t)p->plan.page_bytes, "slot_bytes",
        (json_int_t)p->plan.slot_bytes, "fit", "device_bytes", (json_int_t)device_memory, "scratch_bytes",
        (json_int_t)scratch, "context", (json_int_t)context, "sequences", (json_int_t)sequences, "needed_bytes",
        (json_int_t)p->fit.needed_bytes, "fits", p->fit.fits, "max_sequences", (json_int_t)p->fit.max_sequences,
        "max_context", (json_int_t)p->fit.max_context, "serve", "saved_states", (json_int_t)p->serving.saved_states,
        "kv_tokens", (json_int_t)p->serving.kv_tok, "step", "weight_bytes", p->step.weight_bytes, "state_bytes",
        p->step.state_bytes, "kv_bytes", p->step.kv_bytes, "total_bytes", step_bytes(p), "flop", p->step.flop);
    if (bandwidth_gb_s > 0) {
        json_object_set_new(top, "bandwidth_gb_s", json_real(bandwidth_gb_s));
        json_object_set_new(top, "roof_tokens_s", json_real(roof_tokens_s(p)));
    }
    nb_buf text = {0};
    nb_json_write(top, &text);
    puts(text.ptr);
    nb_buf_drop(&text);
    json_decref(top);
}

int nb_cmd_plan(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[1];
    int n_argument, code = nb_command_parse(&nb_command_plan, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    planning p = {0};
    if (code == NB_OK) code = make_plan(argument[0], &p, &err);
    if (code == NB_OK) (json ? print_json : print_text)(&p);
    nb_model_close(p.model);
    nb_checkpoint_close(p.ckpt);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
