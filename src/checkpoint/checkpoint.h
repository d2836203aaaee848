// A checkpoint: a folder with config.json and mapped safetensors files. Nothing is copied; a tensor's data points into
// a map that lives until nb_checkpoint_close. Look-up by name is one hash probe, whatever the number of tensors.
#ifndef NB_CHECKPOINT_H
#define NB_CHECKPOINT_H

#include "base/json.h"
#include "checkpoint/config.h"
#include "checkpoint/safetensors.h"

typedef struct nb_checkpoint nb_checkpoint;

// Opens the folder (or one .safetensors file's folder). With model.safetensors.index.json its shards are opened, and
// every name of the index must be in the shard it states; without it, all *.safetensors of the folder are.
int nb_checkpoint_open(const char *folder, nb_checkpoint **out, nb_error *err);

// Whether the folder holds weights (an index or *.safetensors), so that nb_checkpoint_open is the right call.
bool nb_checkpoint_has_weights(const char *folder);

// Opens config.json alone (plan, synth): no tensors.
int nb_checkpoint_open_config(const char *folder, nb_checkpoint **out, nb_error *err);

void nb_checkpoint_close(nb_checkpoint *ckpt);

const nb_config *nb_checkpoint_config(const nb_checkpoint *ckpt);
const char *nb_checkpoint_folder(const nb_checkpoint *ckpt);
int64_t nb_checkpoint_count(const nb_checkpoint *ckpt);
const nb_tensor *nb_checkpoint_at(const nb_checkpoint *ckpt, int64_t i);     // one array, 0 <= i < count
const nb_tensor *nb_checkpoint_find(const nb_checkpoint *ckpt, nb_str name); // NULL when there is none
const char *nb_checkpoint_shard_name(const nb_checkpoint *ckpt, int shard);  // file name, for messages
int nb_checkpoint_shard_count(const nb_checkpoint *ckpt);

// Where a checkpoint named by the user is: a path, or ORG/NAME in the local Hugging Face cache (the newest snapshot
// that refs/main names, else the only one). `roots` comes from the environment, read by cli.
typedef struct nb_hub_roots {
    const char *hf_home;      // HF_HOME, or NULL
    const char *hf_hub_cache; // HF_HUB_CACHE, or NULL
    const char *home;         // HOME, for ~/.cache/huggingface
} nb_hub_roots;
int nb_hub_resolve(const char *name, const nb_hub_roots *roots, nb_arena *arena, const char **folder, nb_error *err);

#endif
