/* SPDX-License-Identifier: Apache-2.0
 * A golden file against what was computed: dataset by dataset, each with a
 * bound, in the order of computation, so that the first one past its bound
 * names the guilty step.  `compare` feeds it from a file, `verify` from memory.
 *
 * Bounds on relative L2 (issue texts and golden/README.md give the reasons):
 *   float32 golden                5e-4
 *   float64 golden with a twin    twice the twin's own error, and over all
 *                                 datasets where that is not 0 our geometric
 *                                 mean at most theirs; where it is 0, ours too
 *   float64 golden alone          5e-4
 * The twin is the same name without ".f64": the case as the golden's producer
 * computes it in float32.  Ids, masks and positions are equal cell by cell;
 * pixels differ by at most 1/255, in at most 0.1 % of the values. */
#ifndef G4_HARNESS_COMPARE_H
#define G4_HARNESS_COMPARE_H

#include "golden/golden.h"
#include "harness/metrics.h"

#include <jansson.h>
#include <stdio.h>

typedef struct g4_compare_row {
    const g4_golden_set *set;
    int compared, held;
    g4_diff diff;
    g4_logit_diff logits;    /* set->role G4_GOLDEN_LOGITS */
    double bound;            /* on relative L2; on max_abs for pixels */
    double theirs;           /* relative L2 of the twin; < 0: no twin */
} g4_compare_row;

typedef struct g4_compare_sum {
    int held;
    size_t compared, missing, failed;
    size_t unmade;                  /* of the missing: results, where all are expected */
    const g4_compare_row *first;    /* past its bound; NULL: none */
    const g4_compare_row *worst;    /* largest relative L2; NULL: nothing compared */
    double mean;                    /* geometric, of relative L2 where > 0; 0: none */
    size_t twin_count;              /* datasets with a twin's error > 0 */
    double twin_ours, twin_theirs;  /* geometric means over those */
} g4_compare_sum;

typedef struct g4_compare g4_compare;

/* ours names the other side in messages and reports.  Opens the twin, too.
 * flags as g4_golden_open. */
g4_status g4_compare_open(g4_compare **c, const char *golden, const char *ours, int flags,
                          g4_err *err);
void g4_compare_close(g4_compare *c);
g4_golden *g4_compare_golden(const g4_compare *c);
const char *g4_compare_ours(const g4_compare *c);

/* ours is [rows][cols]; a path that the golden lacks is passed over.  Another
 * shape than the golden's is an error. */
g4_status g4_compare_values(g4_compare *c, const char *path, int64_t rows, int64_t cols,
                            g4_golden_type type, const void *ours, g4_err *err);
g4_status g4_compare_dataset(g4_compare *c, const char *path, int64_t rows, int64_t cols,
                             const float *ours, g4_err *err);
/* Every dataset that both files have. */
g4_status g4_compare_file(g4_compare *c, g4_golden *ours, g4_err *err);
/* From now on a result that the golden holds and nobody gives falls short: a file may
 * leave out what it likes, the model itself may not. */
void g4_compare_expect_all(g4_compare *c);
int g4_compare_unmade(const g4_compare *c, const g4_compare_row *r);

size_t g4_compare_count(const g4_compare *c);
const g4_compare_row *g4_compare_at(const g4_compare *c, size_t i);   /* in order */
/* Held: something was computed and compared, all of it held, and nothing is unmade. */
g4_compare_sum g4_compare_finish(const g4_compare *c);

/* Name of the dataset without what all have in front. */
const char *g4_compare_short(const char *path);
void g4_compare_table(const g4_compare *c, FILE *out);
json_t *g4_compare_json(const g4_compare *c);   /* NULL: out of memory */

#endif
