// Opening folders: shards with and without an index, look-up, and names in the Hugging Face cache.
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "checkpoint/checkpoint.h"
#include "support/check.h"
#include "support/full_size.h"
#include "support/write_safetensors.h"

#ifdef __SANITIZE_ADDRESS__
#define NB_SANITIZED 1 // the sanitizer's own memory counts, too
#else
#define NB_SANITIZED 0
#endif

static void write_in(const char *folder, const char *name, const char *text)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    nb_test_write_text(path, text);
}

static void demo_opens_and_every_tensor_is_found(void **state)
{
    (void)state;
    nb_checkpoint *ckpt;
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open(nb_test_path("models/demo"), &ckpt, &err), &err);
    assert_int_equal(nb_checkpoint_shard_count(ckpt), 2);
    assert_int_equal(nb_checkpoint_count(ckpt), 160);
    for (int64_t i = 0; i < 160; i++) {
        const nb_tensor *tensor = nb_checkpoint_at(ckpt, i);
        assert_ptr_equal(nb_checkpoint_find(ckpt, tensor->name), tensor);
    }
    assert_null(nb_checkpoint_find(ckpt, NB_STR("lm_head.bias")));
    assert_null(nb_checkpoint_find(ckpt, (nb_str){0}));
    nb_checkpoint_close(ckpt);
}

static void a_file_stands_for_its_folder(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    char path[4200];
    snprintf(path, sizeof path, "%s/model.safetensors", nb_test_mini_write(&file));
    nb_checkpoint *ckpt;
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open(path, &ckpt, &err), &err);
    assert_int_equal(nb_checkpoint_count(ckpt), file.n);
    nb_checkpoint_close(ckpt);
    nb_test_file_drop(&file);
}

static void config_alone_opens_without_tensors(void **state)
{
    (void)state;
    nb_checkpoint *ckpt;
    nb_error err = {0};
    char folder[4100];
    snprintf(folder, sizeof folder, "%s/config-only", nb_test_tmp());
    mkdir(folder, 0777);
    write_in(folder, "config.json", nb_test_mini_config);
    assert_false(nb_checkpoint_has_weights(folder));
    nb_test_ok(nb_checkpoint_open_config(folder, &ckpt, &err), &err);
    assert_int_equal(nb_checkpoint_count(ckpt), 0);
    assert_null(nb_checkpoint_find(ckpt, NB_STR("x")));
    nb_checkpoint_close(ckpt);
    nb_test_fails(nb_checkpoint_open(folder, &ckpt, &err), &err, "no .safetensors files");
    assert_null(ckpt);
    nb_test_fails(nb_checkpoint_open("/no/such/folder", &ckpt, &err), &err, "/no/such/folder: no such folder");
    assert_true(nb_checkpoint_has_weights(nb_test_path("models/demo")));
}

static void full_size_opens_in_bounded_memory(void **state)
{
    (void)state;
    char folder[4100];
    snprintf(folder, sizeof folder, "%s/full", nb_test_tmp());
    mkdir(folder, 0777);
    nb_test_full_size_write(folder);
    nb_checkpoint *ckpt;
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open(folder, &ckpt, &err), &err);
    assert_int_equal(nb_checkpoint_count(ckpt), NB_TEST_FULL_SIZE_TENSORS);
    assert_int_equal(nb_checkpoint_shard_count(ckpt), 3);
    const char *name = "model.language_model.layers.39.mlp.experts.255.down_proj.weight_scale";
    const nb_tensor *tensor = nb_checkpoint_find(ckpt, nb_str_from(name));
    assert_true(tensor && tensor->dim[0] == 2048 && tensor->dim[1] == 32 && tensor->shard == 2);
    int64_t n_byte = 0;
    for (int64_t i = 0; i < NB_TEST_FULL_SIZE_TENSORS; i++) n_byte += (int64_t)nb_checkpoint_at(ckpt, i)->n_byte;
    assert_true(n_byte > INT64_C(23400000000) && n_byte < INT64_C(23420000000));
    nb_checkpoint_close(ckpt);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (!NB_SANITIZED) assert_true(usage.ru_maxrss < 500 * 1024);
}

