// Shared by cmd_run.c and run_chat.c, which are written on the library (include/nibble.h).
#ifndef NB_RUN_INTERNAL_H
#define NB_RUN_INTERNAL_H

#include <nibble.h>

#include "base/error.h"

// A conversation on the terminal until end of input. `request` has the sampling; `system` and `variables` (of the chat
// template, JSON) may be NULL.
int nb_run_chat(nibble *model, const nibble_request *request, const char *system, const char *variables, nb_error *err);

// nibble_generate that Ctrl-C cancels, with the library's error as ours.
int nb_run_generate(nibble *model, const nibble_request *request, nibble_result *result, nb_error *err);

#endif
