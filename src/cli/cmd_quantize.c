// nibble quantize: a BF16 checkpoint in, an NVFP4 checkpoint out.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/calibration_text.h"
#include "cli/commands.h"
#include "cli/session_options.h"
#include "quantize/quantize.h"

enum { CALIBRATION_WINDOW = 2048 };

static nb_session_options session_options = NB_SESSION_DEFAULTS;
static const char *recipe_name = "nvfp4", *method = "max", *calibration_file;
static int64_t shard_bytes = (int64_t)10 * 1000 * 1000 * 1000;
static bool no_calibration, json;

static const nb_option options[] = {
    {"recipe", 0, NB_OPTION_STRING, &recipe_name, "nvfp4", "what gets which format"},
    {"method", 0, NB_OPTION_STRING, &method, "max|sweep",
     "how block scales are chosen; sweep tries all and takes longer"},
    {"calibration", 0, NB_OPTION_STRING, &calibration_file, "FILE",
     "text that sets the FP8 input scales (default: built in)"},
    {"no-calibration", 0, NB_OPTION_FLAG, &no_calibration, NULL,
     "leave FP8 input scales out: those layers then run W8A16"},
    {"shard-size", 0, NB_OPTION_BYTES, &shard_bytes, "BYTES", "largest file of the output"},
    {"json", 0, NB_OPTION_FLAG, &json, NULL, "print one JSON object"},
    NB_SESSION_OPTION_ROWS(session_options),
    {0},
};

const nb_command nb_command_quantize = {
    .name = "quantize",
    .arguments = "IN OUT",
    .summary = "quantize a BF16 checkpoint to NVFP4",
    .example = "nibble quantize models/demo demo-nvfp4",
    .option = options,
    .n_argument_min = 2,
    .n_argument_max = 2,
};

static int calibration_ids(const nb_session *s, nb_ids *ids, nb_error *err)
{
    if (calibration_file) return nb_command_ids(s, calibration_file, ids, err);
    return nb_tokenizer_encode(s->tokenizer, nb_str_from(nb_calibration_text), true, ids, err);
}

static int calibrate(nb_session *s, const nb_recipe *recipe, nb_calibration **out, nb_error *err)
{
    nb_ids ids = {0};
    int code = calibration_ids(s, &ids, err);
    nb_progress progress;
    nb_progress_open(&progress, "calibrate");
    if (code == NB_OK)
        code = nb_calibrate(s->device, s->model, recipe, ids.id, ids.n, CALIBRATION_WINDOW, nb_progress_show, &progress,
                            out, err);
    nb_progress_close(&progress);
    nb_ids_drop(&ids);
    return code;
}

static int encode(nb_session *s, const char *folder, const nb_recipe *recipe, const nb_calibration *calibration,
                  nb_quantize_report *report, nb_error *err)
{
    nb_progress progress;
    nb_progress_open(&progress, "quantize");
    nb_quantize_options quantize = {.recipe = recipe,
                                    .calibration = calibration,
                                    .shard_bytes = shard_bytes,
                                    .threads = nb_threads_open((int)session_options.n_thread),
                                    .progress = nb_progress_show,
                                    .user = &progress};
    int code = nb_quantize(s->model, folder, &quantize, report, err);
    nb_threads_close(quantize.threads);
    nb_progress_close(&progress);
    return code;
}

// Calibration runs the model: on a GPU if there is one that holds it, else on the CPU, which needs no copy of the
// files. The largest inputs that the two see differ by less than 3 % (test/cuda/test_cuda_calibrate.c).
static int open_source(const char *name, nb_session *s, nb_error *err)
{
    nb_session_options o = session_options;
    if (no_calibration) o.device = "cpu";
    if (strcmp(o.device, "auto") != 0) return nb_command_open(name, &o, s, err);
    o.device = "cuda";
    int code = nb_command_open(name, &o, s, err);
    if (code != NB_ERR_DEVICE && code != NB_ERR_MEMORY) return code;
    nb_session_close(s);
    o.device = "cpu";
    return nb_command_open(name, &o, s, err);
}

static int run(const char **argument, nb_session *s, nb_quantize_report *report, nb_error *err)
{
    nb_recipe recipe;
    nb_calibration *calibration = NULL;
    NB_TRY(nb_recipe_find(recipe_name, method, &recipe, err));
    NB_TRY(open_source(argument[0], s, err));
    if (!no_calibration) NB_TRY(calibrate(s, &recipe, &calibration, err));
    int code = encode(s, argument[1], &recipe, calibration, report, err);
    nb_calibration_close(calibration);
    return code;
}

static void print_report(const nb_quantize_report *r, const char *folder, double seconds)
{
    if (json) {
        printf(
            "{\"folder\": \"%s\", \"in_bytes\": %lld, \"out_bytes\": %lld, \"nvfp4_modules\": %lld, \"fp8_modules\": "
            "%lld, \"nvfp4_relative_mse\": %.8f, \"fp8_relative_mse\": %.8f, \"seconds\": %.3f}\n",
            folder, (long long)r->in_bytes, (long long)r->out_bytes, (long long)r->n_nvfp4, (long long)r->n_fp8,
            r->nvfp4_error, r->fp8_error, seconds);
        return;
    }
    printf("%s: %.2f MB -> %.2f MB (%.2fx smaller) in %.1f s\n", folder, (double)r->in_bytes / 1e6,
           (double)r->out_bytes / 1e6, (double)r->in_bytes / (double)r->out_bytes, seconds);
    printf("NVFP4: %lld modules, relative squared error %.5f; FP8: %lld modules, %.5f\n", (long long)r->n_nvfp4,
           r->nvfp4_error, (long long)r->n_fp8, r->fp8_error);
}

int nb_cmd_quantize(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[2];
    int n_argument, code = nb_command_parse(&nb_command_quantize, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    int64_t began_us = nb_clock_us();
    nb_session s = {0};
    nb_quantize_report report;
    if (code == NB_OK) code = run(argument, &s, &report, &err);
    if (code == NB_OK) print_report(&report, argument[1], (double)(nb_clock_us() - began_us) / 1e6);
    nb_session_close(&s);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
