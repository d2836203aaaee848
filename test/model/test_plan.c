// Plan: the published checkpoint's byte table must come out of its configuration alone. The figures are those of the
// checkpoint itself: 23.4 GB in the file, 2,254,632,192 bytes of weights a token at batch 1.
#include <math.h>

#include "model/plan.h"
#include "model/synth.h"
#include "support/check.h"

typedef struct planned {
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_plan plan;
} planned;

static planned plan_of(const char *name, nb_kv_format kv)
{
    planned p = {0};
    nb_error err = {0};
    const char *folder = nb_test_shared(name);
    if (!folder) skip();
    nb_test_ok(nb_checkpoint_open_config(folder, &p.ckpt, &err), &err);
    const nb_config *config = nb_checkpoint_config(p.ckpt);
    nb_test_ok(nb_synth_model(config, config->mix, 1, 0, &p.model, &err), &err);
    nb_test_ok(nb_plan_make(p.model, kv, &p.plan, &err), &err);
    return p;
}

static void close_planned(planned p)
{
    nb_model_close(p.model);
    nb_checkpoint_close(p.ckpt);
}

static void published_weights_have_the_published_bytes(void **state)
{
    (void)state;
    planned p = plan_of("configs/nvidia--Qwen3.6-35B-A3B-NVFP4", NB_KV_FP8);
    const int64_t *w = p.plan.weight_bytes;
    assert_int_equal(w[NB_ROLE_EMBED], 1017118720);
    assert_int_equal(w[NB_ROLE_LM_HEAD], 286064640 + 4);
    assert_int_equal(w[NB_ROLE_EXPERT], 3 * 6039797760 + 4 * 30720); // a scalar scale for each matrix
    assert_int_equal(w[NB_ROLE_SHARED_EXPERT], 70778880 + 4 * 120);
    assert_int_equal(w[NB_ROLE_ROUTER], 41943040 + 163840);
    assert_int_equal(w[NB_ROLE_ATTENTION], 167772160 + 20971520 + 83886080 + 4 * 40);
    assert_int_equal(w[NB_ROLE_DELTANET], 503316480 + 2 * 251658240 + 4 * 90);
    assert_int_equal(w[NB_ROLE_DELTANET_GATE], 7864320);
    assert_int_equal(w[NB_ROLE_NORM], 10240 + 1966080 + 11520 + 331776);
    assert_int_equal(w[NB_ROLE_MTP], 1689281536);
    close_planned(p);
}

static void step_of_one_token_reads_the_published_bytes(void **state)
{
    (void)state;
    planned p = plan_of("configs/nvidia--Qwen3.6-35B-A3B-NVFP4", NB_KV_FP8);
    nb_plan_step step;
    nb_plan_step_make(&p.plan, p.model, NB_KV_FP8, 1, 1, 1023, &step);
    int n_scale = 960 + 120 + 1 + 130; // matrices with a scalar scale that one token meets
    assert_true(step.weight_bytes == 2254632192.0 + 4 * n_scale);
    assert_true(step.kv_bytes == 10240.0 * 1024);
    // 62.9 MB of states, read once and written every 16th token; journal and convolution add a sixth.
    assert_true(step.state_bytes > 62914560.0 * (1 + 1.0 / 16) && step.state_bytes < 62914560.0 * 1.25);
    assert_true(step.flop > 5.9e9 && step.flop < 6.4e9);
    nb_plan_step batch;
    nb_plan_step_make(&p.plan, p.model, NB_KV_FP8, 32, 1, 1023, &batch);
    double touched = 256 * (1 - __builtin_pow(31.0 / 32, 32)); // 163.3 of 256
    double experts = (double)p.plan.weight_bytes[NB_ROLE_EXPERT];
    assert_true(batch.weight_bytes - step.weight_bytes > experts * (touched - 8) / 256);
    assert_true(batch.kv_bytes == 32 * step.kv_bytes && batch.state_bytes == 32 * step.state_bytes);
    close_planned(p);
}

