// The commands inspect and plan through their front door: what --json says of the demo and of a broken checkpoint.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/commands.h"
#include "model/plan.h"
#include "support/check.h"
#include "support/write_safetensors.h"

// Runs a command with its standard output in a file, and reads that as JSON.
static json_t *run(int (*command)(int, char **), char **argv, int argc, int *exit_code)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/out.json", nb_test_tmp());
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(file, STDOUT_FILENO);
    close(file);
    *exit_code = command(argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return nb_test_json(path);
}

static json_int_t number(const json_t *object, const char *a, const char *b, const char *c)
{
    const json_t *value = json_object_get(object, a);
    if (b) value = json_object_get(value, b);
    if (c) value = json_object_get(value, c);
    assert_non_null(value);
    return json_integer_value(value);
}

static void inspect_counts_the_demo(void **state)
{
    (void)state;
    int code;
    char *argv[] = {(char *)nb_test_path("models/demo"), "--json", "--tensors"};
    json_t *out = run(nb_cmd_inspect, argv, 3, &code);
    assert_int_equal(code, NB_EXIT_OK);
    assert_int_equal(number(out, "tensor_count", NULL, NULL), 160);
    assert_int_equal(number(out, "bytes", NULL, NULL), 17550048);
    assert_int_equal(number(out, "classes", "routed_experts", "bytes"), 7077888);
    assert_int_equal(json_array_size(json_object_get(out, "tensors")), 160);
    assert_int_equal(json_array_size(json_object_get(out, "notes")), 0);
    json_decref(out);
}

static void inspect_lists_what_is_wrong_and_fails(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    nb_test_file_remove(&file, "mtp.norm.weight");
    nb_test_file_add(&file, "what", "F32", 1, (int64_t[]){2});
    int code;
    char *argv[] = {(char *)nb_test_mini_write(&file), "--json"};
    json_t *out = run(nb_cmd_inspect, argv, 2, &code);
    assert_int_equal(code, NB_EXIT_FAILED);
    const json_t *notes = json_object_get(out, "notes");
    assert_int_equal(json_array_size(notes), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(notes, 0), "kind")), "missing");
    assert_string_equal(json_string_value(json_object_get(json_array_get(notes, 1), "name")), "what");
    json_decref(out);
    nb_test_file_drop(&file);
}

static void plan_adds_up(void **state)
{
    (void)state;
    int code;
    char *argv[] = {(char *)nb_test_path("models/demo"),
                    "--json",
                    "--device-memory=100M",
                    "--scratch=1M",
                    "--context=1024",
                    "--sequences=4"};
    json_t *out = run(nb_cmd_plan, argv, 6, &code);
    assert_int_equal(code, NB_EXIT_OK);
    json_int_t slot = number(out, "slot_bytes", NULL, NULL), page = number(out, "page_bytes", NULL, NULL);
    assert_int_equal(page, 64 * 3072);
    assert_int_equal(number(out, "weight_bytes", "total", NULL), 17550048);
    assert_int_equal(number(out, "fit", "needed_bytes", NULL), 17550048 + 1000000 + 4 * (slot + 16 * page));
    assert_int_equal(number(out, "fit", "max_sequences", NULL), (100000000 - 18550048) / (slot + 16 * page));
    json_int_t room = 90000000 - 18550048 - 4 * slot, saved = number(out, "serve", "saved_states", NULL);
    assert_int_equal(saved, nb_plan_saved_states(room, slot, 4));
    assert_int_equal(number(out, "serve", "kv_tokens", NULL), (room - saved * slot) / page * 64);
    json_decref(out);
    char *beyond[] = {(char *)nb_test_path("models/demo"), "--context=1000000000"};
    assert_int_equal(nb_cmd_plan(2, beyond), NB_EXIT_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inspect_counts_the_demo),
        cmocka_unit_test(inspect_lists_what_is_wrong_and_fails),
        cmocka_unit_test(plan_adds_up),
    };
    return nb_test_run("cli/inspect_plan", tests);
}
