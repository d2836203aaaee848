// /tokenize and /detokenize.
#include <stdlib.h>

#include "serve/api_internal.h"
#include "serve/openai_json.h"

// The prompt as it stands, or the prompt that the chat template makes of messages.
static int read_text(const nb_api *api, const json_t *body, nb_buf *out, nb_request_error *error)
{
    nb_str prompt = {0};
    NB_TRY(nb_field_str(body, "prompt", &prompt, error));
    if (prompt.ptr) {
        nb_buf_add_str(out, prompt);
        return NB_OK;
    }
    if (!nb_field_given(body, "messages"))
        return nb_request_refuse(error, 400, "prompt", NULL, "prompt or messages is missing");
    nb_chat_request chat = {.add_generation_prompt = true};
    NB_TRY(nb_field_bool(body, "continue_final_message", &chat.continue_final_message, error));
    chat.add_generation_prompt = !chat.continue_final_message;
    NB_TRY(nb_field_bool(body, "add_generation_prompt", &chat.add_generation_prompt, error));
    NB_TRY(nb_request_chat_messages(body, &chat.messages, error));
    NB_TRY(nb_request_tools(body, &chat.tools, error));
    NB_TRY(nb_request_template_variables(body, &chat.variables, error));
    int code = nb_api_render(api, &chat, "messages", out, error);
    nb_request_chat_drop(&chat);
    return code;
}

static int tokenize(const nb_api *api, const json_t *body, nb_ids *ids, bool *want_text, nb_request_error *error)
{
    nb_str model = {0};
    nb_buf text = {0};
    NB_TRY(nb_field_str(body, "model", &model, error));
    NB_TRY(nb_api_check_model(api, model, error));
    NB_TRY(nb_field_bool(body, "return_token_strs", want_text, error));
    int code = read_text(api, body, &text, error);
    if (code == NB_OK) code = nb_api_encode(api, nb_buf_str(&text), "prompt", ids, error);
    nb_buf_drop(&text);
    return code;
}

static void write_tokens(const nb_api *api, const nb_ids *ids, bool want_text, nb_buf *out)
{
    nb_buf_printf(out, "{\"count\":%lld,\"max_model_len\":%lld,\"tokens\":[", (long long)ids->n,
                  (long long)api->options.max_model_len);
    for (int64_t i = 0; i < ids->n; i++) nb_buf_printf(out, i ? ",%d" : "%d", ids->id[i]);
    nb_buf_add_c(out, want_text ? "],\"token_strs\":[" : "],\"token_strs\":null}");
    for (int64_t i = 0; want_text && i < ids->n; i++) {
        if (i) nb_buf_add_c(out, ",");
        nb_openai_string(out, nb_tokenizer_token(api->options.tokenizer, ids->id[i]));
    }
    if (want_text) nb_buf_add_c(out, "]}");
}

void nb_api_tokenize(void *user, nb_http_exchange *exchange)
{
    const nb_api *api = user;
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_request_error error;
    nb_ids ids = {0};
    nb_buf out = {0};
    bool want_text = false;
    if (tokenize(api, body, &ids, &want_text, &error) != NB_OK) {
        nb_api_refuse(exchange, &error);
    } else {
        write_tokens(api, &ids, want_text, &out);
        nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    }
    nb_buf_drop(&out);
    nb_ids_drop(&ids);
    json_decref(body);
}

static int detokenize(const nb_api *api, const json_t *body, nb_buf *text, nb_request_error *error)
{
    const json_t *tokens = NULL, *token;
    nb_str model = {0};
    size_t i;
    NB_TRY(nb_field_str(body, "model", &model, error));
    NB_TRY(nb_api_check_model(api, model, error));
    NB_TRY(nb_field_array(body, "tokens", &tokens, error));
    if (!tokens) return nb_request_refuse(error, 400, "tokens", NULL, "tokens is missing");
    NB_TRY(nb_request_ids(tokens, "tokens", api->options.vocab_size, error));
    nb_ids ids = {0};
    json_array_foreach(tokens, i, token) nb_ids_add(&ids, (int32_t)json_integer_value(token));
    nb_tokenizer_decode(api->options.tokenizer, ids.id, ids.n, false, text);
    nb_ids_drop(&ids);
    return NB_OK;
}

void nb_api_detokenize(void *user, nb_http_exchange *exchange)
{
    const nb_api *api = user;
    json_t *body = nb_api_body(exchange);
    if (!body) return;
    nb_request_error error;
    nb_buf text = {0}, out = {0};
    if (detokenize(api, body, &text, &error) != NB_OK) {
        nb_api_refuse(exchange, &error);
    } else {
        nb_buf_add_c(&out, "{\"prompt\":");
        nb_openai_string(&out, nb_buf_str(&text));
        nb_buf_add_c(&out, "}");
        nb_http_reply(exchange, 200, "application/json", nb_buf_str(&out));
    }
    nb_buf_drop(&text);
    nb_buf_drop(&out);
    json_decref(body);
}
