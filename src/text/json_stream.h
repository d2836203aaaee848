// Follows a JSON value byte by byte and passes on only text that can always be completed: at any time the text given so
// far plus that of nb_json_stream_close is valid JSON. A comma, a key or half a number waits until its value is
// certain.
#ifndef NB_JSON_STREAM_H
#define NB_JSON_STREAM_H

#include "base/json.h"

typedef enum nb_json_stream_state {
    NB_JS_VALUE,        // a value must come
    NB_JS_VALUE_OR_END, // behind [
    NB_JS_KEY,          // behind , in an object
    NB_JS_KEY_OR_END,   // behind {
    NB_JS_IN_KEY,
    NB_JS_COLON,
    NB_JS_IN_STRING,
    NB_JS_IN_WORD, // a number, true, false or null
    NB_JS_AFTER,   // behind a value inside an array or object
    NB_JS_DONE,
} nb_json_stream_state;

typedef struct nb_json_stream {
    nb_json_stream_state state;
    int depth;
    int escape;                    // characters of an escape that are still due; -1: the one behind the backslash
    char stack[NB_JSON_DEPTH_MAX]; // the brackets that will close
    nb_buf held;                   // not certain yet
    size_t word;                   // where in `held` the number or word begins
} nb_json_stream;

void nb_json_stream_open(nb_json_stream *s); // zeroes it; the memory of an earlier use is kept
void nb_json_stream_drop(nb_json_stream *s);

typedef enum nb_json_verdict {
    NB_JSON_MORE,    // the byte belongs to the value
    NB_JSON_LAST,    // it ends the value
    NB_JSON_BEHIND,  // the value had ended before it
    NB_JSON_INVALID, // it cannot come here
} nb_json_verdict;
nb_json_verdict nb_json_stream_feed(nb_json_stream *s, char c, nb_buf *out);

// Ends a value that is not complete: closes what is open. A value that has not begun becomes null.
void nb_json_stream_close(nb_json_stream *s, nb_buf *out);

#endif
