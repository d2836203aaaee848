// --speculative-config: what is drafted, what is off, what is refused.
#include "cli/speculation.h"
#include "support/check.h"

#include <string.h>

static nb_speculation parsed(const char *json)
{
    nb_speculation s;
    nb_error err;
    nb_test_ok(nb_speculation_parse(json, &s, &err), &err);
    return s;
}

static void refused(const char *json, const char *part)
{
    nb_speculation s;
    nb_error err;
    nb_test_fails(nb_speculation_parse(json, &s, &err), &err, part);
}

static void the_number_of_drafts_is_taken(void **state)
{
    (void)state;
    assert_int_equal(parsed("{\"method\":\"mtp\",\"num_speculative_tokens\":3,\"moe_backend\":\"triton\"}").n_draft, 3);
    assert_int_equal(parsed("{\"method\":\"qwen3_next_mtp\",\"num_speculative_tokens\":8}").n_draft, 8);
    assert_int_equal(parsed("{\"method\":\"mtp\"}").n_draft, 1);
}

static void other_methods_are_off_with_a_reason(void **state)
{
    (void)state;
    nb_speculation s = parsed("{\"method\":\"ngram\",\"num_speculative_tokens\":5}");
    assert_int_equal(s.n_draft, 0);
    assert_non_null(strstr(s.why_off, "ngram"));
    assert_int_equal(parsed("{}").n_draft, 0);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    refused("mtp", "--speculative-config: is not valid JSON");
    refused("[]", "must be a JSON object");
    refused("{\"method\":3}", "method must be a string");
    refused("{\"method\":\"mtp\",\"num_speculative_tokens\":\"3\"}", "num_speculative_tokens must be an integer");
    refused("{\"method\":\"mtp\",\"num_speculative_tokens\":0}", "from 1 to 8");
    refused("{\"method\":\"mtp\",\"num_speculative_tokens\":9}", "from 1 to 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_of_drafts_is_taken),
        cmocka_unit_test(other_methods_are_off_with_a_reason),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return nb_test_run("cli/speculation", tests);
}
