// Chat completions: what chat_api.c (execution) and openai_chat.c (JSON) share.
#ifndef NB_CHAT_API_H
#define NB_CHAT_API_H

#include "serve/chat_answer.h"

// Puts chunks into job->chunk and sends them.
void nb_openai_chat_role_chunk(nb_choice *choice);
void nb_openai_chat_call_chunk(nb_choice *choice, const nb_chat_item *item); // a call begins
void nb_openai_chat_text_chunk(nb_choice *choice, const nb_chat_item *item, nb_str piece);
void nb_openai_chat_logprobs_chunk(nb_choice *choice); // log-probabilities whose text is held back
void nb_openai_chat_finish_chunk(nb_choice *choice);

void nb_openai_chat_reply(nb_api_job *job, nb_buf *out); // the whole answer

#endif
