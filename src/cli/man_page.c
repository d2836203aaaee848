// Manual pages in the macros of man(7).
#include "cli/cli_internal.h"
#include "cli/commands.h"

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

void nb_man_command(const nb_command *command, nb_buf *out)
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

void nb_man_program(nb_buf *out)
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
