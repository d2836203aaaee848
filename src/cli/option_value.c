// From the text of an option to its value, and back for the help.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "cli/cli_internal.h"

bool nb_option_takes_value(const nb_option *option)
{
    return option->kind != NB_OPTION_FLAG && option->kind != NB_OPTION_IGNORED;
}

bool nb_option_is_set(const nb_option *option)
{
    return option->argument && strchr(option->argument, '|');
}

void nb_option_each_choice(const nb_option *option, void (*each)(nb_str choice, void *user), void *user)
{
    nb_str set = nb_str_from(option->argument);
    for (size_t at = 0; at <= set.len;) {
        int64_t bar = nb_str_find(set, NB_STR("|"), at);
        size_t end = bar < 0 ? set.len : (size_t)bar;
        each(nb_str_slice(set, at, end), user);
        at = end + 1;
    }
}

typedef struct membership {
    nb_str text;
    bool found;
} membership;

static void compare_choice(nb_str choice, void *user)
{
    membership *m = user;
    m->found = m->found || nb_str_equal(choice, m->text);
}

static int bad(const nb_option *option, const char *text, const char *wanted, nb_error *err)
{
    return nb_error_set(err, NB_ERR_USAGE, "--%s: '%s' is not %s", option->name, text, wanted);
}

static int store_flag(const nb_option *option, const char *text, nb_error *err)
{
    bool on = !text || strcmp(text, "true") == 0;
    if (!on && strcmp(text, "false") != 0) return bad(option, text, "true or false", err);
    *(bool *)option->value = on;
    return NB_OK;
}

static int store_int(const nb_option *option, const char *text, nb_error *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno) return bad(option, text, "an integer", err);
    *(int64_t *)option->value = value;
    return NB_OK;
}

static int store_double(const nb_option *option, const char *text, nb_error *err)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) return bad(option, text, "a number", err);
    *(double *)option->value = value;
    return NB_OK;
}

// What a suffix multiplies by: "" 1, "K" 1000, "Ki" 1024, ... with an optional B behind it; 0 if it is none.
static double unit_bytes(const char *suffix)
{
    static const char letters[] = "KMGT";
    if (!*suffix || strcasecmp(suffix, "B") == 0) return 1;
    const char *letter = strchr(letters, suffix[0] & ~0x20);
    if (!letter) return 0;
    bool binary = suffix[1] == 'i';
    const char *rest = suffix + 1 + binary;
    if (*rest && strcasecmp(rest, "B") != 0) return 0;
    return pow(binary ? 1024 : 1000, (double)(letter - letters + 1));
}

static int store_bytes(const nb_option *option, const char *text, nb_error *err)
{
    char *end;
    double value = strtod(text, &end);
    double unit = end == text ? 0 : unit_bytes(end);
    bool fits = value >= 0 && value * unit < 9e18; // false for NaN too
    if (unit == 0 || !fits) return bad(option, text, "a size like 80G, 512M or 1.5Gi", err);
    *(int64_t *)option->value = (int64_t)(value * unit);
    return NB_OK;
}

// The array lives until the end of the program, like argv.
static int store_list(const nb_option *option, const char *text)
{
    nb_option_list *list = option->value;
    list->item = nb_realloc(list->item, sizeof *list->item * (size_t)(list->n + 1));
    list->item[list->n++] = text;
    return NB_OK;
}

int nb_option_store(const nb_option *option, const char *text, nb_error *err)
{
    if (nb_option_is_set(option) && option->kind != NB_OPTION_IGNORED) {
        membership m = {nb_str_from(text), false};
        nb_option_each_choice(option, compare_choice, &m);
        if (!m.found) {
            return nb_error_set(err, NB_ERR_USAGE, "--%s: '%s' is not one of %s", option->name, text, option->argument);
        }
    }
    switch (option->kind) {
    case NB_OPTION_FLAG: return store_flag(option, text, err);
    case NB_OPTION_INT: return store_int(option, text, err);
    case NB_OPTION_BYTES: return store_bytes(option, text, err);
    case NB_OPTION_DOUBLE: return store_double(option, text, err);
    case NB_OPTION_STRING: *(const char **)option->value = text; return NB_OK;
    case NB_OPTION_LIST: return store_list(option, text);
    case NB_OPTION_IGNORED: return NB_OK;
    }
    return NB_OK;
}

// Divides by `step` while nothing is lost; returns how often.
static int reduce(int64_t *n, int64_t step)
{
    int k = 0;
    for (; k < 4 && *n >= step && *n % step == 0; k++) *n /= step;
    return k;
}

static void write_bytes(int64_t n_byte, nb_buf *out)
{
    static const char *const unit[2][5] = {{"", "K", "M", "G", "T"}, {"", "Ki", "Mi", "Gi", "Ti"}};
    int64_t decimal = n_byte, binary = n_byte;
    int k_decimal = reduce(&decimal, 1000), k_binary = reduce(&binary, 1024);
    bool use_binary = binary < decimal;
    nb_buf_printf(out, "%lld%s", (long long)(use_binary ? binary : decimal),
                  unit[use_binary][use_binary ? k_binary : k_decimal]);
}

void nb_option_default(const nb_option *option, nb_buf *out)
{
    switch (option->kind) {
    case NB_OPTION_INT: nb_buf_printf(out, "%lld", (long long)*(int64_t *)option->value); break;
    case NB_OPTION_BYTES: write_bytes(*(int64_t *)option->value, out); break;
    case NB_OPTION_DOUBLE: nb_buf_printf(out, "%g", *(double *)option->value); break;
    case NB_OPTION_STRING: nb_buf_add_c(out, *(const char **)option->value); break;
    default: break;
    }
}
