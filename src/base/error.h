// Errors for people. Every function that can fail returns an int, 0 on success and one of the codes below otherwise,
// and writes one sentence into the caller's nb_error: what was wrong, in which file or field, and what to do about it.
#ifndef NB_ERROR_H
#define NB_ERROR_H

enum {
    NB_OK = 0,
    NB_ERR_INPUT = -1,  // what we were given is wrong: a file, a field, a request
    NB_ERR_IO = -2,     // the system refused: not found, no permission, disk full
    NB_ERR_MEMORY = -3, // host or device memory ran out
    NB_ERR_LIMIT = -4,  // a named limit was reached; trying again later may work
    NB_ERR_DEVICE = -5, // the device failed; it cannot be used any more
    NB_ERR_USAGE = -6,  // the command line is wrong
};

typedef struct nb_error {
    int code;
    char text[1024]; // one sentence, no newline at the end; cut at the end if it would not fit
} nb_error;

// Sets the message and returns `code`, so that `return nb_error_set(err, NB_ERR_INPUT, "...")` works. `err` may be
// NULL.
int nb_error_set(nb_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts context in front of the message that is already there ("model.safetensors: " ...) and returns its code.
int nb_error_wrap(nb_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Forwards a failure of `call` to the caller.
#define NB_TRY(call)                                  \
    do {                                              \
        int nb_try_code = (call);                     \
        if (nb_try_code != NB_OK) return nb_try_code; \
    } while (0)

#endif
