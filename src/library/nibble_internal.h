// Shared by the files behind include/nibble.h: an open model, and how structs of programs compiled with another version
// of the header are read.
#ifndef NB_NIBBLE_INTERNAL_H
#define NB_NIBBLE_INTERNAL_H

#include <nibble.h>
#include <pthread.h>
#include <stdatomic.h>

#include "constrain/guide.h"
#include "library/generate.h"
#include "text/chat.h"

struct nibble {
    char *folder, *tokenizer; // copies: a session borrows its folder
    nb_session session;
    nb_engine *engine;
    nb_chat *chat;                 // NULL: the checkpoint has no template
    nb_error no_chat;              // why not
    nb_constrainer *constrainer;   // NULL until the first request needs it
    pthread_mutex_t lock;          // of its opening
    atomic_uint_fast32_t n_cancel; // calls of nibble_cancel; a request that saw fewer is cancelled
};

// Copies a caller's struct over `known` (which holds the defaults and has n_known bytes). A field this library does not
// know must be zero.
int nb_nibble_read_struct(void *known, size_t n_known, const void *given, size_t n_given, const char *what,
                          nb_error *err);

// The constraint of a request, or a zero one where it has none. `prompt` may be followed by a think block if the output
// `thinks`.
typedef struct nb_nibble_constraint {
    nb_constraint engine;
    nb_guide *guide; // NULL: the output is free
    json_t *value;   // of the schema or the choice
} nb_nibble_constraint;
int nb_nibble_constrain(nibble *model, const nibble_request *request, bool thinks, const nb_ids *prompt,
                        nb_nibble_constraint *out, nb_error *err);
void nb_nibble_constrain_drop(nb_nibble_constraint *constraint);

// Puts the message where a caller wants it; returns the code.
int nb_nibble_fail(const nb_error *err, nibble_error *out);

// JSON texts of a conversation as the template's prompt, appended to `out`; tools and variables may be NULL.
int nb_nibble_render(const nibble *model, const char *messages, const char *tools, const char *variables, nb_buf *out,
                     nb_error *err);

#endif
