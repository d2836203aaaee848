// What OpenAI's streams of chunks have in common, of chat and of text: the head of each chunk, and what ends a stream.
#ifndef NB_OPENAI_STREAM_H
#define NB_OPENAI_STREAM_H

#include "serve/api_job.h"

// {"id", "object", "created", "model", "choices":[{"index":N, into job->chunk: the choice's members follow.
void nb_openai_stream_head(nb_choice *choice);
// The error, or the usage if it was asked for; then [DONE].
void nb_openai_stream_end(nb_api_job *job);

#endif
