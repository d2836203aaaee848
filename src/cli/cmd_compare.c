// nibble compare: what separates two checkpoints of one model, on a text.
#include <stdio.h>

#include "cli/commands.h"
#include "cli/session_options.h"
#include "evaluate/divergence.h"

static nb_session_options session_options = NB_SESSION_DEFAULTS;
static const char *text;
static int64_t window = 1024;
static bool json;

static const nb_option options[] = {
    {"text", 0, NB_OPTION_STRING, &text, "FILE", "the text; - reads standard input"},
    {"window", 0, NB_OPTION_INT, &window, "N", "tokens from one fresh state to the next"},
    {"json", 0, NB_OPTION_FLAG, &json, NULL, "print one JSON object"},
    NB_SESSION_OPTION_ROWS(session_options),
    {0},
};

const nb_command nb_command_compare = {
    .name = "compare",
    .arguments = "A B --text FILE",
    .summary = "divergence of checkpoint B from checkpoint A on a text",
    .example = "nibble compare models/demo demo-nvfp4 --text test/data/demo/heldout.txt",
    .option = options,
    .n_argument_min = 2,
    .n_argument_max = 2,
};

static int run(const char **name, nb_session s[2], nb_ids *ids, nb_divergence *result, nb_error *err)
{
    if (!text) return nb_error_set(err, NB_ERR_USAGE, "compare needs --text FILE");
    if (window < 2) return nb_error_set(err, NB_ERR_USAGE, "--window must be at least 2");
    for (int i = 0; i < 2; i++) NB_TRY(nb_command_open(name[i], &session_options, &s[i], err));
    int vocab_size = s[0].model->config.vocab_size;
    if (s[1].model->config.vocab_size != vocab_size)
        return nb_error_set(err, NB_ERR_INPUT, "%s has a vocabulary of %d and %s one of %d; they cannot be compared",
                            name[0], vocab_size, name[1], s[1].model->config.vocab_size);
    NB_TRY(nb_command_ids(&s[0], text, ids, err));
    nb_progress progress;
    nb_progress_open(&progress, "compare");
    int code = nb_divergence_run(s[0].device, s[1].device, s[0].kv, vocab_size, ids->id, ids->n, window,
                                 nb_progress_show, &progress, result, err);
    nb_progress_close(&progress);
    return code;
}

static void print_json(const nb_divergence *d)
{
    printf("{\"tokens\": %lld, \"kl_mean\": %.9f, \"kl_median\": %.9f, \"kl_p99\": %.9f, \"kl_max\": %.9f, "
           "\"top1_agreement\": %.6f, \"perplexity_a\": %.6f, \"perplexity_b\": %.6f}\n",
           (long long)d->n_scored, d->kl_mean, d->kl_median, d->kl_p99, d->kl_max, d->top1_agreement, d->a.value,
           d->b.value);
}

static void print_text(const nb_divergence *d)
{
    printf("tokens           %lld\n", (long long)d->n_scored);
    printf("KL(A || B)       mean %.6f  median %.6f  p99 %.6f  max %.6f nats\n", d->kl_mean, d->kl_median, d->kl_p99,
           d->kl_max);
    printf("top-1 agreement  %.2f %%\n", 100 * d->top1_agreement);
    printf("perplexity       A %.4f  B %.4f  (%+.2f %%)\n", d->a.value, d->b.value,
           100 * (d->b.value / d->a.value - 1));
}

int nb_cmd_compare(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[2];
    int n_argument, code = nb_command_parse(&nb_command_compare, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    nb_session s[2] = {{0}};
    nb_ids ids = {0};
    nb_divergence result;
    if (code == NB_OK) code = run(argument, s, &ids, &result, &err);
    if (code == NB_OK && json)
        print_json(&result);
    else if (code == NB_OK)
        print_text(&result);
    nb_ids_drop(&ids);
    for (int i = 0; i < 2; i++) nb_session_close(&s[i]);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
