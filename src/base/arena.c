// Arenas as a chain of blocks, newest first. A request larger than a block gets a block of its own. Under
// AddressSanitizer nothing is poisoned: use after reset is found by the owner's tests, not here.
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK_BYTES = 64 * 1024, ALIGN = 16 };

typedef struct block {
    struct block *older;
    size_t cap, used;
    _Alignas(ALIGN) uint8_t bytes[];
} block;

struct nb_arena {
    block *newest;
    size_t block_bytes;
};

static _Noreturn void die(size_t n_byte)
{
    fprintf(stderr, "nibble: out of memory: %zu bytes could not be allocated\n", n_byte);
    abort();
}

void *nb_alloc(size_t n_byte)
{
    void *ptr = calloc(1, n_byte ? n_byte : 1);
    if (!ptr) die(n_byte);
    return ptr;
}

void *nb_realloc(void *ptr, size_t n_byte)
{
    void *moved = realloc(ptr, n_byte ? n_byte : 1);
    if (!moved) die(n_byte);
    return moved;
}

// Straight from the system: zeroed without touching a page, and given back to it at once when freed.
void *nb_alloc_large(size_t n_byte)
{
    void *ptr = mmap(NULL, n_byte ? n_byte : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ptr == MAP_FAILED) return NULL;
    // Fewer page faults and TLB misses for weights and KV pages; a kernel without huge pages refuses, which is fine.
    (void)madvise(ptr, n_byte, MADV_HUGEPAGE);
    return ptr;
}

void nb_free_large(void *ptr, size_t n_byte)
{
    if (ptr) munmap(ptr, n_byte ? n_byte : 1);
}

static block *block_open(size_t cap, block *older)
{
    if (cap > SIZE_MAX - sizeof(block)) die(cap);
    block *b = malloc(sizeof(block) + cap);
    if (!b) die(cap);
    *b = (block){.older = older, .cap = cap};
    return b;
}

nb_arena *nb_arena_open(size_t block_bytes)
{
    nb_arena *arena = nb_alloc(sizeof *arena);
    arena->block_bytes = block_bytes ? block_bytes : BLOCK_BYTES;
    arena->newest = block_open(arena->block_bytes, NULL);
    return arena;
}

void nb_arena_reset(nb_arena *arena)
{
    while (arena->newest->older) {
        block *older = arena->newest->older;
        free(arena->newest);
        arena->newest = older;
    }
    arena->newest->used = 0;
}

void nb_arena_close(nb_arena *arena)
{
    if (!arena) return;
    nb_arena_reset(arena);
    free(arena->newest);
    free(arena);
}

void *nb_arena_alloc(nb_arena *arena, size_t n_byte)
{
    if (n_byte > SIZE_MAX - ALIGN) die(n_byte);
    size_t need = (n_byte + ALIGN - 1) / ALIGN * ALIGN;
    if (need > arena->newest->cap - arena->newest->used) {
        arena->newest = block_open(need > arena->block_bytes ? need : arena->block_bytes, arena->newest);
    }
    void *ptr = arena->newest->bytes + arena->newest->used;
    arena->newest->used += need;
    return memset(ptr, 0, n_byte);
}

void *nb_arena_copy(nb_arena *arena, const void *src, size_t n)
{
    if (n == SIZE_MAX) die(n);
    char *copy = nb_arena_alloc(arena, n + 1);
    if (n) memcpy(copy, src, n);
    return copy;
}

nb_str nb_arena_str(nb_arena *arena, nb_str s)
{
    return (nb_str){nb_arena_copy(arena, s.ptr, s.len), s.len};
}

char *nb_arena_printf(nb_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = nb_arena_alloc(arena, n < 0 ? 1 : (size_t)n + 1);
    if (n > 0) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}
