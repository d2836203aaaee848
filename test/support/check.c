// Running, paths and comparisons of check.h. Arrays of published vectors are in npy.c.
#include "support/check.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { N_PATH = 16, PATH_BYTES = 1024, JSON_LIMIT_BYTES = 64 << 20 };

static const char *path_in(const char *folder, const char *relative)
{
    static char paths[N_PATH][PATH_BYTES];
    static int next;
    char *path = paths[next++ % N_PATH];
    snprintf(path, PATH_BYTES, "%s/%s", folder, relative);
    return path;
}

const char *nb_test_path(const char *relative)
{
    return path_in(NB_SOURCE_DIR, relative);
}

const char *nb_test_shared(const char *relative)
{
    const char *path = path_in(NB_SHARED_DIR, relative);
    return nb_file_exists(path) ? path : NULL;
}

json_t *nb_test_json(const char *path)
{
    nb_error err = {0};
    nb_arena *arena = nb_arena_open(0);
    nb_str text;
    json_t *value = NULL;
    int code = nb_file_read(path, JSON_LIMIT_BYTES, arena, &text, &err);
    if (code == NB_OK) code = nb_json_parse(text, path, &value, &err);
    nb_arena_close(arena);
    nb_test_ok(code, &err);
    return value;
}

void nb_test_close(const char *what, const float *a, const float *b, int64_t n, double tolerance)
{
    double worst = -1;
    int64_t where = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (isnan(difference) && a[i] != b[i]) difference = INFINITY; // NaN, or infinities of opposite sign
        if (isnan(difference)) continue;                              // the same infinity on both sides
        if (difference > worst) {
            worst = difference;
            where = i;
        }
    }
    if (worst <= tolerance) return;
    fail_msg("%s: largest difference %g (allowed %g) at %lld of %lld: %.9g and %.9g", what, worst, tolerance,
             (long long)where, (long long)n, a[where], b[where]);
}

void nb_test_ok(int code, const nb_error *err)
{
    if (code != NB_OK) fail_msg("failed with code %d: %s", code, err ? err->text : "(no message)");
}

void nb_test_fails(int code, const nb_error *err, const char *part)
{
    if (code == NB_OK) fail_msg("succeeded, but should fail with \"%s\"", part);
    if (!strstr(err->text, part)) fail_msg("the message \"%s\" does not contain \"%s\"", err->text, part);
}

static char tmp_folder[PATH_BYTES];
static pid_t tmp_owner;

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tmp(void)
{
    // A child that a test forked must not take the folder away.
    if (getpid() == tmp_owner) nftw(tmp_folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *nb_test_tmp(void)
{
    if (tmp_folder[0]) return tmp_folder;
    const char *base = getenv("TMPDIR");
    snprintf(tmp_folder, sizeof tmp_folder, "%s/nibble-test-XXXXXX", base && base[0] ? base : "/tmp");
    if (!mkdtemp(tmp_folder)) fail_msg("%s cannot be created", tmp_folder);
    tmp_owner = getpid();
    atexit(remove_tmp);
    return tmp_folder;
}

// cmocka tells how many tests failed but not how many were skipped, so each test is wrapped: its setup notes that it
// begins, and only a test that returns has passed (skip and failures leave by longjmp).
static const struct CMUnitTest *current, *upcoming;
static int n_passed;

static int begin(void **state)
{
    current = upcoming++;
    return current->setup_func ? current->setup_func(state) : 0;
}

static void run_current(void **state)
{
    current->test_func(state);
    n_passed++;
}

int nb_test_run_group(const char *name, const struct CMUnitTest *tests, size_t n)
{
    struct CMUnitTest *wrapped = nb_alloc(n * sizeof *wrapped);
    for (size_t i = 0; i < n; i++) {
        wrapped[i] = tests[i];
        wrapped[i].test_func = run_current;
        wrapped[i].setup_func = begin;
    }
    upcoming = tests;
    n_passed = 0;
    int n_failed = _cmocka_run_group_tests(name, wrapped, n, NULL, NULL);
    free(wrapped);
    printf("%d passed, %d failed, %d skipped\n", n_passed, n_failed, (int)n - n_passed - n_failed);
    return n_failed != 0;
}
