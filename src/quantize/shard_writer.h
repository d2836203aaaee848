// Writes a checkpoint folder so that it is either whole or not there: everything goes into "<folder>.partial", which is
// renamed at the very end. Tensors are declared first (their sizes fix the headers and the split into shards), then
// their bytes come in the same order.
#ifndef NB_SHARD_WRITER_H
#define NB_SHARD_WRITER_H

#include "base/arena.h"
#include "checkpoint/safetensors.h"

typedef struct nb_shard_writer nb_shard_writer;

// `folder` must not exist; a "<folder>.partial" left by an earlier run is emptied.
int nb_shard_writer_open(const char *folder, int64_t shard_bytes, nb_shard_writer **out, nb_error *err);

// Declares a tensor. A tensor larger than shard_bytes gets a shard of its own.
void nb_shard_writer_declare(nb_shard_writer *w, const char *name, nb_dtype dtype, int n_dim, const int64_t *dim);

// After the last declaration: the bytes of the next declared tensor, whole.
int nb_shard_writer_add(nb_shard_writer *w, const void *bytes, size_t n_byte, nb_error *err);

// Any other file of the folder (config.json, tokenizer.json).
int nb_shard_writer_file(nb_shard_writer *w, const char *name, nb_str content, nb_error *err);

int64_t nb_shard_writer_total(const nb_shard_writer *w); // bytes of all declared tensors

// Writes the index, syncs and renames. Fails if a declared tensor was not added.
int nb_shard_writer_finish(nb_shard_writer *w, nb_error *err);

// Closes; without a successful finish the partial folder is removed.
void nb_shard_writer_close(nb_shard_writer *w);

#endif
