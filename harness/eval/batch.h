/* SPDX-License-Identifier: Apache-2.0
 * Many independent requests through one model: several sessions (lanes) share each
 * forward call, and a request begins with what any lane has of it: its own, a copy, or
 * what one is about to read and it waits for; behind texts that may become long a session of
 * its own keeps what requests share.  So examples are read once, and so is the
 * question that endings of several tokens follow.  Each row's bits depend neither on the
 * other rows of a call nor on how the tokens before it came into the cache
 * (harness/check/check_invariance.c), so results depend on none of this.  Of jobs with media
 * only those of one prompt share, and behind its last soft token.
 *
 * A job reads ids [n].  Then either the logits of its last `rows` tokens are looked
 * at (max_tokens 0), or it goes on greedily. */
#ifndef G4_HARNESS_EVAL_BATCH_H
#define G4_HARNESS_EVAL_BATCH_H

#include "harness/runtime.h"
#include "ref/model/session.h"

typedef struct g4_batch_job {
    const int32_t *ids;          /* [n] */
    int64_t n, rows;             /* rows >= 1 */
    int64_t max_tokens;          /* 0: no text wanted */
    const g4_prompt *media;      /* what ids begin with, where media are in it; NULL: all text */
} g4_batch_job;

typedef struct g4_batch {
    const g4_runtime *rt;
    g4_mask mask;
    int64_t chunk;               /* most rows a call; 0: default */
    const g4_batch_job *jobs;
    size_t count;
    /* The last rows' logits [rows][V] of a job without max_tokens. */
    g4_status (*scored)(void *ctx, size_t job, const float *logits, g4_err *err);
    /* The next token of one with; *end nonzero: the text is done. */
    g4_status (*token)(void *ctx, size_t job, int32_t id, int *end, g4_err *err);
    void *ctx;
    int64_t *computed;           /* tokens read are added to it; NULL: nobody counts */
} g4_batch;

/* Jobs begin in order.  Errors: the callbacks', memory, a job past the model's
 * positions. */
g4_status g4_batch_run(const g4_batch *b, g4_err *err);

#endif
