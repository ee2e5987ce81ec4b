/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/par.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { MAX_THREADS = 1024 };

struct g4_par {
    int threads, started;           /* workers started beside the caller */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    uint64_t round;                 /* increases with each loop */
    int stop, busy;                 /* busy: workers that have not finished the round */
    g4_par_fn *fn;
    void *ctx;
    int64_t n, grain, next;         /* next: begin of the first piece nobody took */
    struct g4_par_worker *worker;   /* [threads - 1] */
};

struct g4_par_worker {
    pthread_t thread;
    g4_par *par;
    int index;                      /* 1 .. threads-1; the caller is worker 0 */
};

static void run_pieces(g4_par *p, int worker)
{
    for (;;) {
        int64_t begin = __atomic_fetch_add(&p->next, p->grain, __ATOMIC_RELAXED);
        if (begin >= p->n) return;
        int64_t end = p->n - begin < p->grain ? p->n : begin + p->grain;
        p->fn(p->ctx, begin, end, worker);
    }
}

static void *worker_main(void *arg)
{
    struct g4_par_worker *w = arg;
    g4_par *p = w->par;
    uint64_t seen = 0;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (!p->stop && p->round == seen) pthread_cond_wait(&p->work, &p->lock);
        seen = p->round;
        int stop = p->stop;
        pthread_mutex_unlock(&p->lock);
        if (stop) return NULL;
        run_pieces(p, w->index);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0) pthread_cond_signal(&p->idle);
        pthread_mutex_unlock(&p->lock);
    }
}

static int usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

g4_status g4_par_open(g4_par **par, int threads, g4_err *err)
{
    *par = NULL;
    if (threads <= 0) threads = usable_cpus();
    if (threads > MAX_THREADS)
        return g4_fail(err, G4_EINPUT, "--threads %d: at most %d", threads, (int)MAX_THREADS);
    g4_par *p = calloc(1, sizeof *p);
    if (!p) return g4_nomem(err, "thread pool");
    p->threads = threads;
    if (threads > 1) {
        p->worker = calloc((size_t)threads - 1, sizeof *p->worker);
        if (!p->worker) {
            free(p);
            return g4_nomem(err, "thread pool");
        }
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    for (int i = 0; i < threads - 1; i++) {
        p->worker[i] = (struct g4_par_worker){ .par = p, .index = i + 1 };
        if (pthread_create(&p->worker[i].thread, NULL, worker_main, &p->worker[i]) != 0) {
            g4_par_close(p);
            return g4_fail(err, G4_EIO, "cannot start thread %d of %d", i + 2, threads);
        }
        p->started++;
    }
    *par = p;
    return G4_OK;
}

void g4_par_close(g4_par *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++) pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p->worker);
    free(p);
}

int g4_par_threads(const g4_par *p)
{
    return p->threads;
}

void g4_par_for(g4_par *p, int64_t n, int64_t grain, g4_par_fn *fn, void *ctx)
{
    assert(grain > 0);
    if (n <= 0) return;
    if (p->started == 0 || n <= grain) {   /* nothing to share: stay on this thread */
        for (int64_t i = 0; i < n; i += grain) fn(ctx, i, n - i < grain ? n : i + grain, 0);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->ctx = ctx;
    p->n = n;
    p->grain = grain;
    p->next = 0;
    p->busy = p->started;
    p->round++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    run_pieces(p, 0);
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0) pthread_cond_wait(&p->idle, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
