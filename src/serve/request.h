// Requests of the OpenAI API as plain structs. Parsing checks types and ranges and needs neither tokenizer nor engine:
// the body goes in as JSON, the struct points into it, so the JSON must outlive the struct.
//
// Unknown fields are accepted, as other servers do. Fields that other servers know and that would change the answer
// here, if they did anything, are refused when they are set (see request_sampling.c).
#ifndef NB_REQUEST_H
#define NB_REQUEST_H

#include "constrain/constrain.h"
#include "engine/engine.h"
#include "serve/request_field.h"

enum {
    NB_REQUEST_CHOICES_MAX = 128, // n
    NB_REQUEST_STOP_MAX = 16,     // stop strings
    NB_REQUEST_STOP_BYTES_MAX = 1024,
    NB_REQUEST_BIAS_MAX = 1024,   // entries of logit_bias
    NB_REQUEST_PROMPTS_MAX = 256, // of one completion request
    NB_REQUEST_MESSAGES_MAX = 16384,
};

typedef struct nb_request_limits { // what the server knows beforehand
    nb_sampling sampling;          // used where a request is silent
    int vocab_size;
    int64_t max_model_len;
} nb_request_limits;

// What chat and text completions have in common.
typedef struct nb_generation {
    nb_str model; // empty: not said
    int64_t n;
    bool stream, include_usage, usage_in_each_chunk;
    int64_t max_tokens; // -1: as many as fit
    int64_t min_tokens;
    nb_sampling sampling;
    bool has_seed;
    nb_str stop[NB_REQUEST_STOP_MAX];
    int n_stop;
    bool include_stop, ignore_eos, keep_special;
    int32_t stop_tok[NB_STOP_TOKEN_MAX];
    int n_stop_tok;
    nb_bias *bias; // [n_bias], in the arena
    int n_bias;
    int64_t n_top;           // log-probabilities: alternatives per token; -1: none at all
    int64_t n_prompt_top;    // the same for the prompt
    int64_t truncate_prompt; // keep the last so many tokens of the prompt; -1: all
    int64_t priority;
    bool echo;
    bool reasons;                // the model may think before it answers
    nb_constrain_spec constrain; // the form of the output
} nb_generation;

typedef enum nb_tool_choice {
    NB_TOOL_CHOICE_NONE,
    NB_TOOL_CHOICE_AUTO,
    NB_TOOL_CHOICE_REQUIRED, // one call or more, of any function or of tool_name
} nb_tool_choice;

typedef struct nb_chat_request {
    nb_generation generation;
    const json_t *messages;
    const json_t *tools; // NULL: none
    nb_tool_choice tool_choice;
    nb_str tool_name;
    bool parallel_tool_calls;
    json_t *variables; // of the template; nb_request_chat_drop frees it
    bool add_generation_prompt, continue_final_message;
    bool include_reasoning;
} nb_chat_request;

typedef struct nb_prompt {
    nb_str text;       // or, when this is empty,
    const json_t *ids; // token ids, checked; NULL: text
} nb_prompt;

typedef struct nb_completion_request {
    nb_generation generation;
    nb_prompt *prompt; // [n_prompt], in the arena
    int n_prompt;
} nb_completion_request;

#define NB_RESPONSES_ENCRYPTED_MARK "nibble:" // in front of the text that stands for an encrypted_content

// Requests that are converted into chat requests (request_convert.h): the chat request points into `chat_body`.
typedef struct nb_responses_request {
    nb_chat_request chat;
    json_t *chat_body;
    const json_t *body;   // what the client sent: the response repeats parts of it
    bool wants_summary;   // reasoning is to be its own summary
    bool wants_encrypted; // and to come with an encrypted_content, without which some clients do not send it back
} nb_responses_request;

typedef struct nb_messages_request {
    nb_chat_request chat;
    json_t *chat_body;
} nb_messages_request;

int nb_request_chat(const json_t *body, const nb_request_limits *limits, nb_arena *arena, nb_chat_request *out,
                    nb_request_error *error); // on failure nothing is left to drop
void nb_request_chat_drop(nb_chat_request *request);
int nb_request_completion(const json_t *body, const nb_request_limits *limits, nb_arena *arena,
                          nb_completion_request *out, nb_request_error *error);
int nb_request_responses(const json_t *body, const nb_request_limits *limits, nb_arena *arena,
                         nb_responses_request *out, nb_request_error *error); // on failure nothing is left to drop
void nb_request_responses_drop(nb_responses_request *request);
// `only_count`: of /v1/messages/count_tokens, which generates nothing and needs no max_tokens.
int nb_request_messages(const json_t *body, const nb_request_limits *limits, bool only_count, nb_arena *arena,
                        nb_messages_request *out, nb_request_error *error); // on failure nothing is left to drop
void nb_request_messages_drop(nb_messages_request *request);

// Parts that other files of this group use.
int nb_request_generation(const json_t *body, const nb_request_limits *limits, nb_arena *arena, nb_generation *out,
                          nb_request_error *error);
int nb_request_constrain(const json_t *body, nb_generation *out, nb_request_error *error);
int nb_request_ids(const json_t *ids, const char *param, int vocab_size,
                   nb_request_error *error); // an array of token ids
int nb_request_chat_messages(const json_t *body, const json_t **out, nb_request_error *error);
int nb_request_tools(const json_t *body, const json_t **out, nb_request_error *error);
int nb_request_template_variables(const json_t *body, json_t **out, nb_request_error *error);

#endif
