/* SPDX-License-Identifier: Apache-2.0
 * One evaluation by several processes that mpirun started (make MPI=yes).  Rank 0 hands out
 * questions and alone writes journal and reports; it loads no model, and waits asleep.  The
 * others answer.  Whichever of them fails or is killed, mpirun ends them all, and what the
 * journal holds stays answered.  Without MPI=yes every process is rank 0 of 1. */
#ifndef G4_HARNESS_EVAL_RANKS_H
#define G4_HARNESS_EVAL_RANKS_H

#include "harness/eval/eval.h"

typedef struct g4_ranks {
    int rank, size;
    int begun;                   /* MPI is in use */
    int64_t memory;              /* most kB that one of the others held so far */
} g4_ranks;

g4_status g4_ranks_begin(g4_ranks *r, g4_err *err);
/* On an error of another rank's: tells rank 0, which says it, and waits to be ended. */
void g4_ranks_end(const g4_ranks *r, g4_status s, const g4_err *err);

/* Rank 0: all others can begin, and have this journal's header but for the date. */
g4_status g4_ranks_gather(const g4_ranks *r, const json_t *header, g4_err *err);
/* Rank 0: has the open questions answered; run->finished after each. */
g4_status g4_ranks_lead(g4_ranks *r, g4_eval *e, const g4_eval_run *run, g4_err *err);
/* The others: answer what rank 0 hands out until nothing is left. */
g4_status g4_ranks_follow(g4_eval *e, const json_t *header, const g4_eval_run *run, g4_err *err);

#endif
