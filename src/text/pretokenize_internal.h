// Shared by the files pretokenize*.c.
#ifndef NB_PRETOKENIZE_INTERNAL_H
#define NB_PRETOKENIZE_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/pretokenize.h"

// What becomes of the text between two matches and of the matches themselves.
typedef enum nb_split_behavior {
    NB_SPLIT_ISOLATED,             // each is a piece
    NB_SPLIT_REMOVED,              // matches are dropped
    NB_SPLIT_MERGED_WITH_PREVIOUS, // a match belongs to the text before it
    NB_SPLIT_MERGED_WITH_NEXT,     // ... after it
    NB_SPLIT_CONTIGUOUS,           // matches that touch are one piece
} nb_split_behavior;

typedef struct nb_split_step {
    pcre2_code *code;
    nb_split_behavior behavior;
    bool invert; // what does not match counts as match
} nb_split_step;

struct nb_pretokenizer {
    nb_split_step step[NB_PRETOKENIZE_STEPS_MAX];
    int n_step;
    bool byte_level;              // seen; nothing may follow it
    pcre2_match_context *context; // the limits
};

// Rewrites an expression of the Oniguruma dialect (what tokenizer files are written in) so that PCRE2 under UTF and UCP
// matches the same. What cannot be said is refused.
int nb_pretokenize_translate(nb_str pattern, nb_buf *out, nb_error *err);

#endif
