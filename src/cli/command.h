// One subcommand a file: src/cli/cmd_<name>.c defines nb_cmd_<name>, and the table in commands.c lists it. A command
// gives its options as a table, from which parsing, --help, shell completion and the man pages follow.
#ifndef NB_COMMAND_H
#define NB_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

// Exit codes of every command.
enum {
    NB_EXIT_OK = 0,
    NB_EXIT_FAILED = 1, // bad checkpoint, no memory, failed run
    NB_EXIT_USAGE = 2,  // the command line was wrong
};

typedef enum nb_option_kind {
    NB_OPTION_FLAG,    // bool *
    NB_OPTION_INT,     // int64_t *
    NB_OPTION_BYTES,   // int64_t *: 80G, 512M, 1.5Gi
    NB_OPTION_DOUBLE,  // double *
    NB_OPTION_STRING,  // const char **
    NB_OPTION_LIST,    // nb_option_list *: may be given several times
    NB_OPTION_IGNORED, // NULL: accepted with an optional value and announced; `help` says why it means nothing here
} nb_option_kind;

typedef struct nb_option_list {
    const char **item;
    int n;
} nb_option_list;

typedef struct nb_option {
    const char *name; // "max-tokens": --max-tokens N or --max-tokens=N; underscores are accepted for hyphens
    char letter;      // 0: none
    nb_option_kind kind;
    void *value;          // holds the default when parsing starts
    const char *argument; // name of the value in the help; for a closed set "auto|scalar|avx2", which is then checked
    const char *help;
} nb_option;

typedef struct nb_command {
    const char *name;
    const char *arguments;   // "CKPT [PROMPT]"
    const char *summary;     // one line
    const char *example;     // lines that can be copied
    const nb_option *option; // ends with a zero row
    int n_argument_min, n_argument_max;
} nb_command;

// Parses argv (without program and command name). Positional arguments are collected in `argument`. Returns NB_OK;
// NB_ERR_USAGE with a message that suggests the nearest option; or 1 when --help was printed and the command should
// end.
int nb_command_parse(const nb_command *command, int argc, char **argv, const char **argument, int *n_argument,
                     nb_error *err);

// Prints "nibble: <message>" on stderr; returns the exit code that belongs to err->code.
int nb_command_fail(const nb_error *err);

// ORG/NAME or a path, through the environment's HF_HOME, HF_HUB_CACHE and HOME. The result lives until the end.
int nb_command_checkpoint(const char *name, const char **folder, nb_error *err);

// A progress bar on stderr, if that is a terminal; otherwise silent.
typedef struct nb_progress {
    const char *label;
    int64_t last_us;
    bool on;
} nb_progress;
void nb_progress_open(nb_progress *progress, const char *label);
void nb_progress_show(void *progress, int64_t n_done, int64_t n_total); // an nb_progress_fn
void nb_progress_close(nb_progress *progress);

#endif
