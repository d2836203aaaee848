// Files of the local file system. Nothing here follows what a file says; parsers get (pointer, length).
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static int fail(const char *path, const char *what, nb_error *err)
{
    return nb_error_set(err, NB_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

static int map_descriptor(int fd, const char *path, nb_map *out, nb_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return fail(path, "cannot be examined", err);
    if (!S_ISREG(info.st_mode)) return nb_error_set(err, NB_ERR_IO, "%s: is not a regular file", path);
    if (info.st_size == 0) return NB_OK;
    void *ptr = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (ptr == MAP_FAILED) return fail(path, "cannot be mapped", err);
    *out = (nb_map){ptr, (size_t)info.st_size};
    return NB_OK;
}

int nb_map_open(const char *path, nb_map *out, nb_error *err)
{
    *out = (nb_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // not blocking: a pipe without a writer would hang us
    if (fd < 0) return fail(path, "cannot be opened", err);
    int code = map_descriptor(fd, path, out, err);
    close(fd);
    return code;
}

void nb_map_close(nb_map *map)
{
    if (map->ptr) munmap((void *)map->ptr, map->n_byte);
    *map = (nb_map){0};
}

// Reads to the end, whatever the file says about its size: pipes and /proc say 0.
static int read_all(int fd, const char *path, size_t limit, nb_buf *text, nb_error *err)
{
    for (;;) {
        nb_buf_reserve(text, 64 * 1024);
        ssize_t n = read(fd, text->ptr + text->len, text->cap - text->len - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(path, "cannot be read", err);
        if (n == 0) return NB_OK;
        text->len += (size_t)n;
        if (text->len > limit) {
            return nb_error_set(err, NB_ERR_INPUT, "%s: is larger than the %zu bytes that are accepted", path, limit);
        }
    }
}

int nb_file_read(const char *path, size_t limit, nb_arena *arena, nb_str *out, nb_error *err)
{
    *out = (nb_str){"", 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(path, "cannot be opened", err);
    nb_buf text = {0};
    int code = read_all(fd, path, limit, &text, err);
    close(fd);
    if (code == NB_OK) *out = nb_arena_str(arena, nb_buf_str(&text));
    nb_buf_drop(&text);
    return code;
}

static bool write_all(int fd, nb_str content)
{
    while (content.len) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        content = nb_str_slice(content, (size_t)n, content.len);
    }
    return true;
}

// The new name is only durable once the folder that holds it is.
static bool sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    free(folder);
    return ok;
}

static int replace_by(const char *temporary, const char *path, nb_str content, nb_error *err)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return fail(path, "cannot be created", err);
    bool ok = write_all(fd, content) && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    if (ok && rename(temporary, path) == 0 && sync_folder_of(path)) return NB_OK;
    int code = fail(path, "cannot be written", err);
    unlink(temporary);
    return code;
}

int nb_file_replace(const char *path, nb_str content, nb_error *err)
{
    nb_buf temporary = {0};
    nb_buf_printf(&temporary, "%s.%ld-%lld.tmp", path, (long)getpid(), (long long)nb_clock_us());
    int code = replace_by(temporary.ptr, path, content, err);
    nb_buf_drop(&temporary);
    return code;
}

bool nb_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool nb_file_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *nb_path_join(nb_arena *arena, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    if (n == 0 || name[0] == '/') return nb_arena_printf(arena, "%s", name);
    return nb_arena_printf(arena, "%s%s%s", folder, folder[n - 1] == '/' ? "" : "/", name);
}
