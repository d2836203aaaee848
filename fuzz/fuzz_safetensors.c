// The safetensors parser on arbitrary bytes: no crash, and what it accepts lies inside the file.
#include <stdlib.h>

#include "checkpoint/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    nb_arena *arena = nb_arena_open(0);
    nb_safetensors file;
    nb_error err = {0};
    if (!nb_safetensors_parse(data, n_byte, 0, arena, &file, &err)) {
        for (int64_t i = 0; i < file.n_tensor; i++) {
            const nb_tensor *t = &file.tensor[i];
            if (t->data < data || t->n_byte > (size_t)(data + n_byte - t->data)) abort();
        }
    } else if (!err.text[0]) {
        abort();
    }
    nb_arena_close(arena);
    return 0;
}
