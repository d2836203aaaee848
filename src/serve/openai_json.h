// Pieces of OpenAI's JSON, written straight into a buffer: a stream of tokens needs no tree.
#ifndef NB_OPENAI_JSON_H
#define NB_OPENAI_JSON_H

#include "engine/engine.h"
#include "text/tokenizer.h"

// A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
void nb_openai_string(nb_buf *out, nb_str text);
// A log-probability; -inf, which JSON cannot hold, is -9999.0.
void nb_openai_logprob(nb_buf *out, float logprob);
// "token": ..., "logprob": ..., "bytes": [...] of chat answers, without braces.
void nb_openai_token(nb_buf *out, const nb_tokenizer *tokenizer, int32_t tok, float logprob);
// One entry of choices[].logprobs.content.
void nb_openai_chat_logprob(nb_buf *out, const nb_tokenizer *tokenizer, const nb_row_result *row);
// {"id": {"logprob", "rank", "decoded_token"}, ...}: an entry of prompt_logprobs, for the prompt's token `tok`.
void nb_openai_prompt_logprob(nb_buf *out, const nb_tokenizer *tokenizer, int32_t tok, const nb_row_result *row);

typedef struct nb_usage {
    int64_t n_prompt, n_output, n_cached;
} nb_usage;
void nb_openai_usage(nb_buf *out, const nb_usage *usage); // the object

#endif
