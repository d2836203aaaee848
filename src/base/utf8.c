// UTF-8 of str.h. One table-free definition of which byte may follow which (Unicode 15, table 3-7) serves decoding,
// validation and the split of streams, so the three can never disagree.
#include "base/str.h"

enum { REPLACEMENT = 0xFFFD };

// Length of the sequence that `lead` begins, 0 if none may begin with it; the range of its second byte.
static int sequence(uint8_t lead, uint8_t *least, uint8_t *most)
{
    *least = 0x80;
    *most = 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    if (lead == 0xE0) *least = 0xA0; // shorter forms exist
    if (lead == 0xED) *most = 0x9F;  // surrogates
    if (lead == 0xF0) *least = 0x90;
    if (lead == 0xF4) *most = 0x8F; // above U+10FFFF
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// How many bytes at `p` belong together: all of a valid sequence, or the longest part that could begin one. At least 1.
static size_t span(const uint8_t *p, size_t n, size_t *whole)
{
    uint8_t least, most;
    *whole = (size_t)sequence(p[0], &least, &most);
    size_t i = 1;
    while (i < *whole && i < n && p[i] >= least && p[i] <= most) {
        least = 0x80;
        most = 0xBF;
        i++;
    }
    return i;
}

uint32_t nb_utf8_decode(nb_str s, size_t *at)
{
    if (*at >= s.len) return REPLACEMENT;
    const uint8_t *p = (const uint8_t *)s.ptr + *at;
    size_t whole, n = span(p, s.len - *at, &whole);
    *at += n;
    if (n != whole) return REPLACEMENT;
    if (n == 1) return p[0];
    uint32_t code_point = p[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) code_point = code_point << 6 | (p[i] & 0x3Fu);
    return code_point;
}

int nb_utf8_encode(uint32_t code_point, char out[4])
{
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) code_point = REPLACEMENT;
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    int n = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, code_point >>= 6) out[i] = (char)(0x80 | (code_point & 0x3F));
    out[0] = (char)(0xF00u >> n | code_point);
    return n;
}

size_t nb_utf8_complete(nb_str s)
{
    // A sequence that is still open began in the last three bytes.
    for (size_t back = 1; back <= 3 && back <= s.len; back++) {
        const uint8_t *p = (const uint8_t *)s.ptr + s.len - back;
        if ((*p & 0xC0) == 0x80) continue;
        size_t whole, n = span(p, back, &whole);
        return n == back && n < whole ? s.len - back : s.len;
    }
    return s.len;
}

bool nb_utf8_valid(nb_str s)
{
    for (size_t at = 0; at < s.len;) {
        size_t whole, n = span((const uint8_t *)s.ptr + at, s.len - at, &whole);
        if (n != whole) return false;
        at += n;
    }
    return true;
}
