// What most commands begin with: a checkpoint, its model, a device that holds it, and its tokenizer.
#ifndef NB_SESSION_H
#define NB_SESSION_H

#include "cli/command.h"
#include "model/device.h"
#include "text/chat.h"
#include "text/tokenizer.h"

typedef struct nb_session_options {
    const char *device;      // auto|cpu|cuda
    const char *kernels;     // auto|scalar|avx2|avx512
    const char *activations; // f32|bf16
    const char *kv;          // auto|bf16|fp8|f32
    const char *load_format; // dummy: random weights of config.json's shape; else the files are mapped
    const char *tokenizer;   // folder of the tokenizer; NULL: the checkpoint's
    int64_t n_layer;         // of a dummy model: 0 keeps all
    int64_t n_thread;
    double gpu_memory_utilization;
} nb_session_options;

#define NB_SESSION_DEFAULTS                                                                             \
    {                                                                                                   \
        .device = "auto", .kernels = "auto", .activations = "f32", .kv = "auto", .load_format = "auto", \
        .gpu_memory_utilization = 0.9                                                                   \
    }

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

typedef struct nb_session {
    const char *folder;
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_device *device;
    nb_tokenizer *tokenizer;
    nb_kv_format kv;
} nb_session;

int nb_session_open(const char *name, const nb_session_options *options, nb_session *out, nb_error *err);
int nb_session_open_model(const char *name, const nb_session_options *options, nb_session *out,
                          nb_error *err);   // no text
void nb_session_close(nb_session *session); // any state

// Text of a file ("-": standard input), limited, as token ids.
int nb_session_ids(const nb_session *session, const char *path, nb_ids *out, nb_error *err);

#endif
