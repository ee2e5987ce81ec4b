/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/greedy.h"

g4_sampler g4_greedy(const g4_model *m)
{
    const g4_generation *g = &m->generation;
    return (g4_sampler){ .suppress = g->suppress, .suppress_count = g->suppress_count };
}

int32_t g4_likeliest(const float *logits, int64_t vocab)
{
    const g4_sampler any = { 0 };
    return g4_argmax(&any, logits, vocab);
}

typedef struct text {
    const g4_greedy_run *run;
    int32_t *ids;
    int64_t n;
} text;

static int keep(void *ctx, int32_t id)
{
    text *t = ctx;
    if (t->run->each) t->run->each(t->run->ctx);
    t->ids[t->n++] = id;
    return 0;
}

g4_status g4_greedy_text(const g4_greedy_run *r, int32_t *ids, int64_t *n, g4_err *err)
{
    text t = { r, ids, 0 };
    g4_generate_stats stats;
    g4_generate_options o = { .sampler = g4_greedy(r->engine->model), .max_tokens = r->tokens,
                              .max_draft = r->max_draft };
    g4_session_rewind(r->session, r->prompt);
    G4_TRY(g4_generate(r->engine, r->session, r->drafter, r->logits, r->hidden, &o, keep, &t,
                       &stats, err));
    *n = t.n;
    return G4_OK;
}
