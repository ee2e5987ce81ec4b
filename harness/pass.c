/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/pass.h"

#include "harness/room.h"

#include <string.h>

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int g4_pass_fits(const g4_pass_case *cases, int count)
{
    int64_t longest = 0;
    for (int i = 0; i < count; i++) longest = max64(longest, cases[i].prompt->n + cases[i].behind);
    return count == 1 || longest <= G4_PASS_TOKENS / count;
}

void g4_pass_plan(g4_engine_plan *plan, const g4_pass_case *cases, int count, int64_t chunk,
                  int64_t max_draft)
{
    plan->rows = plan->ctx = plan->back = 0;
    for (int i = 0; i < count; i++) {
        const g4_prompt *p = cases[i].prompt;
        plan->rows += g4_chunk_rows(p->types, p->n, chunk);
        plan->ctx = max64(plan->ctx, p->n + cases[i].behind + max_draft + 1);
        plan->back = max64(plan->back, cases[i].behind);   /* a second text begins there again */
    }
    plan->rows = max64(plan->rows, max_draft + 1);
    plan->logit_rows = plan->rows < G4_PASS_LOGITS ? plan->rows : G4_PASS_LOGITS;
}

void g4_stream_plan(g4_engine_plan *plan, const g4_prompt *p, const g4_options *o, int64_t tokens,
                    int64_t draft_rows)
{
    plan->rows = g4_chunk_rows(p->types, p->n, o->chunk > 0 ? o->chunk : G4_STREAM_CHUNK);
    plan->rows = max64(plan->rows, draft_rows);
    plan->logit_rows = draft_rows;
    plan->ctx = o->ctx > 0 ? o->ctx : p->n + tokens + draft_rows;
}

g4_status g4_pass_open(g4_pass *p, const g4_runtime *rt, const g4_engine_plan *plan,
                       g4_pass_case *cases, int count, g4_err *err)
{
    const g4_config *c = &rt->model->config;
    p->cases = cases;
    p->count = count;
    if (plan->ctx > G4_MAX_POSITION)
        return g4_fail(err, G4_EINPUT, "a context of %lld tokens: at most %d",
                       (long long)plan->ctx, (int)G4_MAX_POSITION);
    G4_TRY(g4_room_for_plan(rt, plan, count, err));
    G4_TRY(g4_engine_open(&p->engine, rt->model, &rt->ops, rt->par, plan, err));
    for (int i = 0; i < count; i++) {
        g4_pass_case *k = &cases[i];
        G4_TRY(g4_session_open(&k->session, p->engine, err));
        k->session->tap = k->tap;
        k->logits = g4_arena_alloc(&p->arena, (size_t)c->vocab_size, sizeof(float));
        k->hidden = g4_arena_alloc(&p->arena, (size_t)c->hidden_size, sizeof(float));
        if (!k->logits || !k->hidden) return g4_nomem(err, "prefill");
    }
    return G4_OK;
}

g4_status g4_pass_prefill(g4_pass *p, int64_t chunk, g4_err *err)
{
    g4_soft *soft = g4_arena_alloc(&p->arena, (size_t)p->count, sizeof *soft);
    g4_prefill_item *items = g4_arena_alloc(&p->arena, (size_t)p->count, sizeof *items);
    if (!soft || !items) return g4_nomem(err, "prefill");
    g4_status s = G4_OK;
    for (int i = 0; s == G4_OK && i < p->count; i++) {
        g4_pass_case *k = &p->cases[i];
        items[i] = (g4_prefill_item){ k->session, k->prompt, &soft[i], k->logits, k->hidden };
        s = g4_soft_embed(&soft[i], p->engine, k->prompt, k->tap, err);
    }
    if (s == G4_OK) s = g4_prefill(p->engine, items, p->count, chunk, err);
    for (int i = 0; i < p->count; i++) {
        g4_soft_free(&soft[i]);
        p->cases[i].session->tap = NULL;
    }
    return s;
}

void g4_pass_close(g4_pass *p)
{
    for (int i = 0; i < p->count; i++) g4_session_close(p->cases[i].session);
    g4_engine_close(p->engine);
    g4_arena_free(&p->arena);
    memset(p, 0, sizeof *p);
}