static void parts_of_a_step_add_up(void **state)
{
    (void)state;
    planned p = plan_of("configs/nvidia--Qwen3.6-35B-A3B-NVFP4", NB_KV_FP8);
    nb_plan_step step;
    nb_plan_step_make(&p.plan, p.model, NB_KV_FP8, 3, 50, 1000, &step);
    double n_byte = 0, flop = 0;
    for (int i = 0; i < NB_PART_COUNT; i++) n_byte += step.part_bytes[i], flop += step.part_flop[i];
    assert_true(fabs(n_byte / (step.weight_bytes + step.state_bytes + step.kv_bytes) - 1) < 1e-9);
    assert_true(fabs(flop / step.flop - 1) < 1e-9);
    assert_true(step.part_bytes[NB_PART_ATTENTION] == step.kv_bytes);
    assert_true(step.part_flop[NB_PART_HEAD] == 2.0 * 3 * 248320 * 2048); // one row a sequence
    close_planned(p);
}

static void kv_and_slots_follow_the_layers(void **state)
{
    (void)state;
    planned p = plan_of("configs/nvidia--Qwen3.6-35B-A3B-NVFP4", NB_KV_BF16);
    assert_int_equal(p.plan.kv_bytes_per_token, 11 * 2 * 2 * 256 * 2); // ten layers and MTP's
    assert_int_equal(p.plan.page_bytes, NB_PAGE_TOKENS * p.plan.kv_bytes_per_token);
    int64_t journal_row = 4 * (16 * 128 + 32 * 128 + 2 * 32 + 8192);
    assert_int_equal(p.plan.slot_bytes, 30 * (2097152 + 3 * 8192 * 4 + NB_JOURNAL_ROWS * journal_row));
    close_planned(p);
    p = plan_of("configs/Qwen--Qwen3-30B-A3B", NB_KV_BF16);
    assert_int_equal(p.plan.slot_bytes, 0);
    assert_int_equal(p.plan.weight_bytes_total, 2 * INT64_C(30532122624));
    close_planned(p);
}

static void other_releases_have_their_sizes(void **state)
{
    (void)state;
    planned p = plan_of("configs/Qwen--Qwen3.5-35B-A3B", NB_KV_BF16);
    assert_int_equal(p.plan.weight_bytes_total, 69321221376 + 1689281536); // BF16, MTP included
    close_planned(p);
    p = plan_of("configs/nvidia--Qwen3.5-122B-A10B-NVFP4", NB_KV_FP8);
    assert_int_equal(p.model->layer[0].moe.expert[0].gate_proj.format, NB_FORMAT_NVFP4);
    assert_int_equal(p.model->layer[0].moe.shared_expert.gate_proj.format, NB_FORMAT_BF16);
    close_planned(p);
    p = plan_of("configs/nvidia--Qwen3-235B-A22B-NVFP4", NB_KV_FP8);
    assert_int_equal(p.model->layer[0].attention.q_proj.format, NB_FORMAT_NVFP4);
    assert_int_equal(p.model->lm_head.format, NB_FORMAT_BF16);
    close_planned(p);
    p = plan_of("configs/Qwen--Qwen3-30B-A3B-FP8", NB_KV_FP8);
    assert_int_equal(p.model->layer[0].attention.q_proj.block_out, 128);
    close_planned(p);
}

static void fit_is_exact_at_its_own_answers(void **state)
{
    (void)state;
    planned p = plan_of("configs/nvidia--Qwen3.6-35B-A3B-NVFP4", NB_KV_FP8);
    int64_t device = INT64_C(80) << 30, scratch = INT64_C(2) << 30;
    nb_plan_fit fit, at_most, over;
    nb_plan_fit_make(&p.plan, p.model, device, scratch, 8192, 16, &fit);
    assert_true(fit.fits && fit.max_sequences > 16);
    nb_plan_fit_make(&p.plan, p.model, device, scratch, 8192, fit.max_sequences, &at_most);
    nb_plan_fit_make(&p.plan, p.model, device, scratch, 8192, fit.max_sequences + 1, &over);
    assert_true(at_most.fits && !over.fits);
    nb_plan_fit_make(&p.plan, p.model, device, scratch, fit.max_context, 16, &at_most);
    assert_true(at_most.fits);
    nb_plan_fit_make(&p.plan, p.model, INT64_C(16) << 30, scratch, 8192, 16, &over);
    assert_true(!over.fits && over.max_sequences == 0 && over.max_context == 0);
    close_planned(p);
}

enum { SLOT = 1000, N_SEQ = 64, MOST = N_SEQ + 32, USEFUL = 16 };

