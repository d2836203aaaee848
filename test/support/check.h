// Shared by all tests: cmocka with its includes in the right order, paths of test data, and comparisons that say what
// differs. A test program ends with `return nb_test_run("name", tests)`, which prints "N passed, N failed, N skipped".
#ifndef NB_TEST_CHECK_H
#define NB_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"

// Path of a file of the project, or of the published vectors; static memory of the last few calls.
const char *nb_test_path(const char *relative);   // "test/data/..."
const char *nb_test_shared(const char *relative); // "golden/...", or NULL when it is not there: then skip()

// Reads a JSON file whole; fails the test if it cannot.
json_t *nb_test_json(const char *path);

// .npy arrays of version 1.0: f4, i4, i8, u2 (as bf16 bits); fails the test on anything else.
typedef struct nb_npy {
    char dtype[8];
    int n_dim;
    int64_t dim[8];
    int64_t n;
    void *data; // malloc'ed
} nb_npy;
nb_npy nb_test_npy(const char *path);
float *nb_test_npy_f32(const nb_npy *array); // malloc'ed; bf16 words are widened

// Largest absolute difference; prints where it is and fails when it is over `tolerance` or either side is NaN.
void nb_test_close(const char *what, const float *a, const float *b, int64_t n, double tolerance);

// A call must succeed (prints the message if not) / fail with a message that contains `part`.
void nb_test_ok(int code, const nb_error *err);
void nb_test_fails(int code, const nb_error *err, const char *part);

// Fresh folder under the system's temporary folder, removed at exit.
const char *nb_test_tmp(void);

struct CMUnitTest;
int nb_test_run_group(const char *name, const struct CMUnitTest *tests, size_t n);
#define nb_test_run(name, tests) nb_test_run_group((name), (tests), sizeof(tests) / sizeof((tests)[0]))

#endif
