/* SPDX-License-Identifier: Apache-2.0
 * What a person sees of an evaluation: a line on standard error while it runs (rewritten
 * in place on a terminal, else one a minute), a table at its end. */
#ifndef G4_HARNESS_EVAL_PROGRESS_H
#define G4_HARNESS_EVAL_PROGRESS_H

#include "harness/eval/eval.h"

typedef struct g4_eval_progress {
    size_t total, done, before;  /* questions of this shard; done before this run */
    double score;                /* sum over the done ones */
    double begin, shown;         /* seconds */
    int terminal;
} g4_eval_progress;

/* Questions that a journal answered count as done. */
g4_status g4_eval_progress_begin(g4_eval_progress *p, g4_eval *e, g4_err *err);
void g4_eval_progress_add(g4_eval_progress *p, const g4_leaf *leaf, size_t doc);
void g4_eval_progress_end(g4_eval_progress *p);

/* Markdown on standard output; groups below their members. */
void g4_eval_table(const g4_eval *e, const g4_eval_report *r);

#endif
