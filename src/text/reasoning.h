// Where a prompt leaves the model: inside an open think block, behind a closed one, or before any.
#ifndef NB_REASONING_H
#define NB_REASONING_H

#include "text/tokenizer.h"

typedef enum nb_think { NB_THINK_NOT_BEGUN, NB_THINK_OPEN, NB_THINK_CLOSED } nb_think;

nb_think nb_reasoning_think(const nb_tokenizer *tokenizer, const nb_ids *prompt);

#endif
