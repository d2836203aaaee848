// The parser of command lines. A command's table decides everything; a value can only ever land in the variable that
// its row names.
#include <stdio.h>
#include <string.h>

#include "cli/cli_internal.h"

enum { NAME_BYTES = 64 };

// The part of an argument that is being read: "--name=value" gives both, "--name" leaves value NULL.
typedef struct parser {
    const nb_command *command;
    int argc, at;
    char **argv;
    nb_error *err;
} parser;

static const nb_option *row_of_letter(const nb_command *command, char letter)
{
    for (const nb_option *o = command->option; o && o->name; o++) {
        if (o->letter == letter) return o;
    }
    return NULL;
}

static const nb_option *row_of_name(const nb_command *command, const char *name)
{
    for (const nb_option *o = command->option; o && o->name; o++) {
        if (strcmp(o->name, name) == 0) return o;
    }
    return NULL;
}

static int unknown(const parser *p, const char *name)
{
    nb_nearest nearest = {.name = name};
    for (const nb_option *o = p->command->option; o && o->name; o++) nb_nearest_offer(&nearest, o->name);
    if (nearest.best) {
        return nb_error_set(p->err, NB_ERR_USAGE, "%s has no option --%s; did you mean --%s?", p->command->name, name,
                            nearest.best);
    }
    return nb_error_set(p->err, NB_ERR_USAGE, "%s has no option --%s; 'nibble %s --help' lists them", p->command->name,
                        name, p->command->name);
}

static bool looks_like_option(const char *arg)
{
    bool negative_number = arg[0] == '-' && ((arg[1] >= '0' && arg[1] <= '9') || arg[1] == '.');
    return arg[0] == '-' && arg[1] && !negative_number;
}

// The value of `option`: what stood behind its "=", else the next argument if it needs one.
static int take_value(parser *p, const nb_option *option, const char *value)
{
    bool may_follow = option->kind == NB_OPTION_IGNORED && option->argument;
    bool has_next = p->at < p->argc;
    if (!value && nb_option_takes_value(option)) {
        if (!has_next) return nb_error_set(p->err, NB_ERR_USAGE, "--%s needs a value", option->name);
        value = p->argv[p->at++];
    } else if (!value && may_follow && has_next && !looks_like_option(p->argv[p->at])) {
        value = p->argv[p->at++];
    }
    if (option->kind == NB_OPTION_IGNORED) fprintf(stderr, "nibble: --%s is ignored: %s\n", option->name, option->help);
    return nb_option_store(option, value, p->err);
}

static int long_option(parser *p, const char *arg)
{
    char name[NAME_BYTES];
    const char *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    snprintf(name, sizeof name, "%.*s", (int)(n < NAME_BYTES ? n : NAME_BYTES), arg);
    for (char *c = name; *c; c++) {
        if (*c == '_') *c = '-';
    }
    const nb_option *option = row_of_name(p->command, name);
    if (option) return take_value(p, option, equals ? equals + 1 : NULL);
    // Any flag can be switched off: --no-NAME.
    option = strncmp(name, "no-", 3) == 0 && !equals ? row_of_name(p->command, name + 3) : NULL;
    if (option && option->kind == NB_OPTION_FLAG) return nb_option_store(option, "false", p->err);
    return unknown(p, name);
}

static int short_option(parser *p, const char *arg)
{
    const nb_option *option = row_of_letter(p->command, arg[0]);
    if (!option) {
        return nb_error_set(p->err, NB_ERR_USAGE, "%s has no option -%c; 'nibble %s --help' lists them",
                            p->command->name, arg[0], p->command->name);
    }
    if (arg[1] && !nb_option_takes_value(option)) {
        return nb_error_set(p->err, NB_ERR_USAGE, "-%c takes no value; write flags one by one", arg[0]);
    }
    return take_value(p, option, arg[1] ? arg + 1 : NULL);
}

static bool asks_for_help(const nb_command *command, const char *arg)
{
    return strcmp(arg, "--help") == 0 || (strcmp(arg, "-h") == 0 && !row_of_letter(command, 'h'));
}

static void print_usage(const nb_command *command)
{
    nb_buf text = {0};
    nb_usage_write(command, &text);
    fwrite(text.ptr, 1, text.len, stdout);
    nb_buf_drop(&text);
}

static int add_argument(const parser *p, const char *arg, const char **argument, int *n_argument)
{
    if (*n_argument == p->command->n_argument_max) {
        return nb_error_set(p->err, NB_ERR_USAGE, "%s: '%s' is one argument too many; usage: nibble %s [OPTIONS] %s",
                            p->command->name, arg, p->command->name, p->command->arguments);
    }
    argument[(*n_argument)++] = arg;
    return NB_OK;
}

int nb_command_parse(const nb_command *command, int argc, char **argv, const char **argument, int *n_argument,
                     nb_error *err)
{
    parser p = {command, argc, 0, argv, err};
    bool only_arguments = false;
    *n_argument = 0;
    while (p.at < argc) {
        const char *arg = argv[p.at++];
        if (!only_arguments && asks_for_help(command, arg)) {
            print_usage(command);
            return 1;
        }
        if (only_arguments || !looks_like_option(arg)) {
            NB_TRY(add_argument(&p, arg, argument, n_argument));
        } else if (strcmp(arg, "--") == 0) {
            only_arguments = true;
        } else {
            NB_TRY(arg[1] == '-' ? long_option(&p, arg + 2) : short_option(&p, arg + 1));
        }
    }
    if (*n_argument < command->n_argument_min) {
        return nb_error_set(err, NB_ERR_USAGE, "%s needs %s; see 'nibble %s --help'", command->name, command->arguments,
                            command->name);
    }
    return NB_OK;
}
