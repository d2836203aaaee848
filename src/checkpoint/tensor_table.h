// Tensors by name: an open-addressing hash table of pointers, sized once, never more than half full. Used for
// duplicates inside a file and for the look-up of the whole checkpoint.
#ifndef NB_TENSOR_TABLE_H
#define NB_TENSOR_TABLE_H

#include "checkpoint/safetensors.h"

typedef struct nb_tensor_table {
    const nb_tensor **slot; // [n_slot], NULL where free
    uint64_t n_slot;        // a power of two
} nb_tensor_table;

void nb_tensor_table_open(nb_tensor_table *table, int64_t n_tensor); // room for n_tensor
void nb_tensor_table_close(nb_tensor_table *table);

// Adds `tensor` and returns NULL; or returns the tensor of that name which is already there.
const nb_tensor *nb_tensor_table_add(nb_tensor_table *table, const nb_tensor *tensor);
const nb_tensor *nb_tensor_table_find(const nb_tensor_table *table, nb_str name);

#endif
