// A fixed team of threads for data-parallel loops. The caller of nb_threads_run is one of the team, so a team of one
// runs everything inline. Tasks are handed out by an atomic counter: which thread runs a task is not fixed, so a task
// must write only what belongs to its index. That makes results independent of the number of threads.
#ifndef NB_THREADS_H
#define NB_THREADS_H

typedef struct nb_threads nb_threads;

typedef void (*nb_task_fn)(void *user, int i_task, int i_thread);

nb_threads *nb_threads_open(int n_thread); // 0 = as many as the process may use
int nb_threads_count(const nb_threads *team);
void nb_threads_run(nb_threads *team, nb_task_fn fn, void *user, int n_task); // returns when all tasks are done
void nb_threads_close(nb_threads *team);

#endif
