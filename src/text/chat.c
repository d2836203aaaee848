// Chat templates of checkpoints. Immutable once open.
#include "text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "text/chat_messages.h"

enum { CONFIG_MAX_BYTES = 64 << 20 }; // of tokenizer_config.json: vocabularies of added tokens can be large

struct nb_chat {
    nb_template *plain;
    nb_template *with_tools; // NULL: `plain` serves both
    json_t *special;         // bos_token and so on, each a string
    bool knows_parts;        // the template prints a content that is a list of text parts
};

// ---- Opening

static int open_template(nb_str source, const char *name, nb_template **out, nb_error *err)
{
    int code = nb_template_open(source, out, err);
    return code == NB_OK ? code : nb_error_wrap(err, "%s: ", name);
}

static int open_file(const char *path, nb_template **out, nb_error *err)
{
    nb_arena *arena = nb_arena_open(0);
    nb_str source;
    int code = nb_file_read(path, NB_JINJA_SOURCE_MAX, arena, &source, err);
    if (code == NB_OK) code = open_template(source, path, out, err);
    nb_arena_close(arena);
    return code;
}

// The "chat_template" of tokenizer_config.json; leaves the templates NULL when it has none.
static int open_from_config(nb_chat *chat, const json_t *config, nb_error *err)
{
    const json_t *found = json_object_get(config, "chat_template"), *entry;
    size_t i;
    if (json_is_string(found))
        return open_template((nb_str){json_string_value(found), json_string_length(found)}, "tokenizer_config.json",
                             &chat->plain, err);
    json_array_foreach(found, i, entry)
    {
        nb_str name = {0}, source = {0};
        NB_TRY(nb_json_str(entry, "chat_template", "name", NB_JSON_REQUIRED, &name, err));
        NB_TRY(nb_json_str(entry, "chat_template", "template", NB_JSON_REQUIRED, &source, err));
        nb_template **slot = nb_str_equal_c(name, "default")    ? &chat->plain
                             : nb_str_equal_c(name, "tool_use") ? &chat->with_tools
                                                                : NULL;
        if (slot && !*slot) NB_TRY(open_template(source, "tokenizer_config.json", slot, err));
    }
    return NB_OK;
}

// Special tokens are strings, or objects with the string as "content".
static void read_special_tokens(nb_chat *chat, const json_t *config)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *token = json_object_get(config, names[i]);
        if (json_is_object(token)) token = json_object_get(token, "content");
        if (json_is_string(token)) json_object_set_new(chat->special, names[i], json_deep_copy(token));
    }
}

static int read_config(const char *path, json_t **out, nb_error *err)
{
    nb_arena *arena = nb_arena_open(0);
    nb_str text;
    int code = nb_file_read(path, CONFIG_MAX_BYTES, arena, &text, err);
    if (code == NB_OK) code = nb_json_parse(text, path, out, err);
    nb_arena_close(arena);
    return code;
}

static int open_from_folder(nb_chat *chat, const char *folder, const char *template_path, nb_arena *arena,
                            nb_error *err)
{
    const char *config_path = nb_path_join(arena, folder, "tokenizer_config.json");
    const char *file = template_path ? template_path : nb_path_join(arena, folder, "chat_template.jinja");
    json_t *config = NULL;
    if (template_path || nb_file_exists(file)) NB_TRY(open_file(file, &chat->plain, err));
    if (nb_file_exists(config_path)) NB_TRY(read_config(config_path, &config, err));
    read_special_tokens(chat, config);
    int code = chat->plain ? NB_OK : open_from_config(chat, config, err);
    json_decref(config);
    if (code == NB_OK && !chat->plain)
        return nb_error_set(err, NB_ERR_INPUT,
                            "%s has no chat template (chat_template.jinja, or \"chat_template\" in "
                            "tokenizer_config.json); give one with --chat-template FILE",
                            folder);
    return code;
}

