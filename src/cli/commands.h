// The list of subcommands, made from commands.def. A new command is a file cmd_<name>.c and one line there; help, shell
// completion and manual pages follow.
#ifndef NB_COMMANDS_H
#define NB_COMMANDS_H

#include "cli/command.h"

#define NB_COMMAND(name)                       \
    extern const nb_command nb_command_##name; \
    int nb_cmd_##name(int argc, char **argv); /* argv without program and command name; returns the exit code */
#include "cli/commands.def"
#undef NB_COMMAND

typedef struct nb_command_entry {
    const nb_command *command;
    int (*run)(int argc, char **argv);
} nb_command_entry;

extern const nb_command_entry nb_commands[]; // ends with a zero row

// The command of that name; NULL with a message that suggests the nearest one.
const nb_command_entry *nb_command_find(const char *name, nb_error *err);

// The whole program: argv as given to main.
int nb_cli_main(int argc, char **argv);

#endif
