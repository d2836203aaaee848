// What everything that runs a model begins with: a checkpoint, its model, a device that holds it, and its tokenizer.
// Used by the library (nibble.c) and by the commands.
#ifndef NB_SESSION_H
#define NB_SESSION_H

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
    bool portable;           // CUDA: only kernels that serve every card
    int64_t n_thread;
    bool mtp; // load the module that drafts tokens too
    double gpu_memory_utilization;
} nb_session_options;

#define NB_SESSION_DEFAULTS                                                                             \
    {                                                                                                   \
        .device = "auto", .kernels = "auto", .activations = "f32", .kv = "auto", .load_format = "auto", \
        .gpu_memory_utilization = 0.9                                                                   \
    }

typedef struct nb_session {
    const char *folder, *text_folder; // of the weights; of tokenizer and chat template
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_device *device;
    nb_tokenizer *tokenizer;
    nb_kv_format kv;
} nb_session;

// From a folder, which must live as long as the session.
int nb_session_open(const char *folder, const nb_session_options *options, nb_session *out, nb_error *err);
int nb_session_open_model(const char *folder, const nb_session_options *options, nb_session *out,
                          nb_error *err);   // no text
void nb_session_close(nb_session *session); // any state

// What generation_config.json says of sampling; neutral values where it says nothing.
void nb_session_sampling(const nb_session *session, nb_sampling *out);

#endif