// Asks the template: it knows parts when their text comes out and their structure does not.
static bool probe_parts(const nb_chat *chat)
{
    json_t *messages =
        json_pack("[{s:s, s:[{s:s, s:s}]}]", "role", "user", "content", "type", "text", "text", "probed");
    json_t *context = json_pack("{s:o, s:b, s:n}", "messages", messages, "add_generation_prompt", 0, "tools");
    nb_error err;
    nb_buf out = {0};
    json_object_update(context, chat->special);
    bool ok = nb_template_render(chat->plain, context, 0, &out, &err) == NB_OK;
    nb_str text = nb_buf_str(&out);
    bool knows = ok && nb_str_find(text, NB_STR("probed"), 0) >= 0 && nb_str_find(text, NB_STR("'type'"), 0) < 0 &&
                 nb_str_find(text, NB_STR("\"type\""), 0) < 0;
    nb_buf_drop(&out);
    json_decref(context);
    return knows;
}

int nb_chat_open(const char *folder, const char *template_path, nb_chat **out, nb_error *err)
{
    nb_chat *chat = nb_alloc(sizeof(*chat));
    nb_arena *arena = nb_arena_open(0);
    chat->special = json_object();
    int code = folder ? open_from_folder(chat, folder, template_path, arena, err)
                      : open_file(template_path, &chat->plain, err);
    nb_arena_close(arena);
    if (code != NB_OK) {
        nb_chat_close(chat);
        return code;
    }
    chat->knows_parts = probe_parts(chat);
    *out = chat;
    return NB_OK;
}

void nb_chat_close(nb_chat *chat)
{
    if (!chat) return;
    nb_template_close(chat->plain);
    nb_template_close(chat->with_tools);
    json_decref(chat->special);
    free(chat);
}

// ---- Rendering

static void set(json_t *context, const char *key, const json_t *value)
{
    json_object_set_new(context, key, value ? json_deep_copy(value) : json_null());
}

// The variables of transformers' apply_chat_template: special tokens, then the request's own, then the conversation.
static json_t *make_context(const nb_chat *chat, const nb_chat_input *input, json_t *messages)
{
    json_t *context = json_deep_copy(chat->special), *value;
    const char *key;
    set(context, "documents", NULL);
    json_object_foreach((json_t *)input->variables, key, value) set(context, key, value);
    set(context, "tools", input->tools);
    json_object_set(context, "messages", messages);
    json_object_set_new(context, "add_generation_prompt", json_boolean(input->add_generation_prompt));
    return context;
}

static nb_str trim(nb_str s, bool left, bool right)
{
    static const char space[] = " \t\n\r\v\f";
    while (left && s.len && strchr(space, s.ptr[0])) s = nb_str_slice(s, 1, s.len);
    while (right && s.len && strchr(space, s.ptr[s.len - 1])) s.len--;
    return s;
}

static int64_t find_last(nb_str text, nb_str needle)
{
    int64_t last = -1;
    for (int64_t at = -1; (at = nb_str_find(text, needle, (size_t)(at + 1))) >= 0;) last = at;
    return last;
}

// Cuts what the template put behind the last message; white space at its end stays where the template kept it.
static int cut_after_final_message(const json_t *messages, nb_buf *out, size_t from, nb_error *err)
{
    nb_str final = nb_chat_messages_last_text(messages), text = nb_str_slice(nb_buf_str(out), from, out->len);
    nb_str bare = trim(final, true, true), whole = trim(final, true, false);
    int64_t at = bare.len ? find_last(text, bare) : -1;
    if (at < 0)
        return nb_error_set(err, NB_ERR_INPUT,
                            "continue_final_message: the last message has no text, or the chat template "
                            "does not show it as it is");
    bool kept = nb_str_starts(nb_str_slice(text, (size_t)at, text.len), whole);
    out->len = from + (size_t)at + (kept ? whole.len : bare.len);
    out->ptr[out->len] = 0;
    return NB_OK;
}

int nb_chat_render(const nb_chat *chat, const nb_chat_input *input, nb_buf *out, nb_error *err)
{
    json_t *messages = NULL;
    size_t from = out->len;
    if (input->continue_final_message && input->add_generation_prompt)
        return nb_error_set(err, NB_ERR_INPUT, "continue_final_message and add_generation_prompt exclude each other");
    NB_TRY(nb_chat_messages_prepare(input->messages, !chat->knows_parts, &messages, err));
    json_t *context = make_context(chat, input, messages);
    const nb_template *template = input->tools && chat->with_tools ? chat->with_tools : chat->plain;
    int code = nb_template_render(template, context, nb_clock_unix(), out, err);
    if (code == NB_OK && input->continue_final_message) code = cut_after_final_message(messages, out, from, err);
    json_decref(context);
    json_decref(messages);
    return code;
}
