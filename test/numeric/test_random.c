// Philox 4x32-10 against the known answers that its authors publish (Random123 1.14, tests/kat_vectors, the rows
// "philox4x32 10"), and the map from bits to (0, 1).
#include "support/check.h"

#include "numeric/random.h"

typedef struct known_answer {
    uint64_t seed, counter_low, counter_high;
    uint32_t v[4];
} known_answer;

static void philox_gives_the_published_answers(void **state)
{
    (void)state;
    static const known_answer known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        nb_random4 got = nb_random_philox(known[i].seed, known[i].counter_low, known[i].counter_high);
        assert_memory_equal(got.v, known[i].v, sizeof got.v);
    }
}

static void units_lie_strictly_between_0_and_1(void **state)
{
    (void)state;
    assert_true(nb_random_unit(0) > 0);
    assert_true(nb_random_unit(UINT32_MAX) < 1);
    assert_true(nb_random_unit(0x80000000u) > nb_random_unit(0x7fffffffu));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(units_lie_strictly_between_0_and_1),
    };
    return nb_test_run("random", tests);
}
