/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/generate.h"

#include "ref/base/clock.h"
#include "ref/base/rng.h"

#include <assert.h>
#include <string.h>

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
    float *kept;                    /* [max_draft][V] the drafter's, for an observer, or NULL */
    g4_sampler drafts;              /* how drafts are chosen */
    g4_dist p, *q;                  /* target; drafter's, one a draft position, or NULL: greedy */
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
static int certain(run *r, int32_t id, const float *logits, int64_t cached)
{
    if (r->o->row) *r->o->row = logits;
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
    } while (!certain(r, choose(r, r->logits, r->made), r->logits, r->s->n));
}

/* ---- a round ---- */

/* A token of the drafter, as it drafts, and how sure it is of it. */
static int32_t propose(run *r, int64_t i, double *confidence)
{
    const g4_generate_options *o = r->o;
    const float *logits = r->d->logits;
    int32_t id;
    if (r->kept) memcpy(r->kept + i * r->V, logits, (size_t)r->V * sizeof *logits);
    if (r->q) g4_dist_fill(&r->q[i], &r->drafts, logits, r->V);
    if (r->q && o->way == G4_DRAFT_OURS)
        id = g4_dist_draw(&r->q[i], unit(r, G4_DRAW_DRAFT, r->made + i));
    else
        id = g4_argmax(&r->drafts, logits, r->V);
    if (o->pace) *confidence = r->q ? r->q[i].dense[id] : g4_pace_confidence(logits, r->V, id);
    return id;
}

/* How many tokens a round may draft at most. */
static int64_t room(const run *r)
{
    int64_t k = r->o->max_draft, text = r->o->max_tokens - r->made - 1;
    int64_t context = r->s->ctx - r->s->n - 1;
    if (r->o->way != G4_DRAFT_VLLM && k > text) k = text;
    return k > context ? context : k;
}

/* 1. The drafter proposes tokens behind the last one; returns how many. */
static int64_t draft(run *r, int32_t *ids, double *confidence)
{
    int64_t k = 0, most = room(r);
    int32_t last = r->last;
    if (r->o->pace) g4_pace_begin(r->o->pace);
    for (; k < most; k++) {
        if (r->o->pace && !g4_pace_more(r->o->pace, k)) break;
        g4_draft_step(r->d, r->s, last, k);
        ids[k] = last = propose(r, k, &confidence[k]);
        if (r->o->pace) g4_pace_drafted(r->o->pace, confidence[k]);
    }
    return k;
}

/* 3. The token behind row i of the verified logits, given what was drafted there. */
static int32_t judge(run *r, int64_t i, int32_t drafted, int *accepted)
{
    const float *logits = r->logits + i * r->V;
    if (r->o->forced) {
        *accepted = unit(r, G4_DRAW_ACCEPT, r->made + i) < r->o->forced[i];
        return *accepted ? drafted : g4_argmax(&r->o->sampler, logits, r->V);
    }
    if (r->o->sampler.temperature <= 0.0) {
        int32_t id = g4_argmax(&r->o->sampler, logits, r->V);
        *accepted = id == drafted;
        return id;
    }
    g4_dist_fill(&r->p, &r->o->sampler, logits, r->V);
    return g4_accept(&r->p, &r->q[i], drafted, unit(r, G4_DRAW_ACCEPT, r->made + i),
                     unit(r, G4_DRAW_TOKEN, r->made + i), accepted);
}

/* 4. The cache without rejected drafts, and what the next round starts from. */
static void settle(run *r, const g4_round *now)
{
    int64_t known = now->cached + 1 + now->matched, dirty = now->cached + 1 + now->k;
    int64_t W = r->d->backbone->config.sliding_window;
    g4_session_rewind(r->s, known);
    g4_draft_begin(r->d, r->s, r->hidden + now->matched * r->D);
    if (r->o->way != G4_DRAFT_HF) return;
    /* Of the cache with the rejected drafts in it, sliding layers have what the verification
     * saw of it.  It is cut, from its beginning, to as many rows as there are known tokens,
     * the newest included, which has no row: one rejected draft stays [N18]. */
    int64_t held = (now->cached < W - 1 ? now->cached : W - 1) + now->k + 1, rows = known + 1;
    g4_span *full = &r->d->seen[G4_FULL], *sliding = &r->d->seen[G4_SLIDING];
    full->end = rows < dirty ? rows : dirty;
    sliding->end = rows < held ? dirty - held + rows : dirty;
    sliding->begin = dirty - held;
    if (sliding->begin < sliding->end - (W + 1)) sliding->begin = sliding->end - (W + 1);
}

