// The writer's promise: a folder of the final name is whole, and a broken run leaves none.
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "quantize/shard_writer.h"

static char folder[512];
static nb_error err;

static nb_shard_writer *open_new(const char *name, int64_t shard_bytes)
{
    nb_shard_writer *w = NULL;
    snprintf(folder, sizeof folder, "%s/%s", nb_test_tmp(), name);
    nb_test_ok(nb_shard_writer_open(folder, shard_bytes, &w, &err), &err);
    return w;
}

static void declare_two(nb_shard_writer *w)
{
    nb_shard_writer_declare(w, "a.weight", NB_DTYPE_F32, 2, (int64_t[]){2, 3});
    nb_shard_writer_declare(w, "b.scale", NB_DTYPE_F32, 0, NULL);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    float a[6] = {1, 2, 3, 4, 5, 6}, b = 7;
    nb_shard_writer *w = open_new("whole", 1 << 20);
    declare_two(w);
    assert_int_equal(nb_shard_writer_total(w), 28);
    nb_test_ok(nb_shard_writer_add(w, a, sizeof a, &err), &err);
    nb_test_ok(nb_shard_writer_add(w, &b, sizeof b, &err), &err);
    nb_test_ok(nb_shard_writer_finish(w, &err), &err);
    nb_shard_writer_close(w);
    char path[600];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    nb_map map;
    nb_test_ok(nb_map_open(path, &map, &err), &err);
    nb_arena *arena = nb_arena_open(0);
    nb_safetensors tensors;
    nb_test_ok(nb_safetensors_parse(map.ptr, map.n_byte, 0, arena, &tensors, &err), &err);
    assert_int_equal(tensors.n_tensor, 2);
    for (int64_t i = 0; i < 2; i++) {
        const nb_tensor *t = &tensors.tensor[i];
        bool is_a = nb_str_equal_c(t->name, "a.weight");
        assert_int_equal(t->n_dim, is_a ? 2 : 0);
        assert_memory_equal(t->data, is_a ? (void *)a : (void *)&b, t->n_byte);
    }
    nb_arena_close(arena);
    nb_map_close(&map);
}

static void small_shards_come_with_an_index(void **state)
{
    (void)state;
    float a[6] = {0}, b = 7;
    char path[600];
    nb_shard_writer *w = open_new("split", 8);
    declare_two(w);
    nb_test_ok(nb_shard_writer_add(w, a, sizeof a, &err), &err);
    nb_test_ok(nb_shard_writer_add(w, &b, sizeof b, &err), &err);
    nb_test_ok(nb_shard_writer_finish(w, &err), &err);
    nb_shard_writer_close(w);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    json_t *index = nb_test_json(path);
    const json_t *map = json_object_get(index, "weight_map");
    assert_string_equal(json_string_value(json_object_get(map, "a.weight")), "model-00001-of-00002.safetensors");
    assert_string_equal(json_string_value(json_object_get(map, "b.scale")), "model-00002-of-00002.safetensors");
    json_decref(index);
}

static void an_unfinished_folder_is_not_there(void **state)
{
    (void)state;
    float a[6] = {0};
    char partial[600];
    nb_shard_writer *w = open_new("broken", 1 << 20);
    snprintf(partial, sizeof partial, "%s.partial", folder);
    declare_two(w);
    nb_test_ok(nb_shard_writer_add(w, a, sizeof a, &err), &err);
    assert_false(nb_file_exists(folder));
    assert_true(nb_file_exists(partial));
    nb_test_fails(nb_shard_writer_finish(w, &err), &err, "b.scale");
    nb_shard_writer_close(w);
    assert_false(nb_file_exists(folder));
    assert_false(nb_file_exists(partial));
}

static void an_existing_folder_is_refused(void **state)
{
    (void)state;
    nb_shard_writer *w;
    nb_test_fails(nb_shard_writer_open(nb_test_tmp(), 1, &w, &err), &err, "is there already");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(small_shards_come_with_an_index),
        cmocka_unit_test(an_unfinished_folder_is_not_there),
        cmocka_unit_test(an_existing_folder_is_refused),
    };
    return nb_test_run("shard_writer", tests);
}
