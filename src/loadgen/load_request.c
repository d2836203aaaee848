// One streamed request: its body, and what its events say. The first token is the first event with text of any kind; an
// event that only opens a message (a role) or ends it (a finish reason) is none. An answer without any text, which
// tokens may well have, is timed by its last event.
#include <string.h>

#include "base/clock.h"
#include "loadgen/load_internal.h"

enum { ERROR_REPLY_BYTES_MAX = 64 * 1024 };

static void add_quoted(nb_buf *out, nb_str text)
{
    json_t *string = json_stringn(text.ptr, text.len);
    if (string) nb_json_write(string, out);
    json_decref(string);
}

static void add_prompt(const nb_endpoint *e, const nb_prompt *p, nb_buf *out)
{
    if (p->messages.len) {
        nb_buf_add_c(out, "\"messages\":");
        nb_buf_add_str(out, p->messages);
    } else if (p->n_id) {
        nb_buf_add_c(out, "\"prompt\":[");
        for (int i = 0; i < p->n_id; i++) nb_buf_printf(out, i ? ",%d" : "%d", p->id[i]);
        nb_buf_add_char(out, ']');
    } else {
        nb_buf_add_c(out, e->chat ? "\"messages\":[{\"role\":\"user\",\"content\":" : "\"prompt\":");
        add_quoted(out, p->text);
        if (e->chat) nb_buf_add_c(out, "}]");
    }
}

static void make_body(nb_load_request *r)
{
    const nb_endpoint *e = r->options->endpoint;
    nb_buf_add_c(&r->body, "{\"model\":");
    add_quoted(&r->body, nb_str_from(e->model));
    nb_buf_add_char(&r->body, ',');
    add_prompt(e, r->prompt, &r->body);
    nb_buf_printf(&r->body, ",\"%s\":%d,\"stream\":true,\"stream_options\":{\"include_usage\":true}",
                  e->chat ? "max_completion_tokens" : "max_tokens", r->prompt->n_output);
    nb_buf_add_str(&r->body, r->options->fields);
    nb_buf_add_char(&r->body, '}');
}

// An error inside a stream comes as an object of its own.
static int stream_error(const json_t *event, nb_error *err)
{
    nb_buf text = {0}, message = {0};
    nb_json_write(event, &text);
    nb_endpoint_error_text(nb_buf_str(&text), &message);
    nb_error_set(err, NB_ERR_INPUT, "%s", message.ptr ? message.ptr : "error in the stream");
    nb_buf_drop(&text);
    nb_buf_drop(&message);
    return err->code;
}

static bool add_text(nb_load_request *r, const json_t *text)
{
    if (!json_is_string(text) || json_string_length(text) == 0) return false;
    if (r->options->keep_text) nb_buf_add(&r->text, json_string_value(text), json_string_length(text));
    return true;
}

// Whether the choice carries a part of the answer, which is then kept if wanted.
static bool has_token(nb_load_request *r, const json_t *choice)
{
    const json_t *delta = json_object_get(choice, "delta");
    if (!delta) return add_text(r, json_object_get(choice, "text"));
    bool any = add_text(r, json_object_get(delta, "content"));
    any = any || add_text(r, json_object_get(delta, "reasoning_content"));
    any = any || add_text(r, json_object_get(delta, "reasoning"));
    return any || json_array_size(json_object_get(delta, "tool_calls")) > 0;
}

static void note_token(nb_load_request *r, int64_t now_us)
{
    nb_load_result *result = r->result;
    if (!result->first_us) {
        result->first_us = result->last_us = now_us;
        return;
    }
    if (result->n_gap == r->cap_gap) {
        r->cap_gap = r->cap_gap ? 2 * r->cap_gap : 64;
        result->gap_us = nb_realloc(result->gap_us, sizeof *result->gap_us * (size_t)r->cap_gap);
    }
    int64_t gap_us = now_us - result->last_us;
    result->gap_us[result->n_gap++] = (int32_t)(gap_us < INT32_MAX ? gap_us : INT32_MAX);
    result->last_us = now_us;
}

