// --speculative-config as vLLM has it: a JSON object.
#ifndef NB_SPECULATION_H
#define NB_SPECULATION_H

#include "base/error.h"

typedef struct nb_speculation {
    int n_draft;       // tokens drafted in a step; 0: none
    char why_off[200]; // with 0: why what was asked for is not done
} nb_speculation;

// "num_speculative_tokens" (default 1) by a "method" that is or ends in "mtp": the checkpoint's own module. Other
// methods turn speculation off. Fields that say how to compute are accepted: the device decides that.
int nb_speculation_parse(const char *json, nb_speculation *out, nb_error *err);

#endif
