/* SPDX-License-Identifier: Apache-2.0
 * One session that answers prompt after prompt and keeps of its cache what the next prompt
 * begins with, media included.  A row's bits do not depend on the rows that came with it, so
 * an answer is the same as to the whole prompt at once.  Used by conversations
 * (chat_session.h) and by the server (serve/serve.h). */
#ifndef G4_HARNESS_TIMELINE_H
#define G4_HARNESS_TIMELINE_H

#include "harness/reply.h"
#include "ref/input/processor.h"

enum { G4_CHAT_CONTEXT = 8192, G4_CHAT_TOKENS = 1024 };   /* without --ctx, --max-tokens */

typedef struct g4_timeline {
    const g4_runtime *rt;
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;        /* NULL: none */
    int64_t chunk;              /* tokens read at once */
    float *logits, *hidden;     /* [V], [D] behind the prompt's last token, once it is read */
    g4_arena arena;             /* owns these two */
    /* What the session's tokens are: the last prompt's, then those made. */
    g4_prompt prompt;
    g4_arena prompt_arena;
    g4_soft soft;
    g4_ids made;                /* the caller pushes what g4_generate emits */
} g4_timeline;

/* t is filled with zeros first: g4_timeline_close is right in any case.  opt: as
 * g4_sampling_choose left it; its max_tokens can be taken back at once. */
g4_status g4_timeline_open(g4_timeline *t, const g4_runtime *rt, const g4_options *o,
                           const g4_processor *proc, const g4_generate_options *opt, g4_err *err);
void g4_timeline_close(g4_timeline *t);
/* The session is empty again. */
void g4_timeline_reset(g4_timeline *t);

/* Makes the session a prefix of p, of at most `most` tokens; *kept: of how many.  Takes over p
 * and its arena; with an error all stays as it was. */
g4_status g4_timeline_begin(g4_timeline *t, const g4_prompt *p, g4_arena *arena, int64_t most,
                            int64_t *kept, g4_err *err);
/* Back to where the prompt's last token is to be read: for another answer to it. */
void g4_timeline_again(g4_timeline *t);

/* Reads the rest of the prompt.  In chunks, so that an end need not wait for all of it: asked
 * before each one, stop ends the reading with session->n < prompt.n. */
typedef int g4_stop_fn(void *ctx);
g4_status g4_timeline_read(g4_timeline *t, g4_stop_fn *stop, void *ctx, g4_err *err);

#endif
