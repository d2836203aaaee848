// What is sent: texts, token ids or conversations, each with the number of tokens to ask for. Made once, before the
// load begins, in one arena.
#ifndef NB_PROMPT_SET_H
#define NB_PROMPT_SET_H

#include "loadgen/endpoint.h"

enum { NB_PROMPT_COUNT_MAX = 1000000, NB_PROMPT_TOKENS_MAX = 1 << 24 };
#define NB_PROMPT_FILE_BYTES_MAX ((size_t)4 << 30)

typedef struct nb_prompt { // one of text, id and messages
    nb_str text;
    const int32_t *id;
    int n_id;
    nb_str messages; // JSON array
    int n_input;     // tokens, where they were counted; else 0
    int n_output;    // tokens to ask for
} nb_prompt;

typedef struct nb_prompt_set {
    nb_prompt *prompt;
    int n;
} nb_prompt_set;

typedef struct nb_prompt_options {
    int n;
    int64_t input_len, output_len; // tokens; output_len 0: as the file says
    double range_ratio;            // lengths are uniform in [len (1 - ratio), len (1 + ratio)]
    int64_t prefix_len;            // tokens before input_len that all random prompts share
    uint64_t seed;
    void (*progress)(void *user, int64_t n_done, int64_t n_total); // may be NULL
    void *user;
} nb_prompt_options;

// Random words. A completion endpoint that can tokenize gets exactly the wanted number of token ids; a chat endpoint a
// text whose count came nearest to it; one that cannot tokenize gets a word for each token.
int nb_prompt_random(const nb_endpoint *endpoint, const nb_prompt_options *options, nb_arena *arena, nb_prompt_set *out,
                     nb_error *err);

// Lines of JSON: {"prompt": TEXT} or {"messages": [...]}, with an optional "output_tokens". Repeated when too few.
int nb_prompt_jsonl(nb_str file, const nb_prompt_options *options, nb_arena *arena, nb_prompt_set *out, nb_error *err);

// ShareGPT's array of {"conversations": [{"value": PROMPT}, {"value": ANSWER}, ...]}: the first turn is the prompt, the
// second gives the number of tokens unless output_len does. Drawn in random order; very short and very long ones are
// left out, with vLLM's limits, where the endpoint can count.
int nb_prompt_sharegpt(const nb_endpoint *endpoint, nb_str file, const nb_prompt_options *options, nb_arena *arena,
                       nb_prompt_set *out, nb_error *err);

// A number below n: the draw `index` of stream `stream`.
int64_t nb_prompt_draw(uint64_t seed, uint64_t stream, uint64_t index, int64_t n);

#endif