// <cache>/models--org--name with the given refs/main and snapshots.
static const char *make_cache(const char *ref, const char *const *snapshot)
{
    static int n_cache;
    static char root[4100], path[4300];
    snprintf(root, sizeof root, "%s/cache%d", nb_test_tmp(), n_cache++);
    static const char *const folders[] = {"", "/models--org--name", "/models--org--name/refs",
                                          "/models--org--name/snapshots"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s", root, folders[i]);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    if (ref) write_in(root, "models--org--name/refs/main", ref);
    for (; *snapshot; snapshot++) {
        snprintf(path, sizeof path, "%s/models--org--name/snapshots/%s", root, *snapshot);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    return root;
}

static int resolve(const char *cache, const char *name, const char *part, nb_error *err)
{
    nb_arena *arena = nb_arena_open(0);
    nb_hub_roots roots = {.hf_hub_cache = cache};
    const char *folder;
    int code = nb_hub_resolve(name, &roots, arena, &folder, err);
    if (code == NB_OK) assert_non_null(strstr(folder, part));
    nb_arena_close(arena);
    return code;
}

static void hub_names_follow_refs_main_or_the_only_snapshot(void **state)
{
    (void)state;
    nb_error err = {0};
    const char *two[] = {"aaa", "bbb", NULL}, *one[] = {"ccc", NULL}, *none[] = {NULL};
    nb_test_ok(resolve(make_cache("bbb\n", two), "org/name", "/snapshots/bbb", &err), &err);
    nb_test_ok(resolve(make_cache(NULL, one), "org/name", "/snapshots/ccc", &err), &err);
    nb_test_ok(resolve(make_cache("gone", one), "org/name", "/snapshots/ccc", &err), &err);
    nb_test_ok(resolve(make_cache("../../x", one), "org/name", "/snapshots/ccc", &err), &err);
    nb_test_fails(resolve(make_cache(NULL, two), "org/name", "", &err), &err, "2 snapshots");
    nb_test_fails(resolve(make_cache(NULL, none), "org/name", "", &err), &err, "0 snapshots");
    nb_test_fails(resolve(make_cache(NULL, one), "org/other", "", &err), &err, "huggingface-cli download org/other");
    nb_test_fails(resolve(make_cache(NULL, one), "../name", "", &err), &err, "no such folder");
    nb_test_fails(resolve(make_cache(NULL, one), "a/b/c", "", &err), &err, "no such folder");
}

static void hub_roots_are_tried_in_hugging_faces_order(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_arena *arena = nb_arena_open(0);
    const char *folder;
    nb_hub_roots roots = {.home = "/h"};
    assert_int_not_equal(nb_hub_resolve("o/n", &roots, arena, &folder, &err), 0);
    assert_non_null(strstr(err.text, "cache /h/.cache/huggingface/hub;"));
    roots.hf_home = "/f";
    assert_int_not_equal(nb_hub_resolve("o/n", &roots, arena, &folder, &err), 0);
    assert_non_null(strstr(err.text, "cache /f/hub;"));
    roots.hf_hub_cache = "/c";
    assert_int_not_equal(nb_hub_resolve("o/n", &roots, arena, &folder, &err), 0);
    assert_non_null(strstr(err.text, "cache /c;"));
    nb_arena_close(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_opens_and_every_tensor_is_found),
        cmocka_unit_test(a_file_stands_for_its_folder),
        cmocka_unit_test(config_alone_opens_without_tensors),
        cmocka_unit_test(full_size_opens_in_bounded_memory),
        cmocka_unit_test(hub_names_follow_refs_main_or_the_only_snapshot),
        cmocka_unit_test(hub_roots_are_tried_in_hugging_faces_order),
    };
    return nb_test_run("checkpoint/checkpoint", tests);
}