static void saved_states_are_one_a_sequence_and_32_where_memory_is_ample(void **state)
{
    (void)state;
    assert_int_equal(nb_plan_saved_states(4 * MOST * SLOT, SLOT, N_SEQ), MOST);
    assert_int_equal(nb_plan_saved_states(INT64_C(1) << 50, SLOT, N_SEQ), MOST);
}

static void saved_states_take_at_most_a_quarter_of_the_room(void **state)
{
    (void)state;
    assert_int_equal(nb_plan_saved_states(4 * MOST * SLOT - 1, SLOT, N_SEQ), MOST - 1);
    assert_int_equal(nb_plan_saved_states(4 * USEFUL * SLOT, SLOT, N_SEQ), USEFUL);
}

static void sixteen_states_are_saved_as_long_as_pages_keep_half_of_the_room(void **state)
{
    (void)state;
    assert_int_equal(nb_plan_saved_states(4 * USEFUL * SLOT - 1, SLOT, N_SEQ), USEFUL);
    assert_int_equal(nb_plan_saved_states(2 * USEFUL * SLOT, SLOT, N_SEQ), USEFUL);
    assert_int_equal(nb_plan_saved_states(2 * USEFUL * SLOT - 1, SLOT, N_SEQ), USEFUL - 1);
}

static void one_state_is_saved_even_without_room(void **state)
{
    (void)state;
    assert_int_equal(nb_plan_saved_states(SLOT, SLOT, N_SEQ), 1);
    assert_int_equal(nb_plan_saved_states(0, SLOT, N_SEQ), 1);
    assert_int_equal(nb_plan_saved_states(-1000 * SLOT, SLOT, N_SEQ), 1);
}

static void a_model_without_states_saves_none(void **state)
{
    (void)state;
    assert_int_equal(nb_plan_saved_states(INT64_C(1) << 40, 0, N_SEQ), 0);
}

static void more_room_never_saves_fewer_states(void **state)
{
    (void)state;
    for (int64_t room = -SLOT, last = 0; room < 5 * MOST * SLOT; room += SLOT / 2) {
        int64_t n = nb_plan_saved_states(room, SLOT, N_SEQ);
        assert_true(n >= last);
        last = n;
    }
}

static void a_card_of_80_gb_keeps_most_of_its_room_for_keys_and_values(void **state)
{
    (void)state;
    planned p = plan_of("configs/nvidia--Qwen3.6-35B-A3B-NVFP4", NB_KV_FP8);
    int64_t usable = INT64_C(72000000000), scratch = INT64_C(2000000000);
    nb_plan_serving many, few;
    nb_plan_serving_make(&p.plan, usable, scratch, 256, &many);
    nb_plan_serving_make(&p.plan, usable, scratch, 64, &few);
    assert_in_range(many.saved_states, 55, 65);
    assert_true(many.kv_tok > 1400000);
    assert_int_equal(few.saved_states, 64 + 32);
    int64_t taken = p.plan.weight_bytes_total + scratch + (256 + many.saved_states) * p.plan.slot_bytes +
                    many.kv_tok / NB_PAGE_TOKENS * p.plan.page_bytes;
    assert_true(taken <= usable && usable - taken < p.plan.page_bytes);
    nb_plan_serving_make(&p.plan, p.plan.weight_bytes_total, scratch, 1, &few);
    assert_int_equal(few.kv_tok, 0);
    close_planned(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_weights_have_the_published_bytes),
        cmocka_unit_test(step_of_one_token_reads_the_published_bytes),
        cmocka_unit_test(parts_of_a_step_add_up),
        cmocka_unit_test(kv_and_slots_follow_the_layers),
        cmocka_unit_test(other_releases_have_their_sizes),
        cmocka_unit_test(fit_is_exact_at_its_own_answers),
        cmocka_unit_test(saved_states_are_one_a_sequence_and_32_where_memory_is_ample),
        cmocka_unit_test(saved_states_take_at_most_a_quarter_of_the_room),
        cmocka_unit_test(sixteen_states_are_saved_as_long_as_pages_keep_half_of_the_room),
        cmocka_unit_test(one_state_is_saved_even_without_room),
        cmocka_unit_test(a_model_without_states_saves_none),
        cmocka_unit_test(more_room_never_saves_fewer_states),
        cmocka_unit_test(a_card_of_80_gb_keeps_most_of_its_room_for_keys_and_values),
    };
    return nb_test_run("model/plan", tests);
}
