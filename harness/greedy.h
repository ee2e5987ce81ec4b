/* SPDX-License-Identifier: Apache-2.0
 * Greedy text as golden files hold it: the most likely token that is not
 * suppressed, each time; stop tokens do not stop it. */
#ifndef G4_HARNESS_GREEDY_H
#define G4_HARNESS_GREEDY_H

#include "ref/model/generate.h"

g4_sampler g4_greedy(const g4_model *m);

/* The likeliest of all, suppressed or not: what a golden file's next_token and drafted ids
 * are, as Transformers' drafting takes no heed of suppress_tokens [N30]. */
int32_t g4_likeliest(const float *logits, int64_t vocab);

typedef struct g4_greedy_run {
    g4_engine *engine;
    g4_session *session;            /* is rewound to `prompt` tokens */
    g4_drafter *drafter;            /* NULL: none */
    const float *logits, *hidden;   /* [V], [D] of the last of those */
    int64_t prompt, tokens, max_draft;
    void (*each)(void *ctx);        /* before each token is kept; NULL: nobody waits */
    void *ctx;
} g4_greedy_run;

/* ids [tokens]; *n: how many of them were made. */
g4_status g4_greedy_text(const g4_greedy_run *r, int32_t *ids, int64_t *n, g4_err *err);

#endif
