// The vocabulary and the merges make up nearly all of a tokenizer.json: half a million strings, which a general JSON
// parser turns into as many objects. They are cut out of the file unread, the small rest goes to nb_json_parse, and the
// two are read one string after the other with a cursor. Used while a tokenizer is loaded.
#ifndef NB_TOKENIZER_JSON_H
#define NB_TOKENIZER_JSON_H

#include "base/error.h"
#include "base/str.h"

typedef struct nb_tokenizer_json {
    nb_buf rest;   // the text with null for each of the two values
    nb_str vocab;  // the text of model.vocab, as it is in the file; empty if it is not there
    nb_str merges; // of model.merges
} nb_tokenizer_json;

// Never fails: a text that is not well formed is left whole, and nb_json_parse says what is wrong with it.
void nb_tokenizer_json_split(nb_str text, nb_tokenizer_json *out);

typedef struct nb_json_cursor {
    nb_str text;
    size_t at;
} nb_json_cursor;

// Each skips white space first, and gives false without moving further when something else is there.
bool nb_json_cursor_take(nb_json_cursor *cursor, char c);
bool nb_json_cursor_int(nb_json_cursor *cursor, int64_t *out); // of at most 18 digits
// A string without its quotes. One with escapes is decoded into `work` (cleared first); others stay where they are.
bool nb_json_cursor_str(nb_json_cursor *cursor, nb_buf *work, nb_str *out);
bool nb_json_cursor_is_done(nb_json_cursor *cursor);

// "at byte N of model.merges": NB_ERR_INPUT.
int nb_json_cursor_fail(const nb_json_cursor *cursor, const char *what, nb_error *err);

#endif
