// Names in a folder. Internal to checkpoint/.
#ifndef NB_FOLDER_H
#define NB_FOLDER_H

#include "base/arena.h"
#include "base/error.h"

enum { NB_FOLDER_ENTRY_MAX = 65536 };

// The entries of `path` that end with `suffix` ("" = all) and do not start with a dot, sorted by name.
int nb_folder_list(const char *path, const char *suffix, nb_arena *arena, const char ***name, int *n, nb_error *err);

#endif
