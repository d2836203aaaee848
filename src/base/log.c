// The log. A line is built whole in memory and written with one call, so lines of several threads never mix. The
// settings are written once, before other threads start; that is the only state.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"

static struct {
    nb_log_level least;
    bool json;
} settings = {.least = NB_LOG_INFO};

static const char *const level_name[] = {"debug", "info", "warn", "error"};

void nb_log_open(nb_log_level least, bool json)
{
    settings.least = least;
    settings.json = json;
}

bool nb_log_wants(nb_log_level level)
{
    return level >= settings.least && level < NB_LOG_OFF;
}

static void add_time(nb_buf *line)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    nb_buf_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                  utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
}

// Any bytes become a JSON string: what is not UTF-8 becomes U+FFFD.
static void add_json_string(nb_buf *line, nb_str s)
{
    nb_buf_add_char(line, '"');
    for (size_t at = 0; at < s.len;) {
        uint32_t c = nb_utf8_decode(s, &at);
        char bytes[4];
        if (c == '"' || c == '\\') nb_buf_add_char(line, '\\');
        if (c < 0x20) {
            nb_buf_printf(line, "\\u%04x", c);
        } else {
            nb_buf_add(line, bytes, (size_t)nb_utf8_encode(c, bytes));
        }
    }
    nb_buf_add_char(line, '"');
}

// Takes the next name=value from `fields` at *at; a value in double quotes may hold spaces. False at the end.
static bool next_field(nb_str fields, size_t *at, nb_str *name, nb_str *value)
{
    while (*at < fields.len && fields.ptr[*at] == ' ') ++*at;
    int64_t equals = nb_str_find(fields, NB_STR("="), *at);
    if (equals < 0) return false;
    *name = nb_str_slice(fields, *at, (size_t)equals);
    size_t from = (size_t)equals + 1;
    bool quoted = from < fields.len && fields.ptr[from] == '"';
    int64_t end = nb_str_find(fields, quoted ? NB_STR("\"") : NB_STR(" "), from + quoted);
    size_t to = end < 0 ? fields.len : (size_t)end;
    *value = nb_str_slice(fields, from + quoted, to);
    *at = to < fields.len ? to + 1 : to;
    return true;
}

// A number stays one, so that a dashboard can compute with it; everything else is a string.
static bool is_number(nb_str s)
{
    json_t *value = s.len ? json_loadb(s.ptr, s.len, JSON_DECODE_ANY, NULL) : NULL;
    bool number = json_is_number(value);
    json_decref(value);
    return number;
}

static void add_json_line(nb_buf *line, nb_log_level level, const char *message, nb_str fields)
{
    nb_buf_add_c(line, "{\"time\":\"");
    add_time(line);
    nb_buf_printf(line, "\",\"level\":\"%s\",\"message\":", level_name[level]);
    add_json_string(line, nb_str_from(message));
    nb_str name, value;
    for (size_t at = 0; next_field(fields, &at, &name, &value);) {
        nb_buf_add_char(line, ',');
        add_json_string(line, name);
        nb_buf_add_char(line, ':');
        if (is_number(value)) {
            nb_buf_add_str(line, value);
        } else {
            add_json_string(line, value);
        }
    }
    nb_buf_add_char(line, '}');
}

// Control characters from outside must not forge a line or move a terminal's cursor.
static void add_plain(nb_buf *line, nb_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        nb_buf_add_char(line, c < 0x20 || c == 0x7f ? ' ' : s.ptr[i]);
    }
}

static void add_plain_line(nb_buf *line, nb_log_level level, const char *message, nb_str fields)
{
    add_time(line);
    nb_buf_printf(line, " %-5s ", level_name[level]);
    add_plain(line, nb_str_from(message));
    if (fields.len) nb_buf_add_char(line, ' ');
    add_plain(line, fields);
}

void nb_log(nb_log_level level, const char *message, const char *fields, ...)
{
    if (!nb_log_wants(level)) return;
    char *text = NULL;
    if (fields) {
        va_list args;
        va_start(args, fields);
        if (vasprintf(&text, fields, args) < 0) text = NULL;
        va_end(args);
    }
    nb_buf line = {0};
    (settings.json ? add_json_line : add_plain_line)(&line, level, message, nb_str_from(text));
    nb_buf_add_char(&line, '\n');
    // A log that cannot be written must not stop the program.
    ssize_t written = write(STDERR_FILENO, line.ptr, line.len);
    (void)written;
    nb_buf_drop(&line);
    free(text);
}
