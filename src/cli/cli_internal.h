// Shared by the files that make command lines, help, completion and manual pages out of the tables.
#ifndef NB_CLI_INTERNAL_H
#define NB_CLI_INTERNAL_H

#include "base/str.h"
#include "cli/command.h"

// Collects the name nearest to `name` among those offered, if any is near enough for a typing error.
typedef struct nb_nearest {
    const char *name;
    const char *best; // NULL: none is near
    int distance;
} nb_nearest;
void nb_nearest_offer(nb_nearest *nearest, const char *candidate);

// Converts `text` as the row says and stores it in option->value. `text` is NULL for a flag or an ignored option that
// was given without a value.
int nb_option_store(const nb_option *option, const char *text, nb_error *err);

bool nb_option_takes_value(const nb_option *option); // a value must follow
bool nb_option_is_set(const nb_option *option);      // its argument is a closed set: "auto|scalar|avx2"

// Calls `each` for every name of a closed set.
void nb_option_each_choice(const nb_option *option, void (*each)(nb_str choice, void *user), void *user);

// The default as the user would type it, appended; nothing for flags, lists and empty strings.
void nb_option_default(const nb_option *option, nb_buf *out);

// The text of `nibble COMMAND --help`.
void nb_usage_write(const nb_command *command, nb_buf *out);

// Of one command, and of the program as a list of its commands.
void nb_man_command(const nb_command *command, nb_buf *out);
void nb_man_program(nb_buf *out);
void nb_markdown_command(const nb_command *command, nb_buf *out);
void nb_markdown_program(nb_buf *out);

#endif
