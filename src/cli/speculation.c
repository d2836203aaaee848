// See speculation.h.
#include "cli/speculation.h"

#include <stdio.h>

#include "base/json.h"
#include "model/batch.h"

static int read_fields(const json_t *root, nb_speculation *out, nb_error *err)
{
    nb_str method = NB_STR("none");
    int64_t n = 1;
    if (!json_is_object(root)) return nb_error_set(err, NB_ERR_USAGE, "--speculative-config must be a JSON object");
    NB_TRY(nb_json_str(root, "--speculative-config", "method", NB_JSON_OPTIONAL, &method, err));
    NB_TRY(nb_json_int(root, "--speculative-config", "num_speculative_tokens", NB_JSON_OPTIONAL, &n, err));
    if (!nb_str_ends(method, NB_STR("mtp"))) {
        snprintf(out->why_off, sizeof out->why_off, "tokens are drafted by the method \"mtp\" only, not by \"%.*s\"",
                 (int)(method.len > 40 ? 40 : method.len), method.ptr);
        return NB_OK;
    }
    if (n < 1 || n > NB_DRAFT_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "--speculative-config: num_speculative_tokens must be from 1 to %d",
                            NB_DRAFT_MAX);
    out->n_draft = (int)n;
    return NB_OK;
}

int nb_speculation_parse(const char *json, nb_speculation *out, nb_error *err)
{
    json_t *root = NULL;
    *out = (nb_speculation){0};
    NB_TRY(nb_json_parse_last(nb_str_from(json), "--speculative-config", &root, err));
    int code = read_fields(root, out, err);
    json_decref(root);
    return code;
}
