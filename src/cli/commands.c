// Dispatch: `nibble COMMAND ...` to the function of that command.
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli_internal.h"

enum { NAME_BYTES = 64 };

const nb_command_entry nb_commands[] = {
#define NB_COMMAND(name) {&nb_command_##name, nb_cmd_##name},
#include "cli/commands.def"
#undef NB_COMMAND
    {0},
};

const nb_command_entry *nb_command_find(const char *name, nb_error *err)
{
    nb_nearest nearest = {.name = name};
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        if (strcmp(e->command->name, name) == 0) return e;
        nb_nearest_offer(&nearest, e->command->name);
    }
    if (nearest.best) {
        nb_error_set(err, NB_ERR_USAGE, "there is no command '%s'; did you mean '%s'?", name, nearest.best);
    } else {
        nb_error_set(err, NB_ERR_USAGE, "there is no command '%s'; 'nibble help' lists them", name);
    }
    return NULL;
}

int nb_command_fail(const nb_error *err)
{
    fprintf(stderr, "nibble: %s\n", err->text);
    return err->code == NB_ERR_USAGE ? NB_EXIT_USAGE : NB_EXIT_FAILED;
}

// A command whose name has a hyphen may be written as two words: `nibble bench serve`.
static const nb_command_entry *find_two_words(int argc, char **argv)
{
    char name[NAME_BYTES];
    if (argc < 3) return NULL;
    snprintf(name, sizeof name, "%s-%s", argv[1], argv[2]);
    for (const nb_command_entry *e = nb_commands; e->command; e++) {
        if (strcmp(e->command->name, name) == 0) return e;
    }
    return NULL;
}

int nb_cli_main(int argc, char **argv)
{
    if (argc < 2) {
        nb_cmd_help(0, NULL);
        return NB_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("nibble %s\n", NB_VERSION);
        return NB_EXIT_OK;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    const nb_command_entry *two_words = find_two_words(argc, argv);
    if (two_words) return two_words->run(argc - 3, argv + 3);
    nb_error err;
    const nb_command_entry *entry = nb_command_find(name, &err);
    return entry ? entry->run(argc - 2, argv + 2) : nb_command_fail(&err);
}
