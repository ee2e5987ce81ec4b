/* SPDX-License-Identifier: Apache-2.0
 * A golden file against the model: its inputs are run and every activation that
 * the file holds is compared while it comes to be (nothing is kept longer than
 * until its rows are complete).  Several files share a pass over the weights; each
 * gives the bits that it gives alone.
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

/* Tokens a round of the drafted text; the text does not depend on it. */
enum { G4_VERIFY_DRAFT = 4 };

/* Tokens that the longest generated text of the file needs behind the prompt. */
int64_t g4_verify_behind(const g4_golden *g);

typedef struct g4_verify_options {
    const char *mask;        /* NULL: the golden's own */
    int64_t chunk;           /* 0: all at once */
    int keep_draft;          /* rt->draft, whatever drafter the golden names */
    int golden_flags;        /* g4_golden_open's */
} g4_verify_options;

/* Runs as many of the files, from the first on, as go in one pass: *n of them, their
 * results in c [count]; the caller closes those.  Where a later file is at fault, those
 * before it are run; its error comes when it is the first.  A case that drafts needs
 * rt->draft; without one those datasets are not compared. */
g4_status g4_verify(g4_compare **c, int *n, const g4_runtime *rt, const char *const *paths,
                    int count, const g4_verify_options *o, g4_err *err);

#endif
