// Byte-level BPE tokenizers from tokenizer.json (Hugging Face "tokenizers" format) with tokenizer_config.json's
// added_tokens_decoder merged in. Immutable after opening; may be used by any number of threads at once.
//
// Text -> added tokens cut out -> NFC where the file asks for it -> pieces by the file's own expression -> bytes in the
// GPT-2 alphabet -> merges by rank -> ids.
#ifndef NB_TOKENIZER_H
#define NB_TOKENIZER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

typedef struct nb_tokenizer nb_tokenizer;

// From a folder with tokenizer.json (and tokenizer_config.json), or from a tokenizer.json itself.
int nb_tokenizer_open(const char *path, nb_tokenizer **out, nb_error *err);
// From text; `tokenizer_config_json` may be empty. For tests and fuzzing.
int nb_tokenizer_parse(nb_str tokenizer_json, nb_str tokenizer_config_json, nb_tokenizer **out, nb_error *err);
void nb_tokenizer_close(nb_tokenizer *tokenizer);

int nb_tokenizer_vocab_size(const nb_tokenizer *tokenizer); // largest id + 1
// Bytes of a token as decoding gives them (an added token: its text as written); empty for ids that have none.
nb_str nb_tokenizer_token(const nb_tokenizer *tokenizer, int32_t id);
bool nb_tokenizer_is_special(const nb_tokenizer *tokenizer, int32_t id); // "special": true; skipped in decoded text
bool nb_tokenizer_is_added(const nb_tokenizer *tokenizer, int32_t id);   // a fixed text, special or not
int32_t nb_tokenizer_find(const nb_tokenizer *tokenizer, nb_str token);  // an added or plain token by its text, or -1

typedef struct nb_ids {
    int32_t *id;
    int64_t n;
    int64_t cap;
} nb_ids;
void nb_ids_add(nb_ids *ids, int32_t id);
void nb_ids_drop(nb_ids *ids);

// Appends the ids of `text`, and none besides: what a post_processor would add (a BOS) is the chat template's to write.
// parse_added: the text of added tokens becomes those tokens (templates, prompts); otherwise
// it is treated as plain text (what a user typed inside a message is still parsed, as every engine does: the chat
// template cannot tell them apart). Invalid UTF-8 is replaced by U+FFFD first, as Python's decode(errors="replace").
int nb_tokenizer_encode(const nb_tokenizer *tokenizer, nb_str text, bool parse_added, nb_ids *out, nb_error *err);

// Appends the text of ids. skip_special leaves special tokens out.
void nb_tokenizer_decode(const nb_tokenizer *tokenizer, const int32_t *id, int64_t n, bool skip_special, nb_buf *out);

// Streaming: tokens in, text out, never half a UTF-8 sequence. What can still become a character is held back;
// `nb_token_stream_end` gives what is left (U+FFFD for a sequence that never completed).
typedef struct nb_token_stream {
    const nb_tokenizer *tokenizer;
    bool skip_special;
    char held[4]; // bytes of a sequence that is not complete yet
    int n_held;
} nb_token_stream;
void nb_token_stream_open(nb_token_stream *stream, const nb_tokenizer *tokenizer, bool skip_special);
void nb_token_stream_add(nb_token_stream *stream, int32_t id, nb_buf *out);
void nb_token_stream_end(nb_token_stream *stream, nb_buf *out);

#endif
