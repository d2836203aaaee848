/* libnibble: mixture-of-experts language models inside a program. Open a checkpoint, give prompts or conversations, get
 * text through a callback. It is the engine of the nibble server: requests of several threads run as one batch, and a
 * prompt that begins like an earlier one computes only what is new.
 *
 *     nibble *model;
 *     nibble_error error;
 *     nibble_request request;
 *     nibble_request_init(&request, sizeof request);
 *     request.prompt = "In the beginning";
 *     request.on_text = print;
 *     if (nibble_open("models/demo", NULL, &model, &error) || nibble_generate(model, &request, NULL, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *
 * Threads: every function may be called from any thread at any time, except that nibble_close waits for nobody: call it
 * when no other call on that model runs. Callbacks run on the thread that called nibble_generate. After fork() a child
 * must not use models of its parent.
 *
 * Stability: within one major version programs keep working with newer libraries, without being compiled again.
 * Structs begin with their size for that; fields are only added at their ends. Strings are UTF-8. A NULL where the
 * comment does not allow it is an error of the program and may crash it. Small allocations that fail end the process.
 */
#ifndef NIBBLE_H
#define NIBBLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NIBBLE_VERSION_MAJOR 0
#define NIBBLE_VERSION_MINOR 1
#define NIBBLE_VERSION_PATCH 0
#define NIBBLE_VERSION       "0.1.0"

#if defined(__GNUC__)
#define NIBBLE_API __attribute__((visibility("default")))
#else
#define NIBBLE_API
#endif

NIBBLE_API const char *nibble_version(void); /* of the library that runs, as NIBBLE_VERSION is of this header */

/* Functions return 0, or one of these with a sentence for people in the error: what was wrong, where, what to do. */
enum {
    NIBBLE_OK = 0,
    NIBBLE_ERROR_INPUT = -1,  /* what was given is wrong: a file, a field, a prompt */
    NIBBLE_ERROR_IO = -2,     /* the system refused: not found, no permission */
    NIBBLE_ERROR_MEMORY = -3, /* memory of the host or of the device ran out */
    NIBBLE_ERROR_LIMIT = -4,  /* too much at once; later it may work */
    NIBBLE_ERROR_DEVICE = -5, /* the device failed: the model can only be closed */
    NIBBLE_ERROR_USAGE = -6   /* an option has no such value */
};

typedef struct nibble_error { /* where a function takes one, NULL is fine */
    int code;
    char message[1024];
} nibble_error;

typedef struct nibble nibble; /* an open model */

/* All zero but the size is a good choice: nibble_options options = {.size = sizeof options}; */
typedef struct nibble_options {
    size_t size;                   /* sizeof(nibble_options) */
    const char *device;            /* "auto" (NULL), "cpu", "cuda" */
    const char *kernels;           /* of the CPU: "auto" (NULL), "scalar", "avx2", "avx512" */
    const char *activations;       /* of the CPU: "f32" (NULL), "bf16" */
    const char *kv_cache_dtype;    /* "auto" (NULL): as the checkpoint says; "bf16", "fp8", "f32" */
    const char *load_format;       /* "auto" (NULL); "dummy": random weights of config.json's shape */
    const char *tokenizer;         /* folder of another tokenizer; NULL: the checkpoint's */
    double gpu_memory_utilization; /* share of the GPU's memory that may be used; 0: 0.9 */
    int64_t max_model_len;         /* tokens of a request, prompt and answer; 0: 4096, or less if the model has less */
    int32_t max_num_seqs;          /* requests that run at once, the others wait; 0: 1 */
    int32_t n_thread;              /* of the CPU; 0: all cores */
} nibble_options;

/* Opens the checkpoint in a folder. `options` may be NULL. */
NIBBLE_API int nibble_open(const char *folder, const nibble_options *options, nibble **model, nibble_error *error);
NIBBLE_API void nibble_close(nibble *model); /* NULL is fine */

/* What a piece of text belongs to. A call of a tool comes as its name, pieces of its arguments (together one JSON
 * object), and its end, which has no text. */
enum { NIBBLE_CONTENT, NIBBLE_REASONING, NIBBLE_TOOL_NAME, NIBBLE_TOOL_ARGUMENTS, NIBBLE_TOOL_END };