static void note(run *r, g4_round *now, const double *confidence)
{
    g4_generate_stats *s = r->stats;
    s->rounds++;
    s->drafted += now->k;
    s->accepted += now->taken;
    s->draft_s += now->draft_s;
    s->verify_s += now->verify_s;
    for (int64_t i = 0; i < now->k; i++) s->drafted_at[i]++;
    for (int64_t i = 0; i < now->taken; i++) s->accepted_at[i]++;
    const g4_pace_round p = { .confidence = confidence, .k = now->k, .matched = now->matched,
                              .draft_s = now->draft_s, .verify_s = now->verify_s };
    if (r->o->pace) g4_pace_learn(r->o->pace, &p);
    if (r->o->round) r->o->round(r->o->round_ctx, now);
}

/* One round; 1: the text ends in it. */
static int round_of_drafts(run *r)
{
    int32_t ids[G4_MAX_DRAFT + 1], chosen[G4_MAX_DRAFT + 1];
    double confidence[G4_MAX_DRAFT], start = g4_seconds();
    g4_round now = { .cached = r->s->n, .drafted = ids + 1, .chosen = chosen,
                     .draft_logits = r->kept, .logits = r->logits };
    int accepted = 1, done = 0;
    now.k = draft(r, ids + 1, confidence);
    now.draft_s = g4_seconds() - start;
    ids[0] = r->last;
    verify(r, ids, now.k + 1);      /* 2. one call for all of them */
    now.verify_s = g4_seconds() - start - now.draft_s;
    while (now.matched < now.k && accepted) {
        int64_t i = now.matched;
        chosen[i] = judge(r, i, ids[i + 1], &accepted);
        now.matched += accepted;
    }
    if (accepted) chosen[now.k] = choose(r, r->logits + now.k * r->V, r->made + now.k);
    settle(r, &now);
    for (int64_t i = 0; i <= now.matched && !done; i++) {
        now.taken += i < now.matched;
        now.written++;
        done = certain(r, chosen[i], r->logits + i * r->V, now.cached + 1 + i);
        if (done) g4_session_rewind(r->s, now.cached + 1 + i);
    }
    note(r, &now, confidence);
    return done;
}

uint64_t g4_generate_bytes(const g4_config *c, const g4_generate_options *o, int drafted)
{
    uint64_t rows = drafted ? (uint64_t)o->max_draft + 1 : 1;
    uint64_t dists = drafted && o->sampler.temperature > 0.0 ? rows : 1;
    uint64_t kept = drafted && o->round ? rows - 1 : 0;
    return (rows * (uint64_t)(c->vocab_size + c->hidden_size) +
            kept * (uint64_t)c->vocab_size) * sizeof(float) +
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
    if (r->d && r->o->round && rows > 1) {
        r->kept = g4_arena_alloc(arena, (rows - 1) * (size_t)r->V, sizeof *r->kept);
        if (!r->kept) return g4_nomem(err, "generate");
    }
    if (!r->d || r->o->sampler.temperature <= 0.0) return G4_OK;
    r->q = g4_arena_alloc(arena, (size_t)r->o->max_draft + 1, sizeof *r->q);
    if (!r->q) return g4_nomem(err, "generate");
    for (int64_t i = 0; i < r->o->max_draft; i++)
        G4_TRY(g4_dist_init(&r->q[i], r->V, arena, err));
    return G4_OK;
}

/* The filters that drafts go through: ours those of the text, the others' none. */
static g4_sampler draft_sampler(const g4_generate_options *o)
{
    if (o->way == G4_DRAFT_OURS) return o->sampler;
    return (g4_sampler){ .temperature = o->way == G4_DRAFT_HF ? 1.0 : 0.0, .top_p = 1.0 };
}

g4_status g4_generate(g4_engine *e, g4_session *s, g4_drafter *d, const float *logits,
                      const float *hidden, const g4_generate_options *o, g4_token_fn *emit,
                      void *ctx, g4_generate_stats *stats, g4_err *err)
{
    const g4_config *c = &e->model->config;
    g4_arena arena = { NULL };
    run r = { .e = e, .s = s, .d = d, .o = o, .stats = stats, .emit = emit, .ctx = ctx,
              .drafts = draft_sampler(o), .V = c->vocab_size, .D = c->hidden_size };
    assert(!d || (o->max_draft >= 0 && o->max_draft <= G4_MAX_DRAFT));
    *stats = (g4_generate_stats){ 0 };
    g4_status st = allocate(&r, &arena, err);
    if (st == G4_OK && o->max_tokens > 0) {
        int done = certain(&r, choose(&r, logits, 0), logits, s->n);
        if (d) g4_draft_begin(d, s, hidden);
        if (!done && !d) plain_loop(&r);
        while (!done && d) done = round_of_drafts(&r);
    }
    g4_arena_free(&arena);
    return st;
}
