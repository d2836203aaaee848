// Files: mapping, reading with a limit, and replacing so that a crash never leaves half a file under the final name.
#ifndef NB_FILE_H
#define NB_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

typedef struct nb_map {
    const uint8_t *ptr; // read-only; NULL for an empty file
    size_t n_byte;
} nb_map;

int nb_map_open(const char *path, nb_map *out, nb_error *err);
void nb_map_close(nb_map *map);

// Reads a whole file of at most `limit` bytes into `arena`, with a NUL behind it.
int nb_file_read(const char *path, size_t limit, nb_arena *arena, nb_str *out, nb_error *err);

// Writes to a temporary name beside `path`, syncs, renames.
int nb_file_replace(const char *path, nb_str content, nb_error *err);

bool nb_file_exists(const char *path);
bool nb_file_is_dir(const char *path);
char *nb_path_join(nb_arena *arena, const char *folder, const char *name);

#endif
