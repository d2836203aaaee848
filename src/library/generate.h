// One request through the engine from an ordinary thread: blocks until it is finished and hands the text over as it
// comes.
#ifndef NB_GENERATE_H
#define NB_GENERATE_H

#include "engine/engine.h"
#include "library/session.h"

// A piece of text. Also called with an empty one several times a second while nothing comes. False cancels the request,
// after which no more text is given.
typedef bool (*nb_generate_text)(void *user, nb_str text);

typedef struct nb_generated {
    nb_finish finish;
    int32_t n_prompt, n_cached, n_output;
    int64_t prefill_us, decode_us; // until the first token, and from there to the last
    uint64_t logits_hash;          // XXH64 of the last row of raw logits, if the request wanted them
} nb_generated;

// Engine over a session, for `n_seq` sequences of at most `context` tokens.
int nb_generate_open(const nb_session *session, int64_t context, int n_seq, nb_engine **out, nb_error *err);

// `request` without callbacks, which are set here. Special tokens are left out of the text unless keep_special.
int nb_generate(nb_engine *engine, const nb_session *session, const nb_request *request, bool keep_special,
                nb_generate_text on_text, void *user, nb_generated *out, nb_error *err);

#endif
