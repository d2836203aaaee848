// API keys: who may use the server. Immutable after opening.
#ifndef NB_AUTH_H
#define NB_AUTH_H

#include "base/arena.h"
#include "base/error.h"

typedef struct nb_auth nb_auth;

// Keys given by value, and those of a file: one a line, blank lines and lines that begin with # left out. `file` may be
// NULL. Without any key at all *out is NULL, which lets everybody in.
int nb_auth_open(const char *const *key, int n_key, const char *file, nb_auth **out, nb_error *err);
void nb_auth_close(nb_auth *auth);

// Is it one of the keys? The time taken does not depend on how much of a key was right. A NULL auth admits everything.
bool nb_auth_admits(const nb_auth *auth, nb_str key);
// The key of an Authorization header, "Bearer KEY"; empty if it has another form.
nb_str nb_auth_bearer(nb_str authorization);

#endif
