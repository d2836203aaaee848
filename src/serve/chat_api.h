// Chat answers: what chat_api.c (execution) and openai_chat.c (JSON) share.
#ifndef NB_CHAT_API_H
#define NB_CHAT_API_H

#include "serve/api_job.h"

typedef struct nb_chat_call { // of an answer that is not streamed
    nb_str id, name;          // in the job's arena
    nb_buf arguments;
} nb_chat_call;

typedef struct nb_chat_choice { // nb_choice.own
    nb_output_parser *parser;
    bool has_role; // the first chunk was sent
    int n_call;
    nb_buf reasoning, content; // of an answer that is not streamed
    nb_chat_call *call;        // [n_call]
    int call_cap;
} nb_chat_choice;

enum { NB_CALL_ID_BYTES = 32 };
// "call_" and a word that no other call has.
void nb_openai_call_id(const nb_choice *choice, int i_call, char out[NB_CALL_ID_BYTES]);

// Puts chunks into job->chunk and sends them.
void nb_openai_chat_role_chunk(nb_choice *choice);
void nb_openai_chat_part_chunk(nb_choice *choice, const nb_part *part);
void nb_openai_chat_logprobs_chunk(nb_choice *choice); // log-probabilities whose text is held back
void nb_openai_chat_finish_chunk(nb_choice *choice);

void nb_openai_chat_reply(nb_api_job *job, nb_buf *out); // the whole answer

#endif
