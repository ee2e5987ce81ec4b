/* SPDX-License-Identifier: Apache-2.0
 * A pass: the prompts of one or more cases, prefilled together, so that the weights
 * (24 GB in the 12B, which stream from disk where they do not fit) are read once for
 * all.  dump and verify run their cases so; info --memory plans with the same plan. */
#ifndef G4_HARNESS_PASS_H
#define G4_HARNESS_PASS_H

#include "harness/runtime.h"
#include "ref/model/session.h"

enum {
    G4_PASS_CASES = 64,
    G4_PASS_TOKENS = 512,   /* of all cases: beyond, arithmetic outlasts reading */
    G4_PASS_LOGITS = 64,    /* rows of logits at once */
    G4_STREAM_TOKENS = 256, G4_STREAM_CHUNK = 512,   /* generate's defaults */
};

typedef struct g4_pass_case {
    const g4_prompt *prompt;
    int64_t behind;         /* tokens that may be generated behind the prompt */
    const g4_tap *tap;      /* sees the prefill; NULL: nobody does */
    g4_session *session;    /* this and the next by g4_pass_open */
    float *logits, *hidden; /* [V], [D] of the last token */
} g4_pass_case;

typedef struct g4_pass {
    g4_engine *engine;
    g4_pass_case *cases;    /* the caller's */
    int count;
    g4_arena arena;
} g4_pass;                  /* all zero before g4_pass_open; then g4_pass_close is right */

/* Do these go in one pass?  Each cache is as long as the longest needs, so it is that
 * times their number which counts.  One alone always does. */
int g4_pass_fits(const g4_pass_case *cases, int count);

/* Fills in rows, back, logit_rows and ctx.  max_draft: tokens of a drafted round; 0: none. */
void g4_pass_plan(g4_engine_plan *plan, const g4_pass_case *cases, int count, int64_t chunk,
                  int64_t max_draft);

/* The same for generate: one prompt, `tokens` behind it, draft_rows (1: no drafter) a round. */
void g4_stream_plan(g4_engine_plan *plan, const g4_prompt *p, const g4_options *o, int64_t tokens,
                    int64_t draft_rows);

g4_status g4_pass_open(g4_pass *p, const g4_runtime *rt, const g4_engine_plan *plan,
                       g4_pass_case *cases, int count, g4_err *err);
g4_status g4_pass_prefill(g4_pass *p, int64_t chunk, g4_err *err);
void g4_pass_close(g4_pass *p);

#endif
