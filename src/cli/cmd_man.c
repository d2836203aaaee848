// `nibble man [COMMAND]`: manual pages (man(7) macros) or Markdown, made from the tables of the commands.
#include <stdio.h>
#include <string.h>

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

// A backslash, a hyphen that must stay one, and a dot or quote at the start of a line mean something to man.
static void add_roff(nb_buf *out, const char *text)
{
    bool at_start = true;
    for (const char *c = text; *c; c++) {
        if (at_start && (*c == '.' || *c == '\'')) nb_buf_add_c(out, "\\&");
        if (*c == '\\') {
            nb_buf_add_c(out, "\\e");
        } else if (*c == '-') {
            nb_buf_add_c(out, "\\-");
        } else {
            nb_buf_add_char(out, *c);
        }
        at_start = *c == '\n';
    }
}

static void man_option(const nb_option *o, nb_buf *out)
{
    nb_buf_add_c(out, ".TP\n\\fB");
    if (o->letter) nb_buf_printf(out, "\\-%c\\fR, \\fB", o->letter);
    nb_buf_add_c(out, "\\-\\-");
    add_roff(out, o->name);
    nb_buf_add_c(out, "\\fR");
    if (o->argument) {
        nb_buf_add_c(out, " \\fI");
        add_roff(out, o->argument);
        nb_buf_add_c(out, "\\fR");
    }
    nb_buf_add_char(out, '\n');
    if (o->kind == NB_OPTION_IGNORED) nb_buf_add_c(out, "Ignored: ");
    add_roff(out, o->help);
    nb_buf value = {0};
    nb_option_default(o, &value);
    if (value.len) {
        nb_buf_add_c(out, " Default: ");
        add_roff(out, value.ptr);
        nb_buf_add_char(out, '.');
    }
    nb_buf_drop(&value);
    nb_buf_add_char(out, '\n');
}

static void man_command(const nb_command *command, nb_buf *out)
{
    nb_buf_printf(out, ".TH NIBBLE-%s 1 \"\" \"nibble %s\"\n.SH NAME\nnibble\\-%s \\- ", command->name, NB_VERSION,
                  command->name);
    add_roff(out, command->summary);
    nb_buf_printf(out, "\n.SH SYNOPSIS\n\\fBnibble %s\\fR [\\fIOPTIONS\\fR] ", command->name);
    add_roff(out, command->arguments);
    nb_buf_add_c(out, "\n.SH OPTIONS\nA flag is switched off by \\-\\-no\\-NAME.\n");
    for (const nb_option *o = command->option; o && o->name; o++) man_option(o, out);
    nb_buf_add_c(out, ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nExplain the command.\n"
                      ".SH EXIT STATUS\n0 success, 1 failure, 2 wrong command line.\n.SH EXAMPLE\n.nf\n");
    add_roff(out, command->example);
    nb_buf_add_c(out, "\n.fi\n.SH SEE ALSO\n\\fBnibble\\fR(1)\n");
}

static void man_program(nb_buf *out)
{
    nb_buf_printf(out,
                  ".TH NIBBLE 1 \"\" \"nibble %s\"\n.SH NAME\nnibble \\- quantize mixture\\-of\\-experts "
                  "checkpoints to NVFP4 and serve them\n.SH SYNOPSIS\n\\fBnibble\\fR \\fICOMMAND\\fR "
                  "[\\fIOPTIONS\\fR] ...\n.SH COMMANDS\n",
                  NB_VERSION);
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, ".TP\n\\fB%s\\fR\n", e->command->name);
        add_roff(out, e->command->summary);
        nb_buf_add_char(out, '\n');
    }
    nb_buf_add_c(out, ".SH EXIT STATUS\n0 success, 1 failure, 2 wrong command line.\n");
}

// Inside a table a bar ends the cell.
static void add_cell(nb_buf *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '|') nb_buf_add_char(out, '\\');
        nb_buf_add_char(out, *c);
    }
}

static void markdown_option(const nb_option *o, nb_buf *out)
{
    nb_buf_printf(out, "| `--%s", o->name);
    if (o->argument) nb_buf_add_char(out, ' ');
    if (o->argument) add_cell(out, o->argument);
    nb_buf_add_char(out, '`');
    if (o->letter) nb_buf_printf(out, ", `-%c`", o->letter);
    nb_buf_add_c(out, " | ");
    nb_option_default(o, out);
    nb_buf_add_c(out, o->kind == NB_OPTION_IGNORED ? " | ignored: " : " | ");
    add_cell(out, o->help);
    nb_buf_add_c(out, " |\n");
}

static void markdown_command(const nb_command *command, nb_buf *out)
{
    nb_buf_printf(out, "    nibble %s [OPTIONS] %s\n", command->name, command->arguments);
    if (command->option && command->option->name) {
        nb_buf_add_c(out, "\n| option | default | meaning |\n| --- | --- | --- |\n");
    }
    for (const nb_option *o = command->option; o && o->name; o++) markdown_option(o, out);
    nb_buf_printf(out, "\nExample:\n\n```sh\n%s\n```\n", command->example);
}

static void markdown_program(nb_buf *out)
{
    nb_buf_add_c(out, "| command | what it does |\n| --- | --- |\n");
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, "| [`%s`](%s.md) | ", e->command->name, e->command->name);
        add_cell(out, e->command->summary);
        nb_buf_add_c(out, " |\n");
    }
}

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
        (markdown ? markdown_command : man_command)(entry->command, &text);
    } else {
        (markdown ? markdown_program : man_program)(&text);
    }
    fwrite(text.ptr, 1, text.len, stdout);
    nb_buf_drop(&text);
    return NB_EXIT_OK;
}
