// The configuration reader on arbitrary text. Bytes of value 1 separate config.json, generation_config.json and
// hf_quant_config.json. What it accepts must be within the limits that the rest of the program relies on.
#include <stdlib.h>
#include <string.h>

#include "checkpoint/config.h"

static nb_str next_part(nb_str *rest)
{
    const char *end = rest->len ? memchr(rest->ptr, 1, rest->len) : NULL;
    size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
    nb_str part = {rest->ptr, n};
    *rest = nb_str_slice(*rest, end ? n + 1 : n, rest->len);
    return part;
}

static void check(const nb_config *c)
{
    bool sound = c->hidden_size > 0 && c->num_hidden_layers > 0 && c->num_hidden_layers <= NB_LAYER_MAX &&
                 c->num_experts > 0 && c->num_experts_per_tok <= c->num_experts && c->n_eos <= NB_EOS_MAX &&
                 c->num_attention_heads % c->num_key_value_heads == 0 && c->rope.n_rot <= c->head_dim;
    if (!sound) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    nb_str rest = {(const char *)data, n_byte};
    nb_str config = next_part(&rest), generation = next_part(&rest), quant = next_part(&rest);
    nb_config parsed;
    nb_error err = {0};
    if (!nb_config_parse(config, generation, quant, &parsed, &err)) check(&parsed);
    return 0;
}
