// `nibble completion SHELL`: a completion script made from the tables of all commands. Names complete to commands and
// options, values of closed sets to their members, everything else to files.
#include <stdio.h>
#include <string.h>

#include "cli/cli_internal.h"
#include "cli/commands.h"

const nb_command nb_command_completion = {
    .name = "completion",
    .arguments = "bash|zsh|fish",
    .summary = "print a shell completion script",
    .example = "source <(nibble completion bash)\n"
               "nibble completion zsh > ~/.zfunc/_nibble\n"
               "nibble completion fish > ~/.config/fish/completions/nibble.fish",
    .n_argument_min = 1,
    .n_argument_max = 1,
};

static void add_choice(nb_str choice, void *user)
{
    nb_buf *out = user;
    nb_buf_add_char(out, ' ');
    nb_buf_add_str(out, choice);
}

// Text inside single quotes of a POSIX shell, with a backslash before each of `special`.
static void add_quoted(nb_buf *out, const char *text, const char *special)
{
    for (const char *c = text; *c; c++) {
        if (*c == '\'') {
            nb_buf_add_c(out, "'\\''");
            continue;
        }
        if (strchr(special, *c)) nb_buf_add_char(out, '\\');
        nb_buf_add_char(out, *c);
    }
}

static void bash_command(const nb_command *command, nb_buf *out)
{
    nb_buf_printf(out, "    %s)\n", command->name);
    nb_buf_add_c(out, "        case $previous in\n");
    for (const nb_option *o = command->option; o && o->name; o++) {
        if (!nb_option_is_set(o)) continue;
        nb_buf_printf(out, "        --%s) COMPREPLY=($(compgen -W '", o->name);
        nb_option_each_choice(o, add_choice, out);
        nb_buf_add_c(out, "' -- \"$word\")); return ;;\n");
    }
    nb_buf_add_c(out, "        esac\n        options='--help");
    for (const nb_option *o = command->option; o && o->name; o++) nb_buf_printf(out, " --%s", o->name);
    nb_buf_add_c(out, "' ;;\n");
}

// Cases for commands that may be written as two words: "bench serve" sets name=bench-serve, and does `more`.
static void two_word_cases(const char *more, nb_buf *out)
{
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        const char *name = e->command->name, *hyphen = strchr(name, '-');
        if (!hyphen) continue;
        nb_buf_printf(out, "    '%.*s %s') name=%s%s ;;\n", (int)(hyphen - name), name, hyphen + 1, name, more);
    }
}

static void write_bash(nb_buf *out)
{
    nb_buf_add_c(out, "_nibble() {\n"
                      "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} options=\n"
                      "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                      "        COMPREPLY=($(compgen -W '--help --version");
    for (const nb_command_entry *e = nb_commands; e->command; e++) nb_buf_printf(out, " %s", e->command->name);
    nb_buf_add_c(out, "' -- \"$word\"))\n        return\n    fi\n"
                      "    local name=${COMP_WORDS[1]}\n    case \"$name ${COMP_WORDS[2]}\" in\n");
    two_word_cases("", out);
    nb_buf_add_c(out, "    esac\n    case $name in\n");
    for (const nb_command_entry *e = nb_commands; e->command; e++) bash_command(e->command, out);
    nb_buf_add_c(out, "    esac\n"
                      "    case $word in\n"
                      "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
                      "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
                      "    esac\n"
                      "}\n"
                      "complete -o filenames -F _nibble nibble\n");
}

static void zsh_option(const nb_option *o, nb_buf *out)
{
    nb_buf_printf(out, " \\\n            '%s--%s[", o->kind == NB_OPTION_LIST ? "*" : "", o->name);
    add_quoted(out, o->help, "[]:\\");
    nb_buf_add_char(out, ']');
    if (nb_option_takes_value(o)) {
        nb_buf_add_char(out, ':');
        if (nb_option_is_set(o)) {
            nb_buf_add_c(out, "value:(");
            nb_option_each_choice(o, add_choice, out);
            nb_buf_add_char(out, ')');
        } else {
            add_quoted(out, o->argument ? o->argument : "value", "[]:\\");
            nb_buf_add_c(out, ":_files");
        }
    }
    nb_buf_add_char(out, '\'');
}

static void write_zsh(nb_buf *out)
{
    nb_buf_add_c(out, "#compdef nibble\n_nibble() {\n"
                      "    if (( CURRENT == 2 )); then\n"
                      "        local -a commands=(");
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, "\n            '%s:", e->command->name);
        add_quoted(out, e->command->summary, ":\\");
        nb_buf_add_char(out, '\'');
    }
    nb_buf_add_c(out, ")\n        _describe command commands\n        return\n    fi\n"
                      "    local name=$words[2]\n    case \"$name $words[3]\" in\n");
    two_word_cases("; shift words; (( CURRENT-- ))", out);
    nb_buf_add_c(out, "    esac\n    shift words\n    (( CURRENT-- ))\n    case $name in\n");
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, "    %s) _arguments '--help[explain the command]'", e->command->name);
        for (const nb_option *o = e->command->option; o && o->name; o++) zsh_option(o, out);
        nb_buf_add_c(out, " \\\n            '*:file:_files' ;;\n");
    }
    nb_buf_add_c(out, "    esac\n}\ncompdef _nibble nibble\n");
}

static void fish_option(const nb_command *command, const nb_option *o, nb_buf *out)
{
    const char *hyphen = strchr(command->name, '-');
    nb_buf_printf(out, "complete -c nibble -n '__fish_seen_subcommand_from %s", command->name);
    if (hyphen) {
        nb_buf_printf(out, "; or string match -q \"nibble %.*s %s *\" -- (commandline -pc)",
                      (int)(hyphen - command->name), command->name, hyphen + 1);
    }
    nb_buf_printf(out, "' -l %s", o->name);
    if (o->letter) nb_buf_printf(out, " -s %c", o->letter);
    if (nb_option_is_set(o)) {
        nb_buf_add_c(out, " -xa '");
        nb_option_each_choice(o, add_choice, out);
        nb_buf_add_char(out, '\'');
    } else if (nb_option_takes_value(o)) {
        nb_buf_add_c(out, " -r");
    }
    nb_buf_add_c(out, " -d '");
    add_quoted(out, o->help, "\\");
    nb_buf_add_c(out, "'\n");
}

static void write_fish(nb_buf *out)
{
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        nb_buf_printf(out, "complete -c nibble -n __fish_use_subcommand -fa %s -d '", e->command->name);
        add_quoted(out, e->command->summary, "\\");
        nb_buf_add_c(out, "'\n");
        for (const nb_option *o = e->command->option; o && o->name; o++) fish_option(e->command, o, out);
    }
}

int nb_cmd_completion(int argc, char **argv)
{
    static const struct {
        const char *shell;
        void (*write)(nb_buf *out);
    } writers[] = {{"bash", write_bash}, {"zsh", write_zsh}, {"fish", write_fish}};
    nb_error err;
    const char *shell;
    int n_argument;
    int code = nb_command_parse(&nb_command_completion, argc, argv, &shell, &n_argument, &err);
    if (code) return code > 0 ? NB_EXIT_OK : nb_command_fail(&err);
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++) {
        if (strcmp(writers[i].shell, shell) != 0) continue;
        nb_buf text = {0};
        writers[i].write(&text);
        fwrite(text.ptr, 1, text.len, stdout);
        nb_buf_drop(&text);
        return NB_EXIT_OK;
    }
    nb_error_set(&err, NB_ERR_USAGE, "completion: '%s' is not one of %s", shell, nb_command_completion.arguments);
    return nb_command_fail(&err);
}
