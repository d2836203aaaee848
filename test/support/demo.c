#include "support/check.h"
#include "support/demo.h"

#include <stdlib.h>

#include "base/file.h"
#include "support/drive.h"

static nb_demo demo;
static nb_arena *arena;
static nb_map map;
static nb_safetensors golden;

static void close_demo(void)
{
    nb_model_close(demo.model);
    nb_checkpoint_close(demo.ckpt);
    nb_map_close(&map);
    nb_arena_close(arena);
}

const nb_demo *nb_demo_get(void)
{
    nb_error err;
    if (demo.model) return &demo;
    nb_test_ok(nb_checkpoint_open(nb_test_path("models/demo"), &demo.ckpt, &err), &err);
    nb_test_ok(nb_model_bind(demo.ckpt, &demo.model, &err), &err);
    demo.vocab = demo.model->config.vocab_size;
    demo.d_model = demo.model->config.hidden_size;
    arena = nb_arena_open(0);
    nb_test_ok(nb_map_open(nb_test_path("test/data/demo/golden.safetensors"), &map, &err), &err);
    nb_test_ok(nb_safetensors_parse(map.ptr, map.n_byte, 0, arena, &golden, &err), &err);
    atexit(close_demo);
    return &demo;
}

const nb_tensor *nb_demo_golden(const char *name)
{
    nb_demo_get();
    for (int64_t i = 0; i < golden.n_tensor; i++)
        if (nb_str_equal_c(golden.tensor[i].name, name)) return &golden.tensor[i];
    fail_msg("golden %s is missing", name);
    return NULL;
}

const float *nb_demo_f32(const char *name)
{
    const nb_tensor *t = nb_demo_golden(name);
    assert_int_equal(t->dtype, NB_DTYPE_F32);
    return (const float *)(const void *)t->data;
}

const int32_t *nb_demo_i32(const char *name, int *n)
{
    const nb_tensor *t = nb_demo_golden(name);
    assert_int_equal(t->dtype, NB_DTYPE_I32);
    if (n) *n = (int)(t->n_byte / 4);
    return (const int32_t *)(const void *)t->data;
}

nb_device *nb_demo_cpu(const nb_cpu_options *options, nb_kv_format kv)
{
    nb_error err;
    nb_device *device;
    nb_test_ok(nb_cpu_open(options, &device, &err), &err);
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_reserve r = {.kv = kv,
                    .n_slot = NB_DRIVE_SEQS,
                    .n_page = 128,
                    .max_tok = NB_DRIVE_TOKENS,
                    .max_seq = NB_DRIVE_SEQS,
                    .max_row = NB_DRIVE_TOKENS};
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    return device;
}
