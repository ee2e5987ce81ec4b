/* SPDX-License-Identifier: Apache-2.0
 * A session: one mutable timeline of tokens with its key/value cache.
 * Sliding layers keep a ring, full layers everything up to ctx. */
#ifndef G4_MODEL_SESSION_H
#define G4_MODEL_SESSION_H

#include "ref/input/prompt.h"
#include "ref/model/engine.h"
#include "ref/model/kv.h"
#include "ref/model/tap.h"

typedef struct g4_session {
    const g4_model *model;
    int64_t n;              /* tokens in the cache */
    int32_t next_position;  /* RoPE position of the next token */
    int64_t ctx;
    int64_t written;        /* rows ever stored since it was empty, as of the last rewind */
    int64_t back;           /* how far behind those a ring still has all that is seen */
    g4_kv *kv;              /* [L] */
    float *turn;            /* [ctx][2][pairs] of full layers that keep values alone, or NULL */
    int64_t pairs;
    const g4_tap *tap;      /* NULL: nobody watches */
    g4_arena arena;
} g4_session;

g4_status g4_session_open(g4_session **session, const g4_engine *e, g4_err *err);
void g4_session_close(g4_session *s);
void g4_session_reset(g4_session *s);

/* Forgets the tokens from n on (rejected drafts), where g4_session_keeps(s, n): rings
 * lose what lies more than g4_plan_back behind the last row that was ever stored. */
void g4_session_rewind(g4_session *s, int64_t n);
int g4_session_keeps(const g4_session *s, int64_t n);

/* Makes `to` the first n tokens of `from`, where g4_session_keeps(from, n); both sessions are of
 * one engine. */
void g4_session_copy(g4_session *to, const g4_session *from, int64_t n);

/* As if n tokens had come in: random keys and values of the size that norms give them, for
 * measuring at a depth that would take hours to fill. */
void g4_session_fill(g4_session *s, int64_t n, uint64_t seed);

/* Keeps a token's angles (of full layers), where the cache wants them. */
void g4_session_turn(g4_session *s, int64_t token, const double *cosine, const double *sine);

/* Rows that prefilling types [n] in chunks of `chunk` (0: at once) takes in its
 * longest call: a chunk that would split an image block is extended to its end. */
int64_t g4_chunk_rows(const int8_t *types, int64_t n, int64_t chunk);

/* The soft tokens of a prompt's media, [n][D] in the order of the sequence's soft
 * positions; rows[i] points at token i's, or is NULL.  tap, or NULL, sees vision/...
 * and audio/... */
typedef struct g4_soft {
    const float **rows;     /* [T] */
    g4_arena arena;
} g4_soft;
g4_status g4_soft_embed(g4_soft *soft, g4_engine *e, const g4_prompt *p, const g4_tap *tap,
                        g4_err *err);
void g4_soft_free(g4_soft *soft);

/* One prompt of a batch.  The last token's logits [V] and final hidden row [D] are
 * returned where the pointers are not NULL. */
typedef struct g4_prefill_item {
    g4_session *session;
    const g4_prompt *prompt;
    const g4_soft *soft;    /* NULL: no media */
    float *logits, *hidden;
} g4_prefill_item;

/* Appends whole prompts to their sessions: the first chunk of each in one call of
 * the model, then the second of those that have one, and so on, so that the weights
 * are read once a call however many prompts there are.  Errors, which leave all
 * sessions as they were: no room in a ctx, or in plan.rows for a chunk of each. */
g4_status g4_prefill(g4_engine *e, const g4_prefill_item *items, int count, int64_t chunk,
                     g4_err *err);

#endif
