// --config FILE: a YAML mapping of option names to values, turned into command-line arguments that stand before the
// user's own, so that the command line wins. Lists repeat their option; true gives a flag, false and null leave it out.
#ifndef NB_CONFIG_FILE_H
#define NB_CONFIG_FILE_H

#include "base/arena.h"
#include "base/error.h"

// Looks for --config in argv. Without it *out_argv is argv; with it a new array in `arena`: the file's arguments, then
// argv (the option itself included, so that it is known to the table).
int nb_config_file_expand(int argc, char **argv, nb_arena *arena, int *out_argc, char ***out_argv, nb_error *err);

// The arguments of one YAML text; `what` names it in messages. At most NB_CONFIG_FILE_ARGS_MAX.
enum { NB_CONFIG_FILE_ARGS_MAX = 512 };
int nb_config_file_parse(nb_str yaml, const char *what, nb_arena *arena, char **arg, int *n_arg, nb_error *err);

#endif
