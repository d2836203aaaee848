// Text as (pointer, length): slices that own nothing, and one growable buffer. No function here needs a final NUL, but
// nb_buf keeps one behind its bytes so that they can be handed to C functions.
#ifndef NB_STR_H
#define NB_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nb_str {
    const char *ptr;
    size_t len;
} nb_str;

#define NB_STR(literal) ((nb_str){(literal), sizeof(literal) - 1})

nb_str nb_str_from(const char *c_string); // NULL gives an empty slice
bool nb_str_equal(nb_str a, nb_str b);
bool nb_str_equal_c(nb_str a, const char *b);
bool nb_str_starts(nb_str s, nb_str prefix);
bool nb_str_ends(nb_str s, nb_str suffix);
int64_t nb_str_find(nb_str s, nb_str needle, size_t from); // offset, or -1
nb_str nb_str_slice(nb_str s, size_t from, size_t to);     // clamped to s

// Growable bytes. Zero-initialise; nb_buf_drop frees. Out of memory aborts: see arena.h.
typedef struct nb_buf {
    char *ptr; // NUL behind len bytes once anything was added
    size_t len;
    size_t cap;
} nb_buf;

void nb_buf_reserve(nb_buf *b, size_t n_more);
void nb_buf_add(nb_buf *b, const void *bytes, size_t n);
void nb_buf_add_str(nb_buf *b, nb_str s);
void nb_buf_add_c(nb_buf *b, const char *c_string);
void nb_buf_add_char(nb_buf *b, char c);
void nb_buf_printf(nb_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
nb_str nb_buf_str(const nb_buf *b);
void nb_buf_clear(nb_buf *b); // keeps the memory
void nb_buf_drop(nb_buf *b);

// UTF-8. `nb_utf8_decode` reads one code point at s[*at] and moves *at on; an invalid sequence gives U+FFFD and moves
// by the maximal invalid part, as browsers do. `nb_utf8_complete` is the length of the longest prefix of s that does
// not end inside a sequence that more bytes could complete.
uint32_t nb_utf8_decode(nb_str s, size_t *at);
int nb_utf8_encode(uint32_t code_point, char out[4]); // bytes written
size_t nb_utf8_complete(nb_str s);
bool nb_utf8_valid(nb_str s);

#endif
