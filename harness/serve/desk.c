/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/serve/desk.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

g4_status g4_desk_open(g4_desk *d, g4_err *err)
{
    pthread_condattr_t a;
    *d = (g4_desk){ .last = &d->first };
    if (pthread_mutex_init(&d->mutex, NULL) != 0) return g4_nomem(err, "serve");
    if (pthread_condattr_init(&a) != 0 || pthread_condattr_setclock(&a, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&d->work, &a) != 0 || pthread_cond_init(&d->news, &a) != 0)
        return g4_nomem(err, "serve");
    pthread_condattr_destroy(&a);
    return G4_OK;
}

void g4_desk_close(g4_desk *d)
{
    pthread_cond_destroy(&d->work);
    pthread_cond_destroy(&d->news);
    pthread_mutex_destroy(&d->mutex);
}

/* ---- a connection's side ---- */

int g4_desk_hand(g4_desk *d, g4_job *j)
{
    pthread_mutex_lock(&d->mutex);
    int open = !d->closed;
    j->state = G4_JOB_WAITING;
    j->next = NULL;
    if (open) {
        *d->last = j;
        d->last = &j->next;
        d->requests++;
        d->waiting++;
        pthread_cond_signal(&d->work);
    }
    pthread_mutex_unlock(&d->mutex);
    return open;
}

void g4_desk_wait(g4_desk *d, g4_job *j, int whole)
{
    pthread_mutex_lock(&d->mutex);
    while (j->state != G4_JOB_DONE && (whole || j->taken == j->size))
        pthread_cond_wait(&d->news, &d->mutex);
    pthread_mutex_unlock(&d->mutex);
}

size_t g4_desk_take(g4_desk *d, g4_job *j, char *to, size_t most)
{
    g4_desk_wait(d, j, 0);
    pthread_mutex_lock(&d->mutex);
    size_t n = j->size - j->taken < most ? j->size - j->taken : most;
    if (n) memcpy(to, j->out + j->taken, n);
    j->taken += n;
    if (j->taken == j->size) j->taken = j->size = 0;   /* the room is used again */
    pthread_mutex_unlock(&d->mutex);
    return n;
}

static void unlist(g4_desk *d, g4_job *j)
{
    g4_job **at = &d->first;
    while (*at && *at != j) at = &(*at)->next;
    if (!*at) return;
    *at = j->next;
    if (!j->next) d->last = at;
    d->waiting--;
}

void g4_desk_drop(g4_desk *d, g4_job *j)
{
    pthread_mutex_lock(&d->mutex);
    j->socket = -1;
    if (j->state == G4_JOB_WAITING) {
        unlist(d, j);
        j->state = G4_JOB_DONE;
    }
    while (j->state != G4_JOB_DONE) pthread_cond_wait(&d->news, &d->mutex);
    pthread_mutex_unlock(&d->mutex);
}

/* ---- the working side ---- */

g4_job *g4_desk_next(g4_desk *d, int milliseconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += milliseconds * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000L;
    t.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&d->mutex);
    int late = 0;
    while (!d->first && !late) late = pthread_cond_timedwait(&d->work, &d->mutex, &t) != 0;
    g4_job *j = d->first;
    if (j) {
        unlist(d, j);
        j->state = G4_JOB_RUNNING;
    }
    pthread_mutex_unlock(&d->mutex);
    return j;
}

/* A client that has closed its side, even only its sending one, wants nothing any more. */
int g4_desk_wanted(g4_desk *d, g4_job *j)
{
    pthread_mutex_lock(&d->mutex);
    struct pollfd p = { .fd = j->socket, .events = POLLRDHUP };
    int gone = p.fd < 0 || (poll(&p, 1, 0) > 0 &&
                            p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
    pthread_mutex_unlock(&d->mutex);
    return !gone;
}

/* Under the mutex. */
static int make_room(g4_job *j, size_t len)
{
    size_t want = j->size + len;
    if (want < len) return 0;
    if (want <= j->capacity) return 1;
    char *p = realloc(j->out, want + want / 2);
    if (!p) return 0;
    j->out = p;
    j->capacity = want + want / 2;
    return 1;
}

g4_status g4_desk_write(g4_desk *d, g4_job *j, int status, const char *text, size_t len,
                        g4_err *err)
{
    pthread_mutex_lock(&d->mutex);
    int room = make_room(j, len);
    if (room) {
        if (len) memcpy(j->out + j->size, text, len);
        j->size += len;
        if (!j->status) j->status = status;
        pthread_cond_broadcast(&d->news);
    }
    pthread_mutex_unlock(&d->mutex);
    return room ? G4_OK : g4_nomem(err, "answer");
}

void g4_desk_done(g4_desk *d, g4_job *j, int status)
{
    pthread_mutex_lock(&d->mutex);
    if (!j->status) j->status = status;
    d->failed += j->status >= 400;
    j->state = G4_JOB_DONE;
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->mutex);
}

void g4_desk_shut(g4_desk *d)
{
    pthread_mutex_lock(&d->mutex);
    d->closed = 1;
    while (d->first) {
        g4_job *j = d->first;
        unlist(d, j);
        j->status = 503;
        j->state = G4_JOB_DONE;
    }
    pthread_cond_broadcast(&d->news);
    pthread_mutex_unlock(&d->mutex);
}
