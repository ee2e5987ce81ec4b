/* SPDX-License-Identifier: Apache-2.0
 * A golden file against the model: its inputs are run and every activation that
 * the file holds is compared while it comes to be (nothing is kept longer than
 * until its rows are complete).
 *
 * Draft steps: `drafted` is drafted freely, step behind step.  The steps'
 * activations are attested one at a time: from the second step on, the hidden
 * state that goes in is the golden's own, because a rounding difference grows
 * threefold with each free step of a random drafter and would hide what a step
 * itself does [N37].  What our step before it made is compared, too, as the
 * second half of inputs_embeds and as `hidden`. */
#ifndef G4_HARNESS_VERIFY_H
#define G4_HARNESS_VERIFY_H

#include "harness/compare.h"
#include "harness/runtime.h"

typedef struct g4_verify_options {
    const char *mask;        /* NULL: the golden's own */
    int64_t chunk;           /* 0: all at once */
    int keep_draft;          /* rt->draft, whatever drafter the golden names */
    int golden_flags;        /* g4_golden_open's */
} g4_verify_options;

/* On success *c holds all rows compared; the caller closes it.  A case that
 * drafts needs rt->draft; without one those datasets are not compared. */
g4_status g4_verify(g4_compare **c, const g4_runtime *rt, const char *path,
                    const g4_verify_options *o, g4_err *err);

#endif
