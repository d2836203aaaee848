// See chat_answer.h.
#include "serve/chat_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/api_internal.h"
#include "text/reasoning.h"

// ---- The prompt

static int check_tools(const nb_api *api, const nb_chat_request *request, nb_request_error *error)
{
    if (request->tool_choice != NB_TOOL_CHOICE_AUTO || !request->tools) return NB_OK;
    if (api->options.auto_tool_choice && api->options.tool != NB_TOOL_NONE) return NB_OK;
    return nb_request_refuse(
        error, 400, "tool_choice", NULL,
        "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set");
}

int nb_chat_prompt(const nb_api *api, const nb_chat_request *request, const char *param, nb_ids *out,
                   nb_request_error *error)
{
    nb_buf prompt = {0};
    NB_TRY(nb_api_check_model(api, request->generation.model, error));
    NB_TRY(check_tools(api, request, error));
    int code = nb_api_render(api, request, param, &prompt, error);
    if (code == NB_OK) code = nb_api_encode(api, nb_buf_str(&prompt), param, out, error);
    nb_buf_drop(&prompt);
    nb_api_truncate(out, request->generation.truncate_prompt);
    return code;
}

// ---- Items

static nb_chat_item *last_item(nb_chat_answer *answer)
{
    return &answer->item[answer->n_item - 1];
}

static void close_item(nb_choice *choice, nb_chat_answer *answer)
{
    if (!answer->is_open) return;
    answer->is_open = false;
    if (choice->job->streaming) answer->stream->end(choice, last_item(answer));
}

static void open_item(nb_choice *choice, nb_chat_answer *answer, nb_part_kind kind, nb_str name)
{
    close_item(choice, answer);
    if (answer->n_item == answer->item_cap) {
        answer->item_cap = answer->item_cap ? 2 * answer->item_cap : 4;
        answer->item = nb_realloc(answer->item, sizeof(*answer->item) * (size_t)answer->item_cap);
    }
    answer->item[answer->n_item] = (nb_chat_item){.kind = kind, .index = answer->n_item};
    nb_chat_item *item = &answer->item[answer->n_item++];
    if (kind == NB_PART_TOOL_BEGIN) {
        item->name = nb_arena_str(choice->job->arena, name);
        item->i_call = answer->n_call++;
    }
    answer->is_open = true;
    if (choice->job->streaming) answer->stream->begin(choice, item);
}

static void add_text(nb_choice *choice, nb_chat_answer *answer, nb_str piece)
{
    nb_chat_item *item = last_item(answer);
    if (!choice->job->streaming || answer->stream->keeps_text) nb_buf_add_str(&item->text, piece);
    if (choice->job->streaming) answer->stream->text(choice, item, piece);
}

static bool is_unwanted(const nb_chat_request *request, const nb_part *part)
{
    if (part->kind == NB_PART_REASONING) return !request->include_reasoning;
    return part->kind != NB_PART_CONTENT && part->tool_index > 0 && !request->parallel_tool_calls;
}

static void on_part(void *user, const nb_part *part)
{
    nb_choice *choice = user;
    nb_chat_answer *answer = choice->own;
    if (is_unwanted(answer->request, part)) return;
    switch (part->kind) {
    case NB_PART_TOOL_BEGIN: open_item(choice, answer, part->kind, part->text); break;
    case NB_PART_TOOL_END: close_item(choice, answer); break;
    case NB_PART_TOOL_ARGUMENTS: add_text(choice, answer, part->text); break;
    case NB_PART_REASONING:
    case NB_PART_CONTENT:
        if (!answer->is_open || last_item(answer)->kind != part->kind)
            open_item(choice, answer, part->kind, (nb_str){0});
        add_text(choice, answer, part->text);
        break;
    }
}

// A message that is continued may be repeated in front of its continuation.
static void echo(nb_choice *choice, const nb_chat_request *request)
{
    const json_t *last = json_array_get(request->messages, json_array_size(request->messages) - 1);
    const json_t *role = json_object_get(last, "role"), *content = json_object_get(last, "content");
    if (!request->generation.echo || !json_is_string(content) || strcmp(json_string_value(role), "assistant")) return;
    on_part(choice, &(nb_part){.kind = NB_PART_CONTENT, .text = nb_field_text(content)});
}

void nb_chat_answer_open(nb_choice *choice, const nb_chat_request *request, const nb_chat_stream *stream)
{
    const nb_api_options *server = &choice->job->api->options;
    nb_chat_answer *answer = NB_ARENA_ARRAY(choice->job->arena, nb_chat_answer, 1);
    choice->own = answer;
    *answer = (nb_chat_answer){.request = request, .stream = stream};
    answer->parser = nb_output_parser_open(&(nb_output_parser_options){
        .reasoning = server->reasoning,
        .starts_in_reasoning = server->reasoning != NB_REASONING_NONE &&
                               nb_reasoning_think(server->tokenizer, choice->prompt) == NB_THINK_OPEN,
        .tool = request->tool_choice != NB_TOOL_CHOICE_NONE && request->tools ? nb_api_tool_format(choice->job->api)
                                                                              : NB_TOOL_NONE,
        .tools = request->tools,
    });
    echo(choice, request);
}

void nb_chat_answer_text(nb_choice *choice, nb_str piece)
{
    nb_chat_answer *answer = choice->own;
    nb_output_parser_feed(answer->parser, piece, on_part, choice);
    if (answer->is_open && last_item(answer)->kind == NB_PART_REASONING)
        answer->n_reasoning_tok = choice->usage.n_output;
}

void nb_chat_answer_end(nb_choice *choice)
{
    nb_chat_answer *answer = choice->own;
    nb_output_parser_end(answer->parser, on_part, choice);
    close_item(choice, answer);
    if (answer->n_call > 0 && !strcmp(choice->finish, "stop")) choice->finish = "tool_calls";
}

void nb_chat_answer_drop(nb_choice *choice)
{
    nb_chat_answer *answer = choice->own;
    if (!answer) return; // no event came
    nb_output_parser_close(answer->parser);
    for (int i = 0; i < answer->n_item; i++) nb_buf_drop(&answer->item[i].text);
    free(answer->item);
}

void nb_chat_item_id(const nb_choice *choice, const nb_chat_item *item, const char *prefix, char out[NB_CHAT_ID_BYTES])
{
    uint64_t id = atomic_load(&choice->id); // the engine never gives an id twice
    snprintf(out, NB_CHAT_ID_BYTES, "%s%08llx%08llx%02x", prefix, (unsigned long long)choice->job->created & 0xffffffff,
             (unsigned long long)id & 0xffffffff, item->index);
}
