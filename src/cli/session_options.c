// See session_options.h.
#include "cli/session_options.h"

#include <stdio.h>
#include <string.h>

#define TEXT_FILE_MAX ((size_t)1 << 30)

int nb_command_open_model(const char *name, const nb_session_options *options, nb_session *out, nb_error *err)
{
    const char *folder;
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    return nb_session_open_model(folder, options, out, err);
}

// Formats are read from the files, whoever wrote them for what loader.
static void announce_load_format(const char *load_format)
{
    if (strcmp(load_format, "auto") != 0 && strcmp(load_format, "dummy") != 0)
        fprintf(stderr, "nibble: --load-format is ignored: files are mapped, whatever their loader\n");
}

int nb_command_open(const char *name, const nb_session_options *options, nb_session *out, nb_error *err)
{
    const char *folder;
    nb_session_options o = *options;
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    announce_load_format(o.load_format);
    if (o.tokenizer) NB_TRY(nb_command_checkpoint(o.tokenizer, &o.tokenizer, err));
    return nb_session_open(folder, &o, out, err);
}

static int read_stream(FILE *file, const char *name, nb_buf *out, nb_error *err)
{
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) {
        if (out->len + n > TEXT_FILE_MAX) return nb_error_set(err, NB_ERR_LIMIT, "%s: longer than 1 GiB", name);
        nb_buf_add(out, block, n);
    }
    return ferror(file) ? nb_error_set(err, NB_ERR_IO, "%s: cannot read", name) : NB_OK;
}

int nb_command_ids(const nb_session *session, const char *path, nb_ids *out, nb_error *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!file) return nb_error_set(err, NB_ERR_IO, "%s: cannot open the text", path);
    nb_buf text = {0};
    int code = read_stream(file, path, &text, err);
    if (file != stdin) fclose(file);
    if (code == NB_OK) code = nb_tokenizer_encode(session->tokenizer, nb_buf_str(&text), false, out, err);
    nb_buf_drop(&text);
    return code;
}
