// Shared by cmd_run.c and run_chat.c: the options of `nibble run` that both the single answer and the conversation
// need.
#ifndef NB_RUN_INTERNAL_H
#define NB_RUN_INTERNAL_H

#include "cli/generate.h"

typedef struct nb_run_options {
    const char *system;
    bool no_thinking;
    int64_t max_tokens; // 0: as many as fit
    nb_sampling sampling;
    bool ignore_eos;
} nb_run_options;

// A request for `prompt` with the checkpoint's end tokens.
nb_request nb_run_request(const nb_run_options *options, const nb_session *session, const nb_ids *prompt,
                          int64_t context);

// A conversation on the terminal until end of input.
int nb_run_chat(nb_engine *engine, const nb_session *session, const nb_run_options *options, int64_t context,
                nb_error *err);

// Set by Ctrl-C between nb_run_catch_interrupt(true) and (false).
extern volatile bool nb_run_interrupted;
void nb_run_catch_interrupt(bool on);

// The messages (and the system text) as prompt text through the checkpoint's chat template.
int nb_run_render(const nb_chat *chat, const nb_run_options *options, json_t *messages, nb_buf *out, nb_error *err);

#endif
