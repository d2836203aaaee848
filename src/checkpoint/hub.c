// Finds ORG/NAME in the local Hugging Face cache: <cache>/models--ORG--NAME/{refs/main, snapshots/<commit>/}. The
// layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Nothing is downloaded.
#include <string.h>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"

enum { NB_REF_MAX = 256 }; // bytes of refs/main: a commit hash

static const char *cache_folder(const nb_hub_roots *roots, nb_arena *arena)
{
    if (roots->hf_hub_cache) return roots->hf_hub_cache;
    if (roots->hf_home) return nb_path_join(arena, roots->hf_home, "hub");
    if (roots->home) return nb_path_join(arena, roots->home, ".cache/huggingface/hub");
    return NULL;
}

// ORG/NAME: one slash, neither side empty, no component that could leave the cache.
static bool is_hub_name(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash && slash > name && slash[1] && !strchr(slash + 1, '/') && name[0] != '.' && name[0] != '~' &&
           slash[1] != '.';
}

// The snapshot that refs/main names, or NULL.
static const char *main_snapshot(const char *repo, const char *snapshots, nb_arena *arena)
{
    nb_str ref;
    nb_error ignored; // no refs/main: the only snapshot will do
    if (nb_file_read(nb_path_join(arena, repo, "refs/main"), NB_REF_MAX, arena, &ref, &ignored)) return NULL;
    const char *commit = nb_arena_printf(arena, "%.*s", (int)strcspn(ref.ptr, "\r\n \t"), ref.ptr);
    if (!*commit || commit[0] == '.' || strchr(commit, '/')) return NULL;
    const char *path = nb_path_join(arena, snapshots, commit);
    return nb_file_is_dir(path) ? path : NULL;
}

static int find_snapshot(const char *name, const char *repo, nb_arena *arena, const char **folder, nb_error *err)
{
    const char *snapshots = nb_path_join(arena, repo, "snapshots");
    *folder = main_snapshot(repo, snapshots, arena);
    if (*folder) return NB_OK;
    const char **entry;
    int n;
    NB_TRY(nb_folder_list(snapshots, "", arena, &entry, &n, err));
    if (n != 1)
        return nb_error_set(err, NB_ERR_INPUT,
                            "%s: %d snapshots in %s and no refs/main that names one; give the path of a snapshot", name,
                            n, snapshots);
    *folder = nb_path_join(arena, snapshots, entry[0]);
    return NB_OK;
}

static const char *repo_folder(const char *cache, const char *name, nb_arena *arena)
{
    int n_org = (int)(strchr(name, '/') - name);
    return nb_path_join(arena, cache, nb_arena_printf(arena, "models--%.*s--%s", n_org, name, name + n_org + 1));
}

int nb_hub_resolve(const char *name, const nb_hub_roots *roots, nb_arena *arena, const char **folder, nb_error *err)
{
    *folder = name;
    if (nb_file_exists(name)) return NB_OK;
    const char *cache = cache_folder(roots, arena);
    if (!is_hub_name(name) || !cache) return nb_error_set(err, NB_ERR_IO, "%s: no such folder", name);
    const char *repo = repo_folder(cache, name, arena);
    if (nb_file_is_dir(repo)) return find_snapshot(name, repo, arena, folder, err);
    return nb_error_set(
        err, NB_ERR_IO,
        "%s: neither a folder nor in the Hugging Face cache %s; download it with \"huggingface-cli download %s\"", name,
        cache, name);
}
