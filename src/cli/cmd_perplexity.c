// nibble perplexity: how well a checkpoint predicts a text.
#include <stdio.h>

#include "cli/commands.h"
#include "cli/session_options.h"
#include "evaluate/perplexity.h"

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

const nb_command nb_command_perplexity = {
    .name = "perplexity",
    .arguments = "CKPT --text FILE",
    .summary = "how well a checkpoint predicts a text",
    .example = "nibble perplexity models/demo --text test/data/demo/heldout.txt",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 1,
};

static int run(const char *name, nb_session *s, nb_ids *ids, nb_perplexity *result, nb_error *err)
{
    if (!text) return nb_error_set(err, NB_ERR_USAGE, "perplexity needs --text FILE");
    if (window < 2) return nb_error_set(err, NB_ERR_USAGE, "--window must be at least 2");
    NB_TRY(nb_command_open(name, &session_options, s, err));
    NB_TRY(nb_command_ids(s, text, ids, err));
    nb_progress progress;
    nb_progress_open(&progress, "perplexity");
    int code = nb_perplexity_run(s->device, s->kv, ids->id, ids->n, window, nb_progress_show, &progress, result, err);
    nb_progress_close(&progress);
    return code;
}

int nb_cmd_perplexity(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[1];
    int n_argument, code = nb_command_parse(&nb_command_perplexity, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    nb_session s = {0};
    nb_ids ids = {0};
    nb_perplexity result;
    if (code == NB_OK) code = run(argument[0], &s, &ids, &result, &err);
    if (code == NB_OK && json)
        printf("{\"perplexity\": %.6f, \"nll\": %.9f, \"tokens\": %lld, \"window\": %lld}\n", result.value,
               result.nll_sum / (double)result.n_scored, (long long)result.n_scored, (long long)window);
    else if (code == NB_OK)
        printf("perplexity %.4f over %lld tokens (windows of %lld)\n", result.value, (long long)result.n_scored,
               (long long)window);
    nb_ids_drop(&ids);
    nb_session_close(&s);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
