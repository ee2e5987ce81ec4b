/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/par.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { MAX_THREADS = 1024 };

/* Before a thread sleeps it looks so many times: a layer has ten loops of 10 to 1000 us, and
 * waking takes 5 to 50.  Not where threads outnumber CPUs. */
enum { SPINS = 4000 };

struct g4_par {
    int threads, started;           /* workers started beside the caller */
    int spins;
    pthread_mutex_t lock;           /* for sleeping and waking only */
    pthread_cond_t idle;
    int stop, busy, waits;          /* busy: workers at work; waits: the caller sleeps */
    g4_par_fn *fn;
    void *ctx;
    int64_t n, grain, next;         /* next: begin of the first piece nobody took */
    struct g4_par_worker *worker;   /* [threads - 1] */
};

struct g4_par_worker {
    pthread_t thread;
    pthread_cond_t work;            /* its own: a short loop wakes a few, not a thousand */
    g4_par *par;
    int index, go, asleep;          /* index 1 .. threads-1; the caller is worker 0 */
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Both sides first write their own flag, then read the other's, in one order for all: a
 * sleeper's wish is seen, or it sees that it need not sleep. */
static int read_flag(const int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

static void write_flag(int *flag, int value)
{
    __atomic_store_n(flag, value, __ATOMIC_SEQ_CST);
}

static void run_pieces(g4_par *p, int worker)
{
    for (;;) {
        int64_t begin = __atomic_fetch_add(&p->next, p->grain, __ATOMIC_RELAXED);
        if (begin >= p->n) return;
        int64_t end = p->n - begin < p->grain ? p->n : begin + p->grain;
        p->fn(p->ctx, begin, end, worker);
    }
}

static void wait_go(struct g4_par_worker *w)
{
    g4_par *p = w->par;
    for (int i = 0; i < p->spins; i++) {
        if (read_flag(&w->go) || read_flag(&p->stop)) return;
        pause_cpu();
    }
    pthread_mutex_lock(&p->lock);
    write_flag(&w->asleep, 1);
    while (!read_flag(&p->stop) && !read_flag(&w->go)) pthread_cond_wait(&w->work, &p->lock);
    write_flag(&w->asleep, 0);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct g4_par_worker *w = arg;
    g4_par *p = w->par;
    for (;;) {
        if (__atomic_sub_fetch(&p->busy, 1, __ATOMIC_SEQ_CST) == 0 && read_flag(&p->waits)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->idle);
            pthread_mutex_unlock(&p->lock);
        }
        wait_go(w);
        if (read_flag(&p->stop)) return NULL;
        write_flag(&w->go, 0);
        run_pieces(p, w->index);
    }
}

/* Until no worker is at work. */
static void wait_idle(g4_par *p)
{
    for (int i = 0; i < p->spins; i++) {
        if (read_flag(&p->busy) == 0) return;
        pause_cpu();
    }
    pthread_mutex_lock(&p->lock);
    write_flag(&p->waits, 1);
    while (read_flag(&p->busy) > 0) pthread_cond_wait(&p->idle, &p->lock);
    write_flag(&p->waits, 0);
    pthread_mutex_unlock(&p->lock);
}

static int usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

static int start(g4_par *p, int i)
{
    struct g4_par_worker *w = &p->worker[i];
    *w = (struct g4_par_worker){ .par = p, .index = i + 1 };
    pthread_cond_init(&w->work, NULL);
    __atomic_add_fetch(&p->busy, 1, __ATOMIC_SEQ_CST);   /* until it waits */
    int ok = pthread_create(&w->thread, NULL, worker_main, w) == 0;
    if (!ok) __atomic_sub_fetch(&p->busy, 1, __ATOMIC_SEQ_CST);
    p->started += ok;
    if (!ok) pthread_cond_destroy(&w->work);
    return ok;
}

g4_status g4_par_open(g4_par **par, int threads, g4_err *err)
{
    *par = NULL;
    int cpus = usable_cpus();
    if (threads <= 0) threads = cpus;
    if (threads > MAX_THREADS)
        return g4_fail(err, G4_EINPUT, "--threads %d: at most %d", threads, (int)MAX_THREADS);
    g4_par *p = calloc(1, sizeof *p);
    if (!p) return g4_nomem(err, "thread pool");
    p->threads = threads;
    p->spins = threads <= cpus ? SPINS : 0;
    if (threads > 1) {
        p->worker = calloc((size_t)threads - 1, sizeof *p->worker);
        if (!p->worker) {
            free(p);
            return g4_nomem(err, "thread pool");
        }
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->idle, NULL);
    for (int i = 0; i < threads - 1; i++)
        if (!start(p, i)) {
            g4_par_close(p);
            return g4_fail(err, G4_EIO, "cannot start thread %d of %d", i + 2, threads);
        }
    /* A fork copies the locks that other threads hold: here nobody holds any again. */
    wait_idle(p);
    *par = p;
    return G4_OK;
}

void g4_par_close(g4_par *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    write_flag(&p->stop, 1);
    for (int i = 0; i < p->started; i++) pthread_cond_signal(&p->worker[i].work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++) {
        pthread_join(p->worker[i].thread, NULL);
        pthread_cond_destroy(&p->worker[i].work);
    }
    pthread_cond_destroy(&p->idle);
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
    int64_t pieces = (n - 1) / grain + 1;
    int helpers = pieces - 1 < p->started ? (int)(pieces - 1) : p->started;
    p->fn = fn;
    p->ctx = ctx;
    p->n = n;
    p->grain = grain;
    p->next = 0;
    write_flag(&p->busy, helpers);
    for (int i = 0; i < helpers; i++) {
        struct g4_par_worker *w = &p->worker[i];
        write_flag(&w->go, 1);
        if (!read_flag(&w->asleep)) continue;
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&w->work);
        pthread_mutex_unlock(&p->lock);
    }
    run_pieces(p, 0);
    wait_idle(p);
}
