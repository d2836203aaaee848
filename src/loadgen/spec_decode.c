// Lines of Prometheus' text format: NAME{LABELS} VALUE. Series of several engines are added up.
#include "loadgen/spec_decode.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1024 };

static bool position_of(const char *line, int *position)
{
    const char *label = strstr(line, "position=\"");
    if (!label) return false;
    *position = atoi(label + strlen("position=\""));
    return *position >= 0 && *position < NB_SPEC_DECODE_POSITIONS_MAX;
}

static void add(const char *line, double value, nb_spec_decode *s)
{
    static const char prefix[] = "vllm:spec_decode_num_";
    if (strncmp(line, prefix, sizeof prefix - 1) != 0) return;
    nb_str name = {line + sizeof prefix - 1, strcspn(line + sizeof prefix - 1, "{ ")};
    int position;
    s->known = true;
    if (nb_str_equal_c(name, "drafts_total")) s->n_draft += value;
    if (nb_str_equal_c(name, "draft_tokens_total")) s->n_draft_tok += value;
    if (nb_str_equal_c(name, "accepted_tokens_total")) s->n_accepted += value;
    if (!nb_str_equal_c(name, "accepted_tokens_per_pos_total") || !position_of(line, &position)) return;
    s->accepted_at[position] += value;
    if (position >= s->n_position) s->n_position = position + 1;
}

void nb_spec_decode_parse(nb_str metrics, nb_spec_decode *out)
{
    *out = (nb_spec_decode){0};
    for (size_t at = 0; at < metrics.len;) {
        int64_t end = nb_str_find(metrics, NB_STR("\n"), at);
        nb_str line = nb_str_slice(metrics, at, end < 0 ? metrics.len : (size_t)end);
        char text[LINE_MAX_BYTES] = {0};
        at += line.len + 1;
        if (line.len == 0 || line.len >= sizeof text) continue;
        memcpy(text, line.ptr, line.len);
        const char *value = strrchr(text, ' ');
        if (value) add(text, strtod(value, NULL), out);
    }
}

void nb_spec_decode_read(const nb_endpoint *endpoint, nb_spec_decode *out)
{
    nb_buf text = {0};
    nb_error ignored;
    *out = (nb_spec_decode){0};
    if (nb_endpoint_text(endpoint, "/metrics", NULL, &text, &ignored) == NB_OK)
        nb_spec_decode_parse(nb_buf_str(&text), out);
    nb_buf_drop(&text);
}

nb_spec_decode nb_spec_decode_since(const nb_spec_decode *before, const nb_spec_decode *after)
{
    nb_spec_decode s = *after;
    s.n_draft -= before->n_draft;
    s.n_draft_tok -= before->n_draft_tok;
    s.n_accepted -= before->n_accepted;
    for (int i = 0; i < s.n_position; i++) s.accepted_at[i] -= before->accepted_at[i];
    s.known = before->known && after->known && s.n_draft > 0 && s.n_draft_tok > 0;
    return s;
}

double nb_spec_decode_rate(const nb_spec_decode *s)
{
    return 100 * s->n_accepted / s->n_draft_tok;
}

double nb_spec_decode_length(const nb_spec_decode *s)
{
    return 1 + s->n_accepted / s->n_draft;
}
