// Pages of docs/commands.
#include "cli/cli_internal.h"
#include "cli/commands.h"

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

void nb_markdown_command(const nb_command *command, nb_buf *out)
{
    nb_buf_printf(out, "# nibble %s\n\n%s.\n\n    nibble %s [OPTIONS] %s\n", command->name, command->summary,
                  command->name, command->arguments);
    if (command->option && command->option->name) {
        nb_buf_add_c(out, "\n| option | default | meaning |\n| --- | --- | --- |\n");
    }
    for (const nb_option *o = command->option; o && o->name; o++) markdown_option(o, out);
    nb_buf_printf(out, "\nExample:\n\n```sh\n%s\n```\n", command->example);
}

void nb_markdown_program(nb_buf *out)
{
    nb_buf_add_c(out, "# Commands\n\nMade by `scripts/docs` from the tables that the program itself uses.\n\n"
                      "| command | what it does |\n| --- | --- |\n");
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, "| [`%s`](%s.md) | ", e->command->name, e->command->name);
        add_cell(out, e->command->summary);
        nb_buf_add_c(out, " |\n");
    }
}
