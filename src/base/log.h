// The log: one line an event on stderr, either readable or as JSON. Fields are name/value pairs after the message, so
// that a dashboard can use them: nb_log(NB_LOG_INFO, "request done", "id=%s tokens=%d", id, n). Thread safe.
#ifndef NB_LOG_H
#define NB_LOG_H

#include <stdbool.h>

typedef enum nb_log_level { NB_LOG_DEBUG, NB_LOG_INFO, NB_LOG_WARN, NB_LOG_ERROR, NB_LOG_OFF } nb_log_level;

void nb_log_open(nb_log_level least, bool json); // before other threads start
bool nb_log_wants(nb_log_level level);
// `fields` is a printf format of space-separated name=value pairs (a value with spaces in double quotes), or NULL.
void nb_log(nb_log_level level, const char *message, const char *fields, ...) __attribute__((format(printf, 3, 4)));

#endif
