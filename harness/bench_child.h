/* SPDX-License-Identifier: Apache-2.0
 * Another program run to its end for what it prints: no shell, its own process group, so that
 * all of it is ended when it takes too long, and when we are interrupted. */
#ifndef G4_HARNESS_BENCH_CHILD_H
#define G4_HARNESS_BENCH_CHILD_H

#include "ref/base/err.h"

#include <signal.h>
#include <stdint.h>

enum { BENCH_SAID = 160 };

typedef struct bench_child {
    char *out;              /* all of its standard output, a NUL behind; malloc'ed */
    int code;               /* exit code */
    char said[BENCH_SAID];  /* the last line it wrote to standard error */
    double cpu_seconds;     /* its own and its children's */
    int64_t resident;       /* bytes at most */
} bench_child;

/* argv[0] is the program's path.  Errors name it: it cannot be started, ran longer than
 * `seconds`, was ended by a signal, wrote without end, or a signal that is held (interrupt.h)
 * has come; `before` is the mask it runs under.  A failed exit code is none of them.
 * c->out is NULL or must be freed in any case. */
g4_status bench_child_run(bench_child *c, char *const argv[], int64_t seconds,
                          const sigset_t *before, g4_err *err);

#endif