/* A piece of the answer: n_byte bytes of whole characters, not terminated, valid during the call. Also called with
 * NIBBLE_CONTENT and n_byte 0, several times a second, while nothing comes. Returning anything but 0 cancels the
 * request. */
typedef int (*nibble_text_fn)(void *user, int part, const char *text, size_t n_byte);

/* Exactly one of prompt, token and messages. */
typedef struct nibble_request {
    size_t size;           /* sizeof(nibble_request) */
    const char *prompt;    /* text; the text of special tokens in it becomes those tokens */
    size_t n_prompt_byte;  /* 0: up to its NUL */
    const int32_t *token;  /* token ids */
    size_t n_token;        /* how many */
    const char *messages;  /* conversation: JSON array of {"role", "content", ...} as in OpenAI's API, put through the
                            * checkpoint's chat template; the think block then comes as NIBBLE_REASONING */
    const char *tools;     /* JSON array of tools, for messages; or NULL */
    const char *variables; /* JSON object of the template's variables: {"enable_thinking": false}; or NULL */

    const char *tool_parser; /* how the model writes calls: "qwen3_xml", "qwen3_coder", "hermes"; NULL: as content */

    /* What the answer must be; at most one of them. A think block before it is free. */
    const char *json_schema; /* JSON that satisfies this schema ("{}": any) */
    const char *regex;       /* text that this expression matches as a whole */
    const char *choice;      /* one of the strings in this JSON array */
    const char *grammar;     /* text of this grammar, in GBNF */

    int32_t max_tokens; /* of the answer; 0: as many as fit */
    int32_t top_k;      /* draw from so many; 0: all. From here on -1 means: as the checkpoint says */
    double temperature; /* 0: the likeliest token */
    double top_p, min_p, repetition_penalty;
    double presence_penalty, frequency_penalty; /* 0: none */
    uint64_t seed;                              /* equal requests with equal seeds give equal answers */
    int32_t ignore_eos;                         /* not 0: write on past the end tokens */
    int32_t keep_special;                       /* not 0: special tokens are shown as text */
    int32_t want_logits_hash;                   /* not 0: fill in the result's logits_hash */

    nibble_text_fn on_text; /* or NULL */
    void *user;             /* handed to on_text */
} nibble_request;

NIBBLE_API void nibble_request_init(nibble_request *request,
                                    size_t size); /* zeros, and -1 for what the model decides */

enum { NIBBLE_FINISH_STOP = 1, NIBBLE_FINISH_LENGTH = 2, NIBBLE_FINISH_CANCELLED = 3 };

/* nibble_result result = {.size = sizeof result}; */
typedef struct nibble_result {
    size_t size;
    int32_t finish; /* why the answer ended: NIBBLE_FINISH_... */
    int32_t n_prompt, n_cached,
        n_output;         /* tokens: of the prompt, how many of them were computed before, of the answer */
    int64_t prefill_us;   /* until the first token, waiting included */
    int64_t decode_us;    /* from the first token to the last */
    double step_bytes;    /* memory that one more token of this request moves at least */
    uint64_t logits_hash; /* XXH64 of the last row of logits: equal numerics have equal hashes */
} nibble_result;

/* Returns when the answer is complete. A cancelled request is no error. `result` may be NULL. */
NIBBLE_API int nibble_generate(nibble *model, const nibble_request *request, nibble_result *result,
                               nibble_error *error);

/* Cancels every request that runs or waits now. The only function that a signal handler may call. */
NIBBLE_API void nibble_cancel(nibble *model);

/* These write at most `cap` elements and return how many there are (call with cap 0 to learn it), or a negative code.
 * Text gets no NUL. `tools` and `variables` may be NULL. */
NIBBLE_API int64_t nibble_tokenize(const nibble *model, const char *text, size_t n_byte, int32_t *token, size_t cap,
                                   nibble_error *error);
NIBBLE_API int64_t nibble_detokenize(const nibble *model, const int32_t *token, size_t n_token, char *text, size_t cap,
                                     nibble_error *error);
NIBBLE_API int64_t nibble_render(const nibble *model, const char *messages, const char *tools, const char *variables,
                                 char *text, size_t cap, nibble_error *error); /* the prompt of a conversation */

#ifdef __cplusplus
}
#endif

#endif
