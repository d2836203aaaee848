// Global functions of templates, and the look-up in tables of natives.
#include "text/jinja_internal.h"

#include <stdio.h>
#include <time.h>

const nb_native *nb_jinja_find(const nb_native *table, nb_str name)
{
    for (; table->name; table++)
        if (nb_str_equal_c(name, table->name)) return table;
    return NULL;
}

static nb_value global_range(nb_jinja *j, nb_value self, const nb_args *args)
{
    (void)self;
    const nb_value *a = args->item;
    bool one = a[1].kind == NB_V_ABSENT;
    int64_t start = one ? 0 : nb_value_need_int(j, a[0], "range()'s start");
    int64_t stop = nb_value_need_int(j, a[one ? 0 : 1], "range()'s stop");
    int64_t step = a[2].kind == NB_V_ABSENT ? 1 : nb_value_need_int(j, a[2], "range()'s step");
    if (step == 0) nb_jinja_fail(j, "range() arg 3 must not be zero");
    // In 128 bits the distance of any two bounds fits.
    __int128 distance = step > 0 ? (__int128)stop - start : (__int128)start - stop,
             size = step > 0 ? step : -(__int128)step;
    __int128 n = distance > 0 ? (distance + size - 1) / size : 0;
    if (n > NB_JINJA_RANGE_MAX) nb_jinja_fail(j, "range too big: at most %d items", NB_JINJA_RANGE_MAX);
    nb_value *item = NB_JINJA_ARRAY(j, nb_value, n);
    for (int64_t i = 0; i < (int64_t)n; i++) item[i] = nb_value_int(start + i * step);
    nb_jinja_charge(j, (size_t)n / 4);
    char shown[80];
    int len = step == 1 ? snprintf(shown, sizeof(shown), "range(%lld, %lld)", (long long)start, (long long)stop)
                        : snprintf(shown, sizeof(shown), "range(%lld, %lld, %lld)", (long long)start, (long long)stop,
                                   (long long)step);
    nb_seq *seq = NB_JINJA_ARRAY(j, nb_seq, 1);
    *seq = (nb_seq){.item = item, .n = (int64_t)n, .shown = nb_arena_str(j->arena, (nb_str){shown, (size_t)len})};
    return (nb_value){.kind = NB_V_RANGE, .seq = seq};
}

static void add_pairs(nb_jinja *j, nb_dict *dict, nb_value from)
{
    nb_seq items = nb_value_items(j, from);
    for (int64_t i = 0; i < items.n; i++) {
        if (from.kind == NB_V_DICT) {
            nb_value_set(j, dict, items.item[i], from.dict->item[i]);
            continue;
        }
        nb_seq pair = nb_value_items(j, items.item[i]);
        if (pair.n != 2) nb_jinja_fail(j, "dictionary update sequence needs pairs");
        nb_value_set(j, dict, pair.item[0], pair.item[1]);
    }
}

static nb_value make_dict(nb_jinja *j, const nb_args *args)
{
    nb_value v = nb_value_dict(j, args->n_named);
    if (args->n > 1) nb_jinja_fail(j, "dict expected at most 1 argument, got %d", (int)args->n);
    if (args->n == 1) add_pairs(j, v.dict, args->item[0]);
    for (int64_t i = 0; i < args->n_named; i++)
        nb_value_set(j, v.dict, nb_value_str(args->named[i].name), args->named[i].value);
    return v;
}

static nb_value global_dict(nb_jinja *j, nb_value self, const nb_args *args)
{
    (void)self;
    return make_dict(j, args);
}

static nb_value global_namespace(nb_jinja *j, nb_value self, const nb_args *args)
{
    (void)self;
    nb_value v = make_dict(j, args);
    v.kind = NB_V_NAMESPACE;
    return v;
}

static nb_value global_raise_exception(nb_jinja *j, nb_value self, const nb_args *args)
{
    (void)self;
    nb_jinja_raise(j, nb_text_of(j, args->item[0]));
}

static nb_value global_strftime_now(nb_jinja *j, nb_value self, const nb_args *args)
{
    (void)self;
    char out[1024];
    struct tm tm;
    time_t now = (time_t)j->now;
    nb_str format = nb_value_need_str(j, args->item[0], "strftime_now()'s format");
    if (!gmtime_r(&now, &tm)) nb_jinja_fail(j, "the time is out of range");
    const char *z = nb_arena_copy(j->arena, format.ptr, format.len); // a final NUL
    size_t n = strftime(out, sizeof(out), z, &tm);
    if (n == 0 && format.len > 0)
        nb_jinja_fail(j, "strftime_now() gave no text, or more than %d bytes", (int)sizeof(out));
    return nb_value_str(nb_arena_str(j->arena, (nb_str){out, n}));
}

const nb_native nb_jinja_globals[] = {
    {"range", "start ?stop ?step", global_range},    {"dict", NULL, global_dict},
    {"namespace", NULL, global_namespace},           {"raise_exception", "message", global_raise_exception},
    {"strftime_now", "format", global_strftime_now}, {0},
};
