// A flat mapping read event by event with libyaml. See config_file.h.
#include "cli/config_file.h"

#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"

#define CONFIG_FILE_MAX ((size_t)1 << 20)

typedef struct reader {
    nb_arena *arena;
    const char *what;
    char **arg;
    int n_arg;
    const char *key; // NULL: a key is expected
    bool in_list;
    nb_error *err;
} reader;

static int refuse(const reader *r, const yaml_event_t *event, const char *why)
{
    return nb_error_set(r->err, NB_ERR_USAGE, "%s, line %zu: %s", r->what, event->start_mark.line + 1, why);
}

static int add_arg(reader *r, const yaml_event_t *event, char *arg)
{
    if (r->n_arg == NB_CONFIG_FILE_ARGS_MAX) return refuse(r, event, "too many options");
    r->arg[r->n_arg++] = arg;
    return NB_OK;
}

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(text, *list) == 0) return true;
    return false;
}

static int take_value(reader *r, const yaml_event_t *event, const char *text)
{
    static const char *const yes[] = {"true", "True", "yes", "on", NULL};
    static const char *const no[] = {"false", "False", "no", "off", "null", "~", "", NULL};
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && is_one_of(text, no)) return NB_OK;
    if (plain && is_one_of(text, yes)) return add_arg(r, event, nb_arena_printf(r->arena, "--%s", r->key));
    return add_arg(r, event, nb_arena_printf(r->arena, "--%s=%s", r->key, text));
}

static int take_scalar(reader *r, const yaml_event_t *event)
{
    const char *text = nb_arena_copy(r->arena, event->data.scalar.value, event->data.scalar.length);
    if (!r->key) {
        r->key = text;
        return NB_OK;
    }
    int code = take_value(r, event, text);
    if (!r->in_list) r->key = NULL;
    return code;
}

// `depth` counts open mappings: exactly one is allowed.
static int take_event(reader *r, const yaml_event_t *event, int *depth)
{
    switch (event->type) {
    case YAML_MAPPING_START_EVENT:
        if (++*depth > 1 || r->key)
            return refuse(r, event, "only option: value lines are understood, no nested mappings");
        return NB_OK;
    case YAML_MAPPING_END_EVENT: --*depth; return NB_OK;
    case YAML_SEQUENCE_START_EVENT:
        if (!r->key || r->in_list) return refuse(r, event, "a list must belong to an option");
        r->in_list = true;
        return NB_OK;
    case YAML_SEQUENCE_END_EVENT:
        r->in_list = false;
        r->key = NULL;
        return NB_OK;
    case YAML_SCALAR_EVENT:
        if (*depth == 0) return refuse(r, event, "expected option: value lines");
        return take_scalar(r, event);
    case YAML_ALIAS_EVENT: return refuse(r, event, "aliases are not supported");
    default: return NB_OK;
    }
}

int nb_config_file_parse(nb_str yaml, const char *what, nb_arena *arena, char **arg, int *n_arg, nb_error *err)
{
    reader r = {.arena = arena, .what = what, .arg = arg, .err = err};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return nb_error_set(err, NB_ERR_MEMORY, "%s: no memory to read it", what);
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.ptr, yaml.len);
    int code = NB_OK, depth = 0;
    for (bool end = false; !end && code == NB_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            code = nb_error_set(err, NB_ERR_USAGE, "%s, line %zu: not YAML: %s", what, parser.problem_mark.line + 1,
                                parser.problem ? parser.problem : "unknown");
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        code = take_event(&r, &event, &depth);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    *n_arg = r.n_arg;
    return code;
}

static const char *find_config(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) return argv[i + 1];
        if (strncmp(argv[i], "--config=", 9) == 0) return argv[i] + 9;
    }
    return NULL;
}

int nb_config_file_expand(int argc, char **argv, nb_arena *arena, int *out_argc, char ***out_argv, nb_error *err)
{
    *out_argc = argc;
    *out_argv = argv;
    const char *path = find_config(argc, argv);
    if (!path) return NB_OK;
    nb_str text;
    NB_TRY(nb_file_read(path, CONFIG_FILE_MAX, arena, &text, err));
    char **all = NB_ARENA_ARRAY(arena, char *, NB_CONFIG_FILE_ARGS_MAX + argc);
    int n;
    NB_TRY(nb_config_file_parse(text, path, arena, all, &n, err));
    memcpy(all + n, argv, sizeof *argv * (size_t)argc);
    *out_argc = n + argc;
    *out_argv = all;
    return NB_OK;
}
