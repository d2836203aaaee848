// The team of threads. A loop is announced by raising `generation`; every member then takes task numbers from `next`
// until they run out and signs off at `n_busy`. The fields of the loop are written only while n_busy is 0, that is
// while no worker looks at them. One caller at a time.
//
// A decode step runs hundreds of short loops, so a member that waits looks at its counter for some microseconds before
// it sleeps: waking a sleeping thread would cost more than such a loop. A team larger than the machine never spins.
#include "base/threads.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"

enum { SPINS = 2000, THREADS_MAX = 1024 };

typedef struct worker {
    nb_threads *team;
    pthread_t thread;
    int i_thread;
} worker;

struct nb_threads {
    int n_thread; // with the caller
    int n_spin;
    worker *workers; // [n_thread - 1]
    nb_task_fn fn;
    void *user;
    int n_task;
    bool closing;
    _Alignas(64) atomic_int next;
    _Alignas(64) atomic_int n_busy; // workers that have not signed off
    _Alignas(64) atomic_uint generation;
    pthread_mutex_t mutex; // for sleeping only
    pthread_cond_t wake, done;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(nb_threads *team, int i_thread)
{
    for (;;) {
        int i_task = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed);
        if (i_task >= team->n_task) return;
        team->fn(team->user, i_task, i_thread);
    }
}

// Returns once the generation differs from `seen`.
static void wait_for_loop(nb_threads *team, unsigned seen)
{
    for (int i = 0; i < team->n_spin; i++) {
        if (atomic_load_explicit(&team->generation, memory_order_acquire) != seen) return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->mutex);
    while (atomic_load_explicit(&team->generation, memory_order_acquire) == seen) {
        pthread_cond_wait(&team->wake, &team->mutex);
    }
    pthread_mutex_unlock(&team->mutex);
}

static void *worker_main(void *user)
{
    worker *self = user;
    nb_threads *team = self->team;
    for (unsigned seen = 0;; seen++) {
        wait_for_loop(team, seen);
        if (team->closing) return NULL;
        work(team, self->i_thread);
        if (atomic_fetch_sub_explicit(&team->n_busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&team->mutex);
            pthread_cond_signal(&team->done);
            pthread_mutex_unlock(&team->mutex);
        }
    }
}

static void announce(nb_threads *team)
{
    pthread_mutex_lock(&team->mutex);
    atomic_fetch_add_explicit(&team->generation, 1, memory_order_release);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
}

static void wait_for_workers(nb_threads *team)
{
    for (int i = 0; i < team->n_spin; i++) {
        if (atomic_load_explicit(&team->n_busy, memory_order_acquire) == 0) return;
        pause_briefly();
    }
    pthread_mutex_lock(&team->mutex);
    while (atomic_load_explicit(&team->n_busy, memory_order_acquire) != 0) {
        pthread_cond_wait(&team->done, &team->mutex);
    }
    pthread_mutex_unlock(&team->mutex);
}

void nb_threads_run(nb_threads *team, nb_task_fn fn, void *user, int n_task)
{
    if (team->n_thread == 1 || n_task <= 1) {
        for (int i = 0; i < n_task; i++) fn(user, i, 0);
        return;
    }
    team->fn = fn;
    team->user = user;
    team->n_task = n_task;
    atomic_store_explicit(&team->next, 0, memory_order_relaxed);
    atomic_store_explicit(&team->n_busy, team->n_thread - 1, memory_order_relaxed);
    announce(team);
    work(team, 0);
    wait_for_workers(team);
}

// A container's share of the machine, in whole CPUs, from "QUOTA PERIOD" in microseconds; INT_MAX without a quota.
static int cgroup_cpus(void)
{
    nb_arena *arena = nb_arena_open(1024);
    nb_str text;
    long quota, period;
    int n_cpu = INT_MAX;
    if (nb_file_read("/sys/fs/cgroup/cpu.max", 256, arena, &text, NULL) == NB_OK &&
        sscanf(text.ptr, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
        long n = (quota + period - 1) / period;
        n_cpu = n < INT_MAX ? (int)n : INT_MAX;
    }
    nb_arena_close(arena);
    return n_cpu;
}

static int usable_cpus(void)
{
    cpu_set_t set;
    int n_cpu = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = cgroup_cpus();
    return n_cpu < quota ? n_cpu : quota;
}

nb_threads *nb_threads_open(int n_thread)
{
    int n_cpu = usable_cpus();
    if (n_thread <= 0) n_thread = n_cpu;
    if (n_thread > THREADS_MAX) n_thread = THREADS_MAX;
    nb_threads *team = aligned_alloc(_Alignof(nb_threads), sizeof *team);
    if (!team) abort();
    memset(team, 0, sizeof *team);
    team->n_spin = n_thread <= n_cpu ? SPINS : 0;
    team->workers = nb_alloc(sizeof(worker) * (size_t)n_thread);
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->wake, NULL);
    pthread_cond_init(&team->done, NULL);
    team->n_thread = 1;
    for (int i = 1; i < n_thread; i++) {
        worker *w = &team->workers[i - 1];
        *w = (worker){.team = team, .i_thread = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) break; // a smaller team does the same work
        team->n_thread++;
    }
    return team;
}

int nb_threads_count(const nb_threads *team)
{
    return team->n_thread;
}

void nb_threads_close(nb_threads *team)
{
    if (!team) return;
    team->closing = true;
    announce(team);
    for (int i = 1; i < team->n_thread; i++) pthread_join(team->workers[i - 1].thread, NULL);
    pthread_mutex_destroy(&team->mutex);
    pthread_cond_destroy(&team->wake);
    pthread_cond_destroy(&team->done);
    free(team->workers);
    free(team);
}
