// The router and the whole mixture of experts against vLLM's operators, and rules of ties and grouping.
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_device_internal.h"
#include "support/vllm_ops.h"

static nb_cpu *open_cpu(nb_model *model, nb_cpu_kernels kernels, int n_thread)
{
    nb_error err;
    nb_cpu *cpu = nb_alloc(sizeof *cpu);
    cpu->model = model;
    cpu->team = nb_threads_open(n_thread);
    cpu->limits = (nb_reserve){.n_slot = 1, .n_page = 1, .max_tok = 64, .max_seq = 1, .max_row = 1};
    nb_test_ok(nb_cpu_kernels_find(kernels, &cpu->kernels, &err), &err);
    nb_test_ok(nb_cpu_scratch_open(cpu, &err), &err);
    return cpu;
}

static void close_cpu(nb_cpu *cpu)
{
    nb_cpu_scratch_close(cpu);
    nb_threads_close(cpu->team);
    free(cpu);
}

static void check_router(const char *op, bool renormalise)
{
    int64_t dim[2], top_dim[2];
    float *logits = nb_op_f32(op, "logits", dim), *want = nb_op_f32(op, "topk_weights", top_dim);
    int64_t *want_id = nb_op_int(op, "topk_ids", NULL);
    int n_expert = (int)dim[1], top_k = (int)top_dim[1];
    nb_error err;
    nb_cpu cpu = {0};
    nb_test_ok(nb_cpu_kernels_find(NB_CPU_SCALAR, &cpu.kernels, &err), &err);
    for (int row = 0; row < dim[0]; row++) {
        float weight[NB_TOP_K_EXPERT_MAX];
        int32_t id[NB_TOP_K_EXPERT_MAX];
        nb_cpu_moe_route(&cpu, logits + row * n_expert, n_expert, top_k, renormalise, weight, id);
        for (int k = 0; k < top_k; k++) assert_int_equal(id[k], want_id[row * top_k + k]);
        nb_test_close(op, weight, want + row * top_k, top_k, 1e-6);
    }
    free(logits);
    free(want);
    free(want_id);
}

static void test_router_equals_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    check_router("moe_router_topk_f32_small", true);
    check_router("moe_router_topk_bf16_realratio", true);
    check_router("moe_router_topk_f32_small_norenorm", false);
}

static void test_router_ties_go_to_the_lowest_expert(void **state)
{
    (void)state;
    nb_error err;
    nb_cpu cpu = {0};
    float logits[6] = {1, 3, 2, 3, 2, 3}, weight[4];
    int32_t id[4];
    const int32_t want[4] = {1, 3, 5, 2};
    nb_test_ok(nb_cpu_kernels_find(NB_CPU_SCALAR, &cpu.kernels, &err), &err);
    nb_cpu_moe_route(&cpu, logits, 6, 4, true, weight, id);
    assert_memory_equal(id, want, sizeof want);
}

typedef struct block { // a published case bound as weights
    nb_model model;
    nb_moe_weights moe;
    nb_expert expert[8];
    float *owned[7];
} block;

static nb_linear matrix(const float *data, int n_out, int n_in)
{
    return (nb_linear){.format = NB_FORMAT_F32, .n_out = n_out, .n_in = n_in, .data = data};
}

static void open_block(const char *op, block *b)
{
    enum { E = 8, I = 32, H = 64, S = 48 };
    *b = (block){.model.config = {.hidden_size = H,
                                  .vocab_size = 8,
                                  .num_experts = E,
                                  .num_experts_per_tok = 2,
                                  .norm_topk_prob = true,
                                  .moe_intermediate_size = I,
                                  .shared_expert_intermediate_size = S}};
    const char *const name[7] = {"gate_w", "w13", "w2", "w_shared_gate_up", "w_shared_down", "w_shared_gate", "x"};
    for (int i = 0; i < 7; i++) b->owned[i] = nb_op_f32(op, name[i], NULL);
    for (int e = 0; e < E; e++) {
        const float *gate_up = b->owned[1] + e * 2 * I * H;
        b->expert[e] =
            (nb_expert){matrix(gate_up, I, H), matrix(gate_up + I * H, I, H), matrix(b->owned[2] + e * H * I, H, I)};
    }
    const float *shared = b->owned[3];
    b->moe = (nb_moe_weights){
        .gate = matrix(b->owned[0], E, H),
        .expert = b->expert,
        .shared_expert = {matrix(shared, S, H), matrix(shared + S * H, S, H), matrix(b->owned[4], H, S)},
        .shared_expert_gate = matrix(b->owned[5], 1, H),
    };
}

static void close_block(block *b)
{
    for (int i = 0; i < 7; i++) free(b->owned[i]);
}

static void check_block(const char *op, nb_cpu_kernels kernels, int n_thread, double tolerance)
{
    block b;
    float y[6 * 64] = {0}, *want = nb_op_f32(op, "out", NULL);
    open_block(op, &b);
    nb_cpu *cpu = open_cpu(&b.model, kernels, n_thread);
    nb_cpu_moe_apply(cpu, &b.moe, b.owned[6], 6, -1, y);
    nb_test_close(op, y, want, 6 * 64, tolerance);
    close_cpu(cpu);
    close_block(&b);
    free(want);
}

static void test_experts_equal_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    check_block("moe_block_f32_small", NB_CPU_SCALAR, 1, 1e-5);
    check_block("moe_block_f32_small", NB_CPU_AUTO, 3, 1e-5);
    check_block("moe_block_bf16_small", NB_CPU_AUTO, 2, 0.015);
}

static void test_experts_without_a_shared_one_equal_vllm(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    block b;
    float y[6 * 64] = {0}, *want = nb_op_f32("moe_block_f32_small", "routed_out", NULL);
    open_block("moe_block_f32_small", &b);
    b.moe.shared_expert = (nb_expert){0};
    b.moe.shared_expert_gate = (nb_linear){0};
    b.model.config.shared_expert_intermediate_size = 0;
    nb_cpu *cpu = open_cpu(&b.model, NB_CPU_AUTO, 2);
    nb_cpu_moe_apply(cpu, &b.moe, b.owned[6], 6, -1, y);
    nb_test_close("routed", y, want, 6 * 64, 1e-5);
    close_cpu(cpu);
    close_block(&b);
    free(want);
}

// A row's sum does not depend on which rows share its experts, nor does what x holds before matter beyond being added
// to.
static void test_rows_are_independent(void **state)
{
    (void)state;
    if (!nb_op_present()) skip();
    block b;
    float all[6 * 64] = {0}, one[64];
    open_block("moe_block_f32_small", &b);
    nb_cpu *cpu = open_cpu(&b.model, NB_CPU_AUTO, 3);
    nb_cpu_moe_apply(cpu, &b.moe, b.owned[6], 6, -1, all);
    for (int row = 0; row < 6; row++) {
        memset(one, 0, sizeof one);
        nb_cpu_moe_apply(cpu, &b.moe, b.owned[6] + row * 64, 1, -1, one);
        assert_memory_equal(one, all + row * 64, sizeof one);
    }
    close_cpu(cpu);
    close_block(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_router_equals_vllm),   cmocka_unit_test(test_router_ties_go_to_the_lowest_expert),
        cmocka_unit_test(test_experts_equal_vllm),   cmocka_unit_test(test_experts_without_a_shared_one_equal_vllm),
        cmocka_unit_test(test_rows_are_independent),
    };
    return nb_test_run("cpu_moe", tests);
}
