// `nibble help [COMMAND]`.
#include <stdio.h>

#include "cli/cli_internal.h"
#include "cli/commands.h"

const nb_command nb_command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "list the commands, or explain one",
    .example = "nibble help\nnibble help completion",
    .n_argument_max = 1,
};

static void write_overview(nb_buf *out)
{
    nb_buf_printf(out, "nibble %s: quantizes mixture-of-experts checkpoints to NVFP4 and serves them.\n\n", NB_VERSION);
    nb_buf_add_c(out, "Usage: nibble COMMAND [OPTIONS] ...\n\nCommands:\n");
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, "  %-12s %s\n", e->command->name, e->command->summary);
    }
    nb_buf_add_c(out, "\n'nibble COMMAND --help' explains one of them; 'nibble --version' prints the version.\n");
}

int nb_cmd_help(int argc, char **argv)
{
    nb_error err;
    const char *argument[1];
    int n_argument;
    int code = nb_command_parse(&nb_command_help, argc, argv, argument, &n_argument, &err);
    if (code) return code > 0 ? NB_EXIT_OK : nb_command_fail(&err);
    nb_buf text = {0};
    if (n_argument) {
        const nb_command_entry *entry = nb_command_find(argument[0], &err);
        if (!entry) return nb_command_fail(&err);
        nb_usage_write(entry->command, &text);
    } else {
        write_overview(&text);
    }
    fwrite(text.ptr, 1, text.len, stdout);
    nb_buf_drop(&text);
    return NB_EXIT_OK;
}
