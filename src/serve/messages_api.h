// Messages: what messages_api.c (execution) and anthropic_messages.c (JSON) share.
#ifndef NB_MESSAGES_API_H
#define NB_MESSAGES_API_H

#include "serve/chat_answer.h"

typedef struct nb_messages_job { // nb_api_job.own
    nb_messages_request request;
    bool is_clipped; // max_tokens was more than the context has room for
} nb_messages_job;

// Events, put into job->chunk and sent.
void nb_anthropic_begin(nb_choice *choice);
void nb_anthropic_block_begin(nb_choice *choice, const nb_chat_item *item);
void nb_anthropic_block_text(nb_choice *choice, const nb_chat_item *item, nb_str piece);
void nb_anthropic_block_end(nb_choice *choice, const nb_chat_item *item);
void nb_anthropic_end(nb_api_job *job);

void nb_anthropic_reply(nb_api_job *job, nb_buf *out); // the whole answer

#endif
