// Checkpoints named on the command line. The only place that reads where the Hugging Face cache is.
#include <stdlib.h>

#include "checkpoint/checkpoint.h"
#include "cli/command.h"

int nb_command_checkpoint(const char *name, const char **folder, nb_error *err)
{
    nb_hub_roots roots = {
        .hf_home = getenv("HF_HOME"),
        .hf_hub_cache = getenv("HF_HUB_CACHE"),
        .home = getenv("HOME"),
    };
    // The folder's name lives as long as the program, so its arena does too.
    static nb_arena *arena;
    if (!arena) arena = nb_arena_open(0);
    return nb_hub_resolve(name, &roots, arena, folder, err);
}
