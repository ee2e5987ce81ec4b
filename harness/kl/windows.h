/* SPDX-License-Identifier: Apache-2.0
 * From a document's tokens to windows. */
#ifndef G4_HARNESS_KL_WINDOWS_H
#define G4_HARNESS_KL_WINDOWS_H

#include "harness/kl/kl.h"

typedef struct g4_kl_cut {
    g4_kl_text *text;
    const int32_t *prefix, *tokens;      /* [prefix_n], [n] */
    int64_t prefix_n, n;
    int64_t ctx, stride, limit;          /* most tokens read, new ones a window, windows (0: all) */
    int32_t *scratch;                    /* [ctx + 1] */
} g4_kl_cut;

/* Preconditions: prefix_n < ctx, 1 <= stride <= ctx - prefix_n. */
g4_status g4_kl_cut_rolling(const g4_kl_cut *c, int prefix_once, g4_err *err);
g4_status g4_kl_cut_halves(const g4_kl_cut *c, g4_err *err);

/* Runs of white space (Python's). */
size_t g4_kl_gaps(const char *text, size_t len);

#endif
