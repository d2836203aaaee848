// base/threads: every task runs exactly once, whatever the team; loops follow each other without mixing.
#include "support/check.h"

#include <string.h>

#include "base/threads.h"

enum { N = 1000 };

typedef struct loop {
    int count[N];
    int64_t sum_before; // written between loops, read inside
    int64_t seen[N];
    int n_thread;
} loop;

static void count_task(void *user, int i_task, int i_thread)
{
    loop *l = user;
    l->count[i_task]++;
    l->seen[i_task] = l->sum_before;
    if (i_thread < 0 || i_thread >= l->n_thread) l->count[i_task] = -1000000;
}

static void check_team(int n_thread)
{
    nb_threads *team = nb_threads_open(n_thread);
    static loop l;
    memset(&l, 0, sizeof l);
    l.n_thread = nb_threads_count(team);
    for (int round = 0; round < 200; round++) {
        int n_task = round % 7 == 0 ? round % 2 : 1 + round * 5 % N;
        l.sum_before++;
        memset(l.count, 0, sizeof l.count);
        nb_threads_run(team, count_task, &l, n_task);
        for (int i = 0; i < N; i++) {
            assert_int_equal(l.count[i], i < n_task);
            if (i < n_task) assert_int_equal(l.seen[i], l.sum_before);
        }
    }
    nb_threads_close(team);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    check_team(1);
    check_team(2);
    check_team(7);
}

static void a_team_may_stay_idle(void **state)
{
    (void)state;
    nb_threads *team = nb_threads_open(0);
    assert_true(nb_threads_count(team) >= 1);
    nb_threads_close(team);
    nb_threads_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(a_team_may_stay_idle),
    };
    return nb_test_run("base/threads", tests);
}
