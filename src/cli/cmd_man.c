// `nibble man [COMMAND]`: manual pages (man(7) macros) or Markdown, made from the tables of the commands.
#include <stdio.h>

#include "cli/cli_internal.h"
#include "cli/commands.h"

static bool markdown;

static const nb_option options[] = {
    {"markdown", 0, NB_OPTION_FLAG, &markdown, NULL, "write Markdown instead of man(7) macros"},
    {0},
};

const nb_command nb_command_man = {
    .name = "man",
    .arguments = "[COMMAND]",
    .summary = "print a manual page",
    .example = "nibble man | man -l -\nnibble man completion > nibble-completion.1",
    .option = options,
    .n_argument_max = 1,
};

int nb_cmd_man(int argc, char **argv)
{
    nb_error err;
    const char *name;
    int n_argument;
    markdown = false;
    int code = nb_command_parse(&nb_command_man, argc, argv, &name, &n_argument, &err);
    if (code) return code > 0 ? NB_EXIT_OK : nb_command_fail(&err);
    nb_buf text = {0};
    if (n_argument) {
        const nb_command_entry *entry = nb_command_find(name, &err);
        if (!entry) return nb_command_fail(&err);
        (markdown ? nb_markdown_command : nb_man_command)(entry->command, &text);
    } else {
        (markdown ? nb_markdown_program : nb_man_program)(&text);
    }
    fwrite(text.ptr, 1, text.len, stdout);
    nb_buf_drop(&text);
    return NB_EXIT_OK;
}