static void read_usage(nb_load_request *r, const json_t *usage)
{
    const json_t *input = json_object_get(usage, "prompt_tokens"),
                 *output = json_object_get(usage, "completion_tokens");
    if (json_is_integer(input)) r->result->n_input = (int)json_integer_value(input);
    if (!json_is_integer(output)) return;
    r->result->n_output = (int)json_integer_value(output);
    r->counted = true;
}

static void read_event(nb_load_request *r, const json_t *event, int64_t now_us)
{
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    if (choice) {
        r->choice_us = now_us;
        if (has_token(r, choice)) note_token(r, now_us);
        if (json_is_string(json_object_get(choice, "finish_reason"))) r->finished = true;
    }
    read_usage(r, json_object_get(event, "usage"));
}

static int on_event(void *user, nb_str data, nb_error *err)
{
    nb_load_request *r = user;
    json_t *event = NULL;
    if (nb_str_equal_c(data, "[DONE]")) {
        r->finished = true;
        return NB_OK;
    }
    NB_TRY(nb_json_parse(data, "an event", &event, err));
    int code = NB_OK;
    if (json_object_get(event, "error")) {
        code = stream_error(event, err);
    } else {
        read_event(r, event, nb_clock_us() - r->begin_us);
    }
    json_decref(event);
    return code;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *user)
{
    nb_load_request *r = user;
    nb_str piece = {bytes, size * n};
    long status = 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        if (r->reply.len < ERROR_REPLY_BYTES_MAX) nb_buf_add_str(&r->reply, piece);
        return piece.len;
    }
    return nb_sse_reader_feed(&r->sse, piece, on_event, r, &r->err) == NB_OK ? piece.len : 0;
}

nb_load_request *nb_load_request_open(const nb_load_options *o, int i, int64_t begin_us, nb_load_result *result)
{
    nb_load_request *r = nb_alloc(sizeof *r);
    *r = (nb_load_request){.options = o, .prompt = &o->prompt[i], .result = result, .begin_us = begin_us};
    char id[128];
    make_body(r);
    r->easy = nb_endpoint_easy(o->endpoint, o->endpoint->path, &r->body);
    for (const struct curl_slist *h = o->endpoint->header; h; h = h->next)
        r->header = curl_slist_append(r->header, h->data);
    snprintf(id, sizeof id, "X-Request-Id: %s%d", o->id_prefix, i);
    r->header = curl_slist_append(r->header, id);
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->header);
    curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    result->n_input = r->prompt->n_input;
    result->start_us = nb_clock_us() - begin_us;
    return r;
}

// Why the request failed, appended to `out`; nothing when it did not.
static void say_failure(nb_load_request *r, CURLcode code, nb_buf *out)
{
    if (r->err.code != NB_OK) {
        nb_buf_add_c(out, r->err.text);
    } else if (code != CURLE_OK) {
        nb_buf_add_c(out, curl_easy_strerror(code));
    } else if (r->result->status != 200) {
        nb_buf_printf(out, "HTTP %d: ", r->result->status);
        nb_endpoint_error_text(nb_buf_str(&r->reply), out);
    } else if (!r->choice_us) {
        nb_buf_add_c(out, "the answer held no token");
    } else if (!r->finished) {
        nb_buf_add_c(out, "the stream broke off");
    }
}

void nb_load_request_end(nb_load_request *r, CURLcode code)
{
    nb_load_result *result = r->result;
    nb_buf error = {0};
    long status = 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    result->status = (int)status;
    say_failure(r, code, &error);
    result->state = error.len ? NB_LOAD_FAILED : NB_LOAD_OK;
    result->error = error.ptr;
    if (!result->first_us) result->first_us = r->choice_us;
    result->last_us = error.len ? nb_clock_us() - r->begin_us : r->choice_us;
    if (!r->counted) result->n_output = result->first_us ? result->n_gap + 1 : 0;
    result->text = r->text.ptr;
    r->text = (nb_buf){0};
}

void nb_load_request_close(nb_load_request *r)
{
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->header);
    nb_buf_drop(&r->body);
    nb_buf_drop(&r->reply);
    nb_buf_drop(&r->text);
    nb_sse_reader_drop(&r->sse);
    free(r);
}
