/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/generate.h"

#include "ref/base/rng.h"

#include <assert.h>

typedef struct run {
    g4_engine *e;
    g4_session *s;
    g4_drafter *d;
    const g4_generate_options *o;
    g4_generate_stats *stats;
    g4_token_fn *emit;
    void *ctx;
    int64_t V, D, made;             /* made: tokens emitted so far */
    int32_t last;                   /* newest token; not in the cache yet */
    float *logits;                  /* [max_draft + 1][V] */
    float *hidden;                  /* [max_draft + 1][D] */
    g4_dist p, *q;                  /* target; drafter's, one a draft position */
} run;

static double unit(const run *r, int purpose, int64_t index)
{
    return g4_rng_unit(r->o->sampler.seed, (uint64_t)purpose, (uint64_t)index);
}

/* The plain choice of token number `index` from one row of logits. */
static int32_t choose(run *r, const float *logits, int64_t index)
{
    if (r->o->sampler.temperature <= 0.0) return g4_argmax(&r->o->sampler, logits, r->V);
    g4_dist_fill(&r->p, &r->o->sampler, logits, r->V);
    return g4_dist_draw(&r->p, unit(r, G4_DRAW_TOKEN, index));
}

/* Emits a token that is certain, behind `cached` tokens; 1: the text ends with it. */
static int certain(run *r, int32_t id, int64_t cached)
{
    r->last = id;
    r->made++;
    r->stats->tokens++;
    if (r->emit(r->ctx, id)) return 1;
    for (int i = 0; i < r->o->stop_count; i++)
        if (r->o->stop[i] == id) return 1;
    return r->made >= r->o->max_tokens || cached >= r->s->ctx;
}

/* Runs ids [n] through the backbone; leaves logits and hidden of all n rows. */
static void verify(run *r, const int32_t *ids, int64_t n)
{
    int32_t positions[G4_MAX_DRAFT + 1];
    for (int64_t i = 0; i < n; i++) positions[i] = r->s->next_position + (int32_t)i;
    g4_item item = { .session = r->s, .n = n, .ids = ids, .positions = positions,
                     .logit_rows = n, .logits = r->logits, .hidden = r->hidden };
    g4_forward(r->e, &item, 1);
}

static void plain_loop(run *r)
{
    do {
        verify(r, &r->last, 1);
    } while (!certain(r, choose(r, r->logits, r->made), r->s->n));
}

/* 1. The drafter proposes up to k tokens behind the last one. */
static void draft(run *r, int32_t *ids, int64_t k)
{
    int32_t last = r->last;
    for (int64_t i = 0; i < k; i++) {
        g4_draft_step(r->d, r->s, last, i);
        if (r->o->sampler.temperature <= 0.0) {
            last = g4_argmax(&r->o->sampler, r->d->logits, r->V);
        } else {
            g4_dist_fill(&r->q[i], &r->o->sampler, r->d->logits, r->V);
            last = g4_dist_draw(&r->q[i], unit(r, G4_DRAW_DRAFT, r->made + i));
        }
        ids[i] = last;
    }
}

/* 3. The token behind row i of the verified logits, given what was drafted there. */
static int32_t judge(run *r, int64_t i, int32_t drafted, int *accepted)
{
    const float *logits = r->logits + i * r->V;
    if (r->o->sampler.temperature <= 0.0) {
        int32_t id = g4_argmax(&r->o->sampler, logits, r->V);
        *accepted = id == drafted;
        return id;
    }
    g4_dist_fill(&r->p, &r->o->sampler, logits, r->V);
    return g4_accept(&r->p, &r->q[i], drafted, unit(r, G4_DRAW_ACCEPT, r->made),
                     unit(r, G4_DRAW_TOKEN, r->made), accepted);
}

/* One round; 1: the text ends in it. */
static int round_of_drafts(run *r)
{
    int32_t ids[G4_MAX_DRAFT + 1];
    int64_t k = r->o->max_draft, start = r->s->n;
    if (k > r->o->max_tokens - r->made - 1) k = r->o->max_tokens - r->made - 1;
    if (k > r->s->ctx - start - 1) k = r->s->ctx - start - 1;
    draft(r, ids + 1, k);
    ids[0] = r->last;
    verify(r, ids, k + 1);          /* 2. one call for all of them */
    r->stats->rounds++;
    r->stats->drafted += k;
    for (int64_t i = 0; i < k; i++) r->stats->drafted_at[i]++;
    for (int64_t i = 0; i <= k; i++) {
        int accepted = 0;
        int32_t id = i < k ? judge(r, i, ids[i + 1], &accepted)
                           : choose(r, r->logits + i * r->V, r->made);
        if (accepted) {
            r->stats->accepted++;
            r->stats->accepted_at[i]++;
        } else {
            g4_session_rewind(r->s, start + 1 + i);
            g4_draft_begin(r->d, r->hidden + i * r->D);
        }
        if (certain(r, id, start + 1 + i)) {
            g4_session_rewind(r->s, start + 1 + i);
            return 1;
        }
        if (!accepted) break;
    }
    return 0;
}

uint64_t g4_generate_bytes(const g4_config *c, const g4_generate_options *o, int drafted)
{
    uint64_t rows = drafted ? (uint64_t)o->max_draft + 1 : 1;
    uint64_t dists = drafted && o->sampler.temperature > 0.0 ? rows : 1;
    return rows * (uint64_t)(c->vocab_size + c->hidden_size) * sizeof(float) +
           dists * g4_dist_bytes(c->vocab_size);
}

/* What g4_generate_bytes counts. */
static g4_status allocate(run *r, g4_arena *arena, g4_err *err)
{
    size_t rows = r->d ? (size_t)r->o->max_draft + 1 : 1;
    r->logits = g4_arena_alloc(arena, rows * (size_t)r->V, sizeof *r->logits);
    r->hidden = g4_arena_alloc(arena, rows * (size_t)r->D, sizeof *r->hidden);
    if (!r->logits || !r->hidden) return g4_nomem(err, "generate");
    G4_TRY(g4_dist_init(&r->p, r->V, arena, err));
    if (!r->d || r->o->sampler.temperature <= 0.0) return G4_OK;
    r->q = g4_arena_alloc(arena, (size_t)r->o->max_draft, sizeof *r->q);
    if (!r->q) return g4_nomem(err, "generate");
    for (int64_t i = 0; i < r->o->max_draft; i++)
        G4_TRY(g4_dist_init(&r->q[i], r->V, arena, err));
    return G4_OK;
}

g4_status g4_generate(g4_engine *e, g4_session *s, g4_drafter *d, const float *logits,
                      const float *hidden, const g4_generate_options *o, g4_token_fn *emit,
                      void *ctx, g4_generate_stats *stats, g4_err *err)
{
    const g4_config *c = &e->model->config;
    g4_arena arena = { NULL };
    run r = { .e = e, .s = s, .d = d, .o = o, .stats = stats, .emit = emit, .ctx = ctx,
              .V = c->vocab_size, .D = c->hidden_size };
    assert(!d || (o->max_draft >= 1 && o->max_draft <= G4_MAX_DRAFT));
    *stats = (g4_generate_stats){ 0 };
    g4_status st = allocate(&r, &arena, err);
    if (st == G4_OK && o->max_tokens > 0) {
        int done = certain(&r, choose(&r, logits, 0), s->n);
        if (d) g4_draft_begin(d, hidden);
        if (!done && !d) plain_loop(&r);
        while (!done && d) done = round_of_drafts(&r);
    }
    g4_arena_free(&arena);
    return st;
}
