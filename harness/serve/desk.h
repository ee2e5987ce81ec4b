/* SPDX-License-Identifier: Apache-2.0
 * Where requests wait: connections (a thread each, http.c) hand jobs in and wait for what is
 * written to them, one thread (answer.c) takes them in the order they came.  A job belongs to
 * its connection; the desk only lists it. */
#ifndef G4_HARNESS_DESK_H
#define G4_HARNESS_DESK_H

#include "harness/serve/ask.h"

#include <pthread.h>

typedef enum g4_job_state { G4_JOB_WAITING, G4_JOB_RUNNING, G4_JOB_DONE } g4_job_state;

typedef struct g4_job {
    g4_ask ask;
    int socket;                  /* the client's; -1: it is gone */
    g4_job_state state;
    int status;                  /* HTTP; 0: not said yet */
    char *out;                   /* malloc'ed [size]; of them `taken` are on their way */
    size_t size, capacity, taken;
    struct g4_job *next;
} g4_job;

typedef struct g4_desk {
    pthread_mutex_t mutex;
    pthread_cond_t work, news;   /* a job came; something was written to one */
    g4_job *first, **last;
    int closed;
    uint64_t requests, failed, waiting;              /* what /metrics tells */
    uint64_t prompt_tokens, cached_tokens, made_tokens;
} g4_desk;

g4_status g4_desk_open(g4_desk *d, g4_err *err);
void g4_desk_close(g4_desk *d);

/* ---- a connection's side ---- */

/* 0: the desk is closed. */
int g4_desk_hand(g4_desk *d, g4_job *j);
/* Until there is something to take, or the job is done. */
void g4_desk_wait(g4_desk *d, g4_job *j, int whole);
/* At most most bytes; 0: the job is done and all is taken. */
size_t g4_desk_take(g4_desk *d, g4_job *j, char *to, size_t most);
/* Its client is gone: returns when nobody works for it any more. */
void g4_desk_drop(g4_desk *d, g4_job *j);

/* ---- the working side ---- */

/* The next job, or NULL after some milliseconds, or for good: closed. */
g4_job *g4_desk_next(g4_desk *d, int milliseconds);
/* Is its client still there? */
int g4_desk_wanted(g4_desk *d, g4_job *j);
g4_status g4_desk_write(g4_desk *d, g4_job *j, int status, const char *text, size_t len,
                        g4_err *err);
/* status: where nothing has been written yet. */
void g4_desk_done(g4_desk *d, g4_job *j, int status);
/* No more jobs; those that wait are done with 503. */
void g4_desk_shut(g4_desk *d);

#endif
