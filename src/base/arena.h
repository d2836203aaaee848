// Arenas: memory that is freed all at once. One lives as long as the process, one per request, one per step.
//
// Running out of host memory for small things is not survivable in a useful way, so nb_alloc and the arenas abort with
// a message. Large blocks (weights, KV pages) go through nb_alloc_large, which returns NULL so that the caller can say
// which size did not fit.
#ifndef NB_ARENA_H
#define NB_ARENA_H

#include <stddef.h>

#include "base/str.h"

typedef struct nb_arena nb_arena;

nb_arena *nb_arena_open(size_t block_bytes); // 0 = a default of 64 KiB
void nb_arena_close(nb_arena *arena);        // NULL is fine
void nb_arena_reset(nb_arena *arena);        // forgets everything, keeps the first block

void *nb_arena_alloc(nb_arena *arena, size_t n_byte);            // zeroed, aligned to 16
void *nb_arena_copy(nb_arena *arena, const void *src, size_t n); // with a NUL behind it
nb_str nb_arena_str(nb_arena *arena, nb_str s);                  // a copy, NUL behind it
char *nb_arena_printf(nb_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define NB_ARENA_ARRAY(arena, type, n) ((type *)nb_arena_alloc((arena), sizeof(type) * (size_t)(n)))

void *nb_alloc(size_t n_byte);              // zeroed; aborts when there is none
void *nb_realloc(void *ptr, size_t n_byte); // aborts when there is none
void *nb_alloc_large(size_t n_byte);        // zeroed, aligned to 64, NULL when there is none; free with nb_free_large
void nb_free_large(void *ptr, size_t n_byte);

#endif
