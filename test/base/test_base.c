// base: errors, arenas, files, the log, the clock.
#include "support/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

static void errors_are_one_line_and_fit(void **state)
{
    (void)state;
    nb_error err = {0};
    assert_int_equal(nb_error_set(&err, NB_ERR_INPUT, "bad %s", "a\nb"), NB_ERR_INPUT);
    assert_string_equal(err.text, "bad a b");
    assert_int_equal(nb_error_wrap(&err, "%s: ", "file"), NB_ERR_INPUT);
    assert_string_equal(err.text, "file: bad a b");
    nb_error_set(&err, NB_ERR_IO, "again: %s", err.text);
    assert_string_equal(err.text, "again: file: bad a b");
    nb_error_set(&err, NB_ERR_IO, "%2000d", 1);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(nb_error_wrap(&err, "%2000d", 1), NB_ERR_IO);
    assert_int_equal(nb_error_set(NULL, NB_ERR_LIMIT, "x"), NB_ERR_LIMIT);
}

static void arena_memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(100);
    for (int round = 0; round < 3; round++) {
        for (size_t n = 0; n < 300; n += 7) {
            uint8_t *p = nb_arena_alloc(arena, n);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
            memset(p, 0xAA, n);
        }
        nb_arena_reset(arena);
    }
    assert_string_equal(nb_arena_printf(arena, "%s-%d", "a", 5), "a-5");
    nb_str copy = nb_arena_str(arena, NB_STR("x\0y"));
    assert_memory_equal(copy.ptr, "x\0y", 4);
    assert_int_equal(nb_arena_str(arena, (nb_str){0}).len, 0);
    nb_arena_close(arena);
    nb_arena_close(NULL);
}

static void large_memory_may_be_refused(void **state)
{
    (void)state;
    uint8_t *p = nb_alloc_large(3 << 20);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_int_equal(p[(3 << 20) - 1], 0);
    nb_free_large(p, 3 << 20);
    assert_null(nb_alloc_large((size_t)1 << 60));
}

static const char *tmp_path(const char *name)
{
    static char path[2048];
    snprintf(path, sizeof path, "%s/%s", nb_test_tmp(), name);
    return path;
}

static void files_are_replaced_whole(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    nb_error err = {0};
    nb_str text;
    const char *path = tmp_path("a.txt");
    nb_test_ok(nb_file_replace(path, NB_STR("old"), &err), &err);
    nb_test_ok(nb_file_replace(path, NB_STR("new text"), &err), &err);
    nb_test_ok(nb_file_read(path, 8, arena, &text, &err), &err);
    assert_string_equal(text.ptr, "new text");
    nb_test_fails(nb_file_read(path, 7, arena, &text, &err), &err, "larger than the 7 bytes");
    nb_test_fails(nb_file_replace(tmp_path("no/such"), text, &err), &err, "no/such");
    assert_true(nb_file_exists(tmp_path("a.txt")) && !nb_file_is_dir(tmp_path("a.txt")));
    assert_true(nb_file_is_dir(nb_test_tmp()));
    nb_arena_close(arena);
}

static void maps_show_the_file(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_map map;
    const char *path = tmp_path("m");
    nb_test_ok(nb_file_replace(path, NB_STR("abc"), &err), &err);
    nb_test_ok(nb_map_open(path, &map, &err), &err);
    assert_int_equal(map.n_byte, 3);
    assert_memory_equal(map.ptr, "abc", 3);
    nb_map_close(&map);
    nb_test_ok(nb_file_replace(path, NB_STR(""), &err), &err);
    nb_test_ok(nb_map_open(path, &map, &err), &err);
    assert_null(map.ptr);
    nb_map_close(&map);
    nb_test_fails(nb_map_open(nb_test_tmp(), &map, &err), &err, "not a regular file");
    nb_test_fails(nb_map_open(tmp_path("absent"), &map, &err), &err, "No such file");
    assert_int_equal(mkfifo(tmp_path("pipe"), 0600), 0);
    nb_test_fails(nb_map_open(tmp_path("pipe"), &map, &err), &err, "not a regular file");
}

static void paths_join_with_one_slash(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    assert_string_equal(nb_path_join(arena, "a", "b"), "a/b");
    assert_string_equal(nb_path_join(arena, "a/", "b"), "a/b");
    assert_string_equal(nb_path_join(arena, "", "b"), "b");
    assert_string_equal(nb_path_join(arena, "a", "/b"), "/b");
    nb_arena_close(arena);
}

// Runs one nb_log call with stderr in a file; returns what was written.
static nb_str logged(nb_arena *arena, bool json, nb_log_level level)
{
    const char *path = tmp_path("log");
    int saved = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    nb_log_open(NB_LOG_INFO, json);
    nb_log(level, "request \"done\"\n", "id=%s n=%d why=\"%s\"", "r\x01-\xff", 12, "client gone");
    nb_log_open(NB_LOG_INFO, false);
    dup2(saved, STDERR_FILENO);
    close(fd);
    close(saved);
    nb_str text;
    nb_error err = {0};
    nb_test_ok(nb_file_read(path, 4096, arena, &text, &err), &err);
    return text;
}

static void log_lines_are_json_when_asked(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    nb_error err = {0};
    json_t *line;
    nb_test_ok(nb_json_parse(logged(arena, true, NB_LOG_WARN), "log", &line, &err), &err);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(line, "message")), "request \"done\"\n");
    assert_string_equal(json_string_value(json_object_get(line, "id")), "r\x01-\xEF\xBF\xBD");
    assert_int_equal(json_integer_value(json_object_get(line, "n")), 12);
    assert_string_equal(json_string_value(json_object_get(line, "why")), "client gone");
    json_decref(line);
    nb_arena_close(arena);
}

static void plain_log_is_one_line_without_control_characters(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    nb_str text = logged(arena, false, NB_LOG_INFO);
    assert_int_equal(nb_str_find(text, NB_STR("\n"), 0), text.len - 1);
    assert_int_equal(nb_str_find(text, NB_STR("\x01"), 0), -1);
    assert_true(nb_str_find(text, NB_STR("n=12 why=\"client gone\""), 0) > 0);
    assert_int_equal(logged(arena, false, NB_LOG_DEBUG).len, 0);
    assert_false(nb_log_wants(NB_LOG_OFF));
    nb_arena_close(arena);
}

static void the_clock_does_not_run_backwards(void **state)
{
    (void)state;
    int64_t last = nb_clock_us();
    for (int i = 0; i < 1000; i++) {
        int64_t now = nb_clock_us();
        assert_true(now >= last);
        last = now;
    }
    assert_true(nb_clock_unix() > 1700000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_one_line_and_fit),
        cmocka_unit_test(arena_memory_is_zeroed_and_aligned),
        cmocka_unit_test(large_memory_may_be_refused),
        cmocka_unit_test(files_are_replaced_whole),
        cmocka_unit_test(maps_show_the_file),
        cmocka_unit_test(paths_join_with_one_slash),
        cmocka_unit_test(log_lines_are_json_when_asked),
        cmocka_unit_test(plain_log_is_one_line_without_control_characters),
        cmocka_unit_test(the_clock_does_not_run_backwards),
    };
    return nb_test_run("base", tests);
}
