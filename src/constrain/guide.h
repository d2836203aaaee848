// One sequence under a program, as an engine asks: tokens in, masks out.
//
// While the model thinks nothing is constrained. Where the prompt does not open a think block and the model may begin
// one, <think> is allowed beside what the program allows. End tokens are allowed where the output is complete.
#ifndef NB_GUIDE_H
#define NB_GUIDE_H

#include "base/constraint.h"
#include "constrain/constrain.h"
#include "text/reasoning.h"

typedef struct nb_guide nb_guide;

typedef struct nb_guide_options {
    nb_constrainer *constrainer; // must outlive the guide
    const nb_tokenizer *tokenizer;
    nb_program *program; // counted: the caller keeps its own
    bool thinks;         // the output may have a think block
    nb_think think;      // where the prompt leaves it
    const int32_t *stop; // [n_stop] tokens that may end the output; copied
    int n_stop;
} nb_guide_options;

int nb_guide_open(const nb_guide_options *options, nb_guide **out, nb_error *err);
void nb_guide_close(nb_guide *guide); // NULL is fine

nb_constraint nb_guide_constraint(nb_guide *guide); // what the engine asks; it lives as long as the guide

const char *nb_guide_failure(const nb_guide *guide); // why the output could not go on; NULL: it could

#endif
