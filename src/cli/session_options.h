// How commands open a session: their options, and checkpoints by name.
#ifndef NB_SESSION_OPTIONS_H
#define NB_SESSION_OPTIONS_H

#include "cli/command.h"
#include "library/session.h"

// Rows for a command's option table; `s` is an nb_session_options variable.
#define NB_SESSION_OPTION_ROWS(s)                                                                                      \
    {"device", 0, NB_OPTION_STRING, &(s).device, "auto|cpu|cuda", "where to run; auto takes a GPU if there is one"},   \
        {"threads", 't', NB_OPTION_INT, &(s).n_thread, "N", "CPU threads; 0 takes all cores"},                         \
        {"kernels", 0, NB_OPTION_STRING, &(s).kernels, "auto|scalar|avx2|avx512", "CPU kernels"},                      \
        {"activations", 0, NB_OPTION_STRING, &(s).activations, "f32|bf16", "precision of every linear's input (CPU)"}, \
        {"kv-cache-dtype",                                                                                             \
         0,                                                                                                            \
         NB_OPTION_STRING,                                                                                             \
         &(s).kv,                                                                                                      \
         "auto|bf16|fp8|fp8_e4m3|f32",                                                                                 \
         "KV cache; auto follows the checkpoint"},                                                                     \
    {                                                                                                                  \
        "gpu-memory-utilization", 0, NB_OPTION_DOUBLE, &(s).gpu_memory_utilization, "SHARE",                           \
            "share of the GPU's memory that may be used"                                                               \
    }

// Rows of the commands that can do without a checkpoint's own weights and tokenizer.
#define NB_SESSION_LOAD_ROWS(s)                                                                                  \
    {"load-format",    0,      NB_OPTION_STRING,                                                                 \
     &(s).load_format, "NAME", "dummy: random weights of config.json's shape; any other: the files are mapped"}, \
    {                                                                                                            \
        "tokenizer", 0, NB_OPTION_STRING, &(s).tokenizer, "CKPT", "whose tokenizer to use (default: its own)"    \
    }

// nb_session_open of ORG/NAME or a path; so for the tokenizer of the options.
int nb_command_open(const char *name, const nb_session_options *options, nb_session *out, nb_error *err);
int nb_command_open_model(const char *name, const nb_session_options *options, nb_session *out,
                          nb_error *err); // no text

// Text of a file ("-": standard input), limited, as token ids.
int nb_command_ids(const nb_session *session, const char *path, nb_ids *out, nb_error *err);

#endif
