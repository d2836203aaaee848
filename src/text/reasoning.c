// See reasoning.h.
#include "text/reasoning.h"

#include <string.h>

nb_think nb_reasoning_think(const nb_tokenizer *tokenizer, const nb_ids *prompt)
{
    enum { LOOK_BACK = 16 };
    nb_buf tail = {0};
    int64_t n = prompt->n < LOOK_BACK ? prompt->n : LOOK_BACK;
    nb_tokenizer_decode(tokenizer, prompt->id + prompt->n - n, n, false, &tail);
    nb_str text = nb_buf_str(&tail);
    while (text.len && strchr(" \n\r\t", text.ptr[text.len - 1])) text.len--;
    nb_think think = nb_str_ends(text, NB_STR("<think>"))    ? NB_THINK_OPEN
                     : nb_str_ends(text, NB_STR("</think>")) ? NB_THINK_CLOSED
                                                             : NB_THINK_NOT_BEGUN;
    nb_buf_drop(&tail);
    return think;
}
