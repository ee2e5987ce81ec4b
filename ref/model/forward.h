/* SPDX-License-Identifier: Apache-2.0
 * One call = some new tokens of one or more sequences through the whole model.
 * The steps of a token, with their tap names:
 *
 *   embeddings            embed.c    row * sqrt(D), or its soft token
 *   layers/LL/...         layer.c    attention.c, mlp.c   (L times)
 *   norm                  forward.c  final RMSNorm
 *   logits                forward.c  tied head, softcap
 *
 * Prefill, decode and draft verification are the same call with more or fewer
 * rows; each row's bits do not depend on which rows come with it. */
#ifndef G4_MODEL_FORWARD_H
#define G4_MODEL_FORWARD_H

#include "ref/model/engine.h"
#include "ref/model/session.h"

/* The next n tokens of one session. */
typedef struct g4_item {
    g4_session *session;
    int64_t n;
    const int32_t *ids, *positions;   /* [n]; positions feed RoPE only */
    const float *const *soft;         /* [n] a soft token's row [D], or NULL; NULL: all text */
    const g4_span *blocks;            /* [n] as g4_blocks, in session indices; NULL: all text */
    int64_t logit_rows;               /* of the last rows: logits wanted; 0: none */
    float *logits;                    /* [logit_rows][V] */
    float *hidden;                    /* [logit_rows][D] output of the final norm, or NULL */
} g4_item;

/* Runs all items and appends them to their sessions.  Preconditions: the rows of
 * all items are at most plan.rows, each session has room in its ctx. */
void g4_forward(g4_engine *e, const g4_item *items, int count);

/* The same cut at layers, so that weights are read once for more rows than one call takes:
 * layers [first, last) of all rows, whose residual stream x [rows][D] comes from the part
 * before (first 0: from the embeddings) and is left for the next one.  The last part ends
 * with the final norm and what items want of it. */
typedef struct g4_part {
    int64_t first, last;
    float *x;
} g4_part;
void g4_forward_part(g4_engine *e, const g4_item *items, int count, const g4_part *part);

/* Logits [n][V] of rows x [n][D] behind the final norm. */
void g4_head_forward(g4_engine *e, float *out, const float *x, int64_t n);

#endif
