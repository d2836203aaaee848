// From ids back to text, all at once or token by token: the same code, so both give the same text.
#include "text/tokenizer_internal.h"

#include <string.h>

void nb_token_stream_open(nb_token_stream *stream, const nb_tokenizer *tokenizer, bool skip_special)
{
    *stream = (nb_token_stream){.tokenizer = tokenizer, .skip_special = skip_special};
}

// Appends `text` with every invalid part replaced by U+FFFD.
static void add_valid(nb_str text, nb_buf *out)
{
    if (nb_utf8_valid(text)) {
        nb_buf_add_str(out, text);
        return;
    }
    for (size_t at = 0; at < text.len;) {
        char bytes[4];
        nb_buf_add(out, bytes, (size_t)nb_utf8_encode(nb_utf8_decode(text, &at), bytes));
    }
}

// The bytes of the sequence that was held back, completed by as many of `bytes` as it takes; the rest is left in
// *bytes. False if there were not enough: then all of them are held back too.
static bool complete_held(nb_token_stream *s, nb_str *bytes, nb_buf *out)
{
    while (s->n_held > 0 && bytes->len > 0) {
        s->held[s->n_held++] = *bytes->ptr;
        nb_str held = {s->held, (size_t)s->n_held};
        size_t n_complete = nb_utf8_complete(held);
        if (n_complete == 0) {
            *bytes = nb_str_slice(*bytes, 1, bytes->len);
            continue;
        }
        // Either the character is whole, or the new byte cannot continue it and is looked at again by itself.
        size_t at = 0;
        nb_utf8_decode(held, &at);
        add_valid(nb_str_slice(held, 0, at), out);
        if (at == held.len) *bytes = nb_str_slice(*bytes, 1, bytes->len);
        s->n_held = 0;
    }
    return s->n_held == 0;
}

void nb_token_stream_add(nb_token_stream *s, int32_t id, nb_buf *out)
{
    if (s->skip_special && nb_tokenizer_is_special(s->tokenizer, id)) return;
    nb_str bytes = nb_tokenizer_token(s->tokenizer, id);
    if (!complete_held(s, &bytes, out)) return;
    size_t n = nb_utf8_complete(bytes);
    add_valid(nb_str_slice(bytes, 0, n), out);
    s->n_held = (int)(bytes.len - n);
    if (s->n_held > 0) memcpy(s->held, bytes.ptr + n, (size_t)s->n_held);
}

void nb_token_stream_end(nb_token_stream *s, nb_buf *out)
{
    add_valid((nb_str){s->held, (size_t)s->n_held}, out);
    s->n_held = 0;
}

void nb_tokenizer_decode(const nb_tokenizer *tokenizer, const int32_t *id, int64_t n, bool skip_special, nb_buf *out)
{
    nb_token_stream stream;
    nb_token_stream_open(&stream, tokenizer, skip_special);
    for (int64_t i = 0; i < n; i++) nb_token_stream_add(&stream, id[i], out);
    nb_token_stream_end(&stream, out);
}
