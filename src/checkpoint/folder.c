// Sorted, because the order of readdir differs from machine to machine and shard numbers appear in messages.
#include "checkpoint/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool wanted(const char *name, const char *suffix)
{
    return name[0] != '.' && nb_str_ends(nb_str_from(name), nb_str_from(suffix));
}

int nb_folder_list(const char *path, const char *suffix, nb_arena *arena, const char ***name, int *n, nb_error *err)
{
    DIR *dir = opendir(path);
    if (!dir) return nb_error_set(err, NB_ERR_IO, "%s: %s", path, strerror(errno));
    const char **found = nb_alloc(NB_FOLDER_ENTRY_MAX * sizeof *found);
    *n = 0;
    for (struct dirent *e = readdir(dir); e && *n < NB_FOLDER_ENTRY_MAX; e = readdir(dir))
        if (wanted(e->d_name, suffix)) found[(*n)++] = nb_arena_printf(arena, "%s", e->d_name);
    closedir(dir);
    qsort(found, (size_t)*n, sizeof *found, compare_names);
    *name = nb_arena_copy(arena, found, (size_t)*n * sizeof *found);
    free(found);
    return NB_OK;
}
