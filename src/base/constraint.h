// What holds a sequence to a form: the seam between those that know forms (constrain/guide.h) and the engine, which
// asks token by token. It is used by one thread at a time.
#ifndef NB_CONSTRAINT_H
#define NB_CONSTRAINT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum nb_verdict {
    NB_VERDICT_GO_ON,
    NB_VERDICT_COMPLETE, // nothing may follow
    NB_VERDICT_FAILED,   // no token may follow, though the output is not complete
} nb_verdict;

typedef struct nb_constraint {
    void *user;
    // The tokens of the output one by one, each once. message: why it failed; it lives as long as `user`.
    nb_verdict (*accept)(void *user, int32_t tok, const char **message);
    // Tokens allowed next: fills ceil(vocab / 32) words, all ones before the call. False: anything may follow.
    bool (*mask)(void *user, uint32_t *mask);
} nb_constraint;

#endif
