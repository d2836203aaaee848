// Between a choice, the engine and src/constrain: what a request asks for becomes a program when it arrives, and each
// of its choices has a guide that the engine asks for masks.
#ifndef NB_API_CONSTRAIN_H
#define NB_API_CONSTRAIN_H

#include "constrain/constrain.h"
#include "serve/api_job.h"

// The program of a request, or NULL when it asks for nothing.
int nb_api_constrain_compile(const nb_api *api, const nb_generation *generation, nb_program **out,
                             nb_request_error *error);

// A constraint of the choice's own. `stop` are the tokens that may end its output.
int nb_api_constrain_open(const nb_choice *choice, nb_program *program, const int32_t *stop, int n_stop,
                          nb_choice_constraint **out, nb_request_error *error);
// Why the output could not go on; NULL: it could.
const char *nb_api_constrain_failure(const nb_choice_constraint *constraint);
void nb_api_constrain_close(nb_choice_constraint *constraint);                        // NULL is fine
const nb_constraint *nb_api_constrain_engine(const nb_choice_constraint *constraint); // NULL of NULL

#endif
