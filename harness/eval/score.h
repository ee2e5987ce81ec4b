/* SPDX-License-Identifier: Apache-2.0
 * What the ways of answering (score.c, rolling.c) have in common. */
#ifndef G4_HARNESS_EVAL_SCORE_H
#define G4_HARNESS_EVAL_SCORE_H

#include "harness/eval/eval.h"

/* A question has its answers: scores it and says so.  *last: when the one before was. */
g4_status g4_doc_finish(g4_eval *e, g4_leaf *leaf, size_t doc, const g4_eval_run *r,
                        double *last, g4_err *err);

/* g4_eval_score of a leaf whose documents are predicted whole. */
g4_status g4_eval_roll(g4_eval *e, g4_leaf *leaf, const g4_eval_run *r, g4_err *err);

#endif
