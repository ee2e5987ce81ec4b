/* SPDX-License-Identifier: Apache-2.0
 * gemma4 bench --peers: other engines' llama-bench, and this program, in turns on one file,
 * each as a process of its own: never two in memory, none warm from another's run.  What the
 * machine can do is measured around every run, and who else had the processors meanwhile. */
#ifndef G4_HARNESS_BENCH_PEERS_H
#define G4_HARNESS_BENCH_PEERS_H

#include "harness/bench_model.h"

enum { BENCH_ENGINES = 17 };   /* this one is the last */

typedef struct bench_sample {
    double rate, share;       /* tokens a second; of what the limits beside it allow */
} bench_sample;

typedef struct bench_engine {
    const char *name, *path;
    const char *flags;        /* what it needs to be at its best */
    int self, takes_depth;    /* takes_depth: -d; else behind a context it can only decode */
    int failed;
    char **argv;
    int words;
    bench_sample *sample;     /* [tests][rounds] */
    double *others;           /* [rounds] share of all processors that others had */
    int64_t resident;         /* bytes at most */
} bench_engine;

typedef struct bench_race {
    const g4_options *o;
    g4_arena arena;
    bench_model list;         /* the tests, and what each costs */
    bench_engine engine[BENCH_ENGINES];
    int engines, rounds, threads;
    const char *kv;
    double *read, *peak;      /* [limits] all that were measured */
    int limits;
} bench_race;

/* Does an engine of this kind have the test? */
int bench_engine_takes(const bench_engine *e, const bench_test *t);

/* The whole command: finds, runs, prints; with --out writes rows of notebooks_data/results. */
g4_status bench_peers(const g4_options *o, g4_err *err);

/* bench_report.c */
void bench_report_print(bench_race *r);
g4_status bench_report_write(bench_race *r, const char *path, g4_err *err);

#endif
