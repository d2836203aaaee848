// Linear probing over XXH3 of the name.
#include "checkpoint/tensor_table.h"

#include <stdlib.h>

#include <xxhash.h>

void nb_tensor_table_open(nb_tensor_table *table, int64_t n_tensor)
{
    table->n_slot = 16;
    while (table->n_slot < 2 * (uint64_t)n_tensor) table->n_slot *= 2;
    table->slot = nb_alloc(table->n_slot * sizeof *table->slot);
}

void nb_tensor_table_close(nb_tensor_table *table)
{
    free(table->slot);
    *table = (nb_tensor_table){0};
}

static const nb_tensor **slot_of(const nb_tensor_table *table, nb_str name)
{
    uint64_t i = XXH3_64bits(name.ptr, name.len) & (table->n_slot - 1);
    while (table->slot[i] && !nb_str_equal(table->slot[i]->name, name)) i = (i + 1) & (table->n_slot - 1);
    return &table->slot[i];
}

const nb_tensor *nb_tensor_table_add(nb_tensor_table *table, const nb_tensor *tensor)
{
    const nb_tensor **slot = slot_of(table, tensor->name);
    if (*slot) return *slot;
    *slot = tensor;
    return NULL;
}

const nb_tensor *nb_tensor_table_find(const nb_tensor_table *table, nb_str name)
{
    return table->n_slot ? *slot_of(table, name) : NULL;
}
