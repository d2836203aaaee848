// See openai_json.h.
#include "serve/openai_json.h"

#include <math.h>

static void add_escape(nb_buf *out, unsigned char c)
{
    switch (c) {
    case '"': nb_buf_add_c(out, "\\\""); break;
    case '\\': nb_buf_add_c(out, "\\\\"); break;
    case '\n': nb_buf_add_c(out, "\\n"); break;
    case '\r': nb_buf_add_c(out, "\\r"); break;
    case '\t': nb_buf_add_c(out, "\\t"); break;
    default: nb_buf_printf(out, "\\u%04x", c);
    }
}

static void add_escaped(nb_buf *out, nb_str text)
{
    size_t plain = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        nb_buf_add_str(out, nb_str_slice(text, plain, i));
        add_escape(out, c);
        plain = i + 1;
    }
    nb_buf_add_str(out, nb_str_slice(text, plain, text.len));
}

void nb_openai_string(nb_buf *out, nb_str text)
{
    nb_buf_add_char(out, '"');
    if (nb_utf8_valid(text)) {
        add_escaped(out, text);
    } else {
        for (size_t at = 0; at < text.len;) {
            char bytes[4];
            int n = nb_utf8_encode(nb_utf8_decode(text, &at), bytes);
            add_escaped(out, (nb_str){bytes, (size_t)n});
        }
    }
    nb_buf_add_char(out, '"');
}

void nb_openai_logprob(nb_buf *out, float logprob)
{
    nb_buf_printf(out, "%.9g", isfinite(logprob) && logprob > -9999.0F ? (double)logprob : -9999.0);
}

void nb_openai_token(nb_buf *out, const nb_tokenizer *tokenizer, int32_t tok, float logprob)
{
    nb_str text = nb_tokenizer_token(tokenizer, tok);
    nb_buf_add_c(out, "\"token\":");
    nb_openai_string(out, text);
    nb_buf_add_c(out, ",\"logprob\":");
    nb_openai_logprob(out, logprob);
    nb_buf_add_c(out, ",\"bytes\":[");
    for (size_t i = 0; i < text.len; i++) nb_buf_printf(out, "%s%u", i ? "," : "", (unsigned char)text.ptr[i]);
    nb_buf_add_c(out, "]");
}

void nb_openai_chat_logprob(nb_buf *out, const nb_tokenizer *tokenizer, const nb_row_result *row)
{
    nb_buf_add_char(out, '{');
    nb_openai_token(out, tokenizer, row->tok, row->logprob);
    nb_buf_add_c(out, ",\"top_logprobs\":[");
    for (int i = 0; i < row->n_top; i++) {
        nb_buf_add_c(out, i ? ",{" : "{");
        nb_openai_token(out, tokenizer, row->top_tok[i], row->top_logprob[i]);
        nb_buf_add_char(out, '}');
    }
    nb_buf_add_c(out, "]}");
}

static void add_prompt_entry(nb_buf *out, const nb_tokenizer *tokenizer, int32_t tok, float logprob, int rank)
{
    nb_buf_printf(out, "\"%d\":{\"logprob\":", tok);
    nb_openai_logprob(out, logprob);
    nb_buf_printf(out, ",\"rank\":%d,\"decoded_token\":", rank);
    nb_openai_string(out, nb_tokenizer_token(tokenizer, tok));
    nb_buf_add_char(out, '}');
}

void nb_openai_prompt_logprob(nb_buf *out, const nb_tokenizer *tokenizer, int32_t tok, const nb_row_result *row)
{
    nb_buf_add_char(out, '{');
    add_prompt_entry(out, tokenizer, tok, row->target_logprob, row->target_rank);
    for (int i = 0; i < row->n_top; i++) {
        if (row->top_tok[i] == tok) continue;
        nb_buf_add_char(out, ',');
        add_prompt_entry(out, tokenizer, row->top_tok[i], row->top_logprob[i], i + 1);
    }
    nb_buf_add_char(out, '}');
}

void nb_openai_usage(nb_buf *out, const nb_usage *usage)
{
    nb_buf_printf(out,
                  "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
                  (long long)usage->n_prompt, (long long)usage->n_output,
                  (long long)(usage->n_prompt + usage->n_output), (long long)usage->n_cached);
}
