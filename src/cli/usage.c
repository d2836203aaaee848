// The text of --help.
#include <string.h>

#include "cli/cli_internal.h"

enum { HELP_COLUMN = 32, WIDTH = 100 };

// Appends `text` word by word in lines of WIDTH, continued at HELP_COLUMN.
static void wrap(nb_buf *out, nb_str text)
{
    size_t column = HELP_COLUMN;
    for (size_t at = 0; at < text.len;) {
        int64_t space = nb_str_find(text, NB_STR(" "), at);
        size_t end = space < 0 ? text.len : (size_t)space;
        if (column > HELP_COLUMN && column + 1 + end - at > WIDTH) {
            nb_buf_printf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            nb_buf_add_char(out, ' ');
            column++;
        }
        nb_buf_add_str(out, nb_str_slice(text, at, end));
        column += end - at;
        at = end + 1;
    }
    nb_buf_add_char(out, '\n');
}

static void write_row(nb_str left, nb_str help, nb_buf *out)
{
    nb_buf_add_str(out, left);
    if (left.len + 2 > HELP_COLUMN) {
        nb_buf_printf(out, "\n%*s", HELP_COLUMN, "");
    } else {
        nb_buf_printf(out, "%*s", (int)(HELP_COLUMN - left.len), "");
    }
    wrap(out, help);
}

static void write_option(const nb_option *o, nb_buf *out)
{
    nb_buf left = {0}, help = {0}, value = {0};
    if (o->letter) {
        nb_buf_printf(&left, "  -%c, --%s", o->letter, o->name);
    } else {
        nb_buf_printf(&left, "      --%s", o->name);
    }
    if (o->argument) nb_buf_printf(&left, " %s", o->argument);
    nb_buf_printf(&help, o->kind == NB_OPTION_IGNORED ? "ignored: %s" : "%s", o->help);
    nb_option_default(o, &value);
    if (value.len) nb_buf_printf(&help, " [%s]", value.ptr);
    write_row(nb_buf_str(&left), nb_buf_str(&help), out);
    nb_buf_drop(&left);
    nb_buf_drop(&help);
    nb_buf_drop(&value);
}

void nb_usage_write(const nb_command *command, nb_buf *out)
{
    bool has_options = command->option && command->option->name;
    nb_buf_printf(out, "nibble %s: %s\n\nUsage: nibble %s%s%s%s\n", command->name, command->summary, command->name,
                  has_options ? " [OPTIONS]" : "", command->arguments[0] ? " " : "", command->arguments);
    if (has_options) nb_buf_add_c(out, "\nOptions (defaults in brackets; a flag is switched off by --no-NAME):\n");
    for (const nb_option *o = command->option; o && o->name; o++) write_option(o, out);
    write_row(NB_STR("  -h, --help"), NB_STR("this text"), out);
    nb_buf_add_c(out, "\nExample:\n");
    for (nb_str rest = nb_str_from(command->example); rest.len;) {
        int64_t end = nb_str_find(rest, NB_STR("\n"), 0);
        size_t n = end < 0 ? rest.len : (size_t)end;
        nb_buf_printf(out, "  %.*s\n", (int)n, rest.ptr);
        rest = nb_str_slice(rest, n + 1, rest.len);
    }
}
