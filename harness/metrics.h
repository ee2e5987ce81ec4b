/* SPDX-License-Identifier: Apache-2.0
 * How far one array lies from another, in float64.  NaN anywhere makes the
 * numbers NaN, so that no test of the form d <= bound can pass. */
#ifndef G4_HARNESS_METRICS_H
#define G4_HARNESS_METRICS_H

#include "golden/golden.h"

/* A view of values of one of the golden types. */
typedef struct g4_values {
    g4_golden_type type;
    const void *data;
} g4_values;

static inline double g4_value(g4_values v, int64_t i)
{
    switch (v.type) {
    case G4_GOLDEN_I8: return ((const int8_t *)v.data)[i];
    case G4_GOLDEN_U8: return ((const uint8_t *)v.data)[i];
    case G4_GOLDEN_I32: return ((const int32_t *)v.data)[i];
    case G4_GOLDEN_F32: return ((const float *)v.data)[i];
    case G4_GOLDEN_F64: break;
    }
    return ((const double *)v.data)[i];
}

typedef struct g4_diff {
    double max_abs;          /* max |ours - golden|; the first NaN wins */
    int64_t row, col;        /* where; of the first such cell */
    double relative_l2;      /* |ours - golden| / |golden|; golden 0: 0 if equal, else inf */
    double cosine;           /* both 0: 1; one 0: 0 */
    int64_t unequal;         /* cells that are not equal (NaN never is) */
} g4_diff;

g4_diff g4_diff_values(g4_values golden, g4_values ours, int64_t rows, int64_t cols);

/* Of distributions softmax(row): KL(golden || ours) in nats; how often the best
 * token is the same; which share of the five best (all, if fewer) is shared. */
typedef struct g4_logit_diff {
    double kl_mean, kl_max, top1, top5;
} g4_logit_diff;

g4_logit_diff g4_diff_logits(g4_values golden, g4_values ours, int64_t rows, int64_t cols);

#endif
