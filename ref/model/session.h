/* SPDX-License-Identifier: Apache-2.0
 * A session: one mutable timeline of tokens with its key/value cache.
 * Sliding layers keep a ring, full layers everything up to ctx. */
#ifndef G4_MODEL_SESSION_H
#define G4_MODEL_SESSION_H

#include "ref/input/prompt.h"
#include "ref/model/engine.h"
#include "ref/model/kv.h"

typedef struct g4_session {
    const g4_model *model;
    int64_t n;              /* tokens in the cache */
    int32_t next_position;  /* RoPE position of the next token */
    int64_t ctx;
    int64_t written;        /* rows ever stored since it was empty, as of the last rewind */
    int64_t back;           /* how far behind those a ring still has all that is seen */
    g4_kv *kv;              /* [L] */
    g4_arena arena;
} g4_session;

g4_status g4_session_open(g4_session **session, const g4_engine *e, g4_err *err);
void g4_session_close(g4_session *s);
void g4_session_reset(g4_session *s);

/* Forgets the tokens from n on (rejected drafts), where g4_session_keeps(s, n): rings
 * lose what lies more than g4_plan_back behind the last row that was ever stored. */
void g4_session_rewind(g4_session *s, int64_t n);
int g4_session_keeps(const g4_session *s, int64_t n);

/* Rows that prefilling types [n] in chunks of `chunk` (0: at once) takes in its
 * longest call: a chunk that would split an image block is extended to its end. */
int64_t g4_chunk_rows(const int8_t *types, int64_t n, int64_t chunk);

/* The soft tokens of a prompt's media, [n][D] in the order of the sequence's soft
 * positions; rows[i] points at token i's, or is NULL.  Taps see vision/... and
 * audio/... */
typedef struct g4_soft {
    const float **rows;     /* [T] */
    g4_arena arena;
} g4_soft;
g4_status g4_soft_embed(g4_soft *soft, g4_engine *e, const g4_prompt *p, g4_err *err);
void g4_soft_free(g4_soft *soft);

/* Appends a whole prompt in chunks.  The last `logit_rows` tokens' logits
 * [logit_rows][V] and final hidden rows [logit_rows][D] are returned where the
 * pointers are not NULL; logit_rows <= the last chunk.  Errors: no room in ctx
 * or plan.rows. */
g4_status g4_prefill(g4_engine *e, g4_session *s, const g4_prompt *p, const g4_soft *soft,
                     int64_t chunk, int64_t logit_rows, float *logits, float *hidden,
                     g4_err *err);

#endif
