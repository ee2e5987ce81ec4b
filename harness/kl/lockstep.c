/* SPDX-License-Identifier: Apache-2.0
 * Windows through one model, or two in lockstep.  A call of the model takes as many windows
 * as fit in its rows, so that small ones share the reading of the weights; a window that is
 * longer goes alone, piece by piece.  What is kept of a call is the final norm's rows
 * [rows][D]; logits are made from them a tile of 64 rows at a time, the candidate's and the
 * reference's of the same places. */
#include "harness/kl/kl.h"
#include "harness/pass.h"
#include "harness/room.h"
#include "ref/base/clock.h"
#include "ref/model/forward.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LANES = 16, CHUNK = 512, TILE = G4_PASS_LOGITS, EVERY = 20 };   /* seconds of silence */

/* One model. */
typedef struct side {
    const g4_runtime *rt;
    g4_engine *engine;
    g4_session *sessions[LANES];
    float *hidden;                   /* [rows][D] of a call's scored rows */
} side;

/* Tokens [at, at + n) of a window, in one call. */
typedef struct part {
    const g4_kl_window *w;
    int64_t at, n, scored;           /* scored: of its last rows */
} part;

typedef struct run {
    const g4_kl_run *r;
    side sides[2];                   /* candidate, reference */
    int side_count, lanes;
    int64_t rows;                    /* most of a call */
    int32_t *positions;              /* [longest] 0, 1, 2, ... */
    int32_t *ids;                    /* [rows] what a call's scored rows predict */
    g4_kl_ref refs[TILE];
    uint8_t *marks;                  /* [threads][V] */
    int64_t done;                    /* scored so far */
    size_t window;                   /* the next one, from token `at` */
    int64_t at;
    double nll, start, told;
    g4_arena arena;
} run;

static g4_status open_side(run *u, side *s, g4_err *err)
{
    const g4_kl_text *t = u->r->text;
    const g4_config *c = &s->rt->model->config;
    g4_engine_plan plan = s->rt->plan;
    plan.rows = u->rows;
    plan.logit_rows = u->rows < TILE ? u->rows : TILE;
    plan.ctx = t->longest - 1;
    plan.mask = u->r->mask;
    G4_TRY(g4_room_for_plan(s->rt, &plan, u->lanes, err));
    G4_TRY(g4_engine_open(&s->engine, s->rt->model, &s->rt->ops, s->rt->par, &plan, err));
    for (int i = 0; i < u->lanes; i++) G4_TRY(g4_session_open(&s->sessions[i], s->engine, err));
    s->hidden = g4_arena_alloc(&u->arena, (size_t)u->rows, (size_t)c->hidden_size *
                               sizeof *s->hidden);
    return s->hidden ? G4_OK : g4_nomem(err, "windows");
}

static g4_status open_all(run *u, g4_err *err)
{
    const g4_kl_text *t = u->r->text;
    int64_t most = u->r->chunk > 0 ? u->r->chunk : CHUNK, reads = t->longest - 1;
    size_t V = (size_t)u->r->rt->model->config.vocab_size;
    if (reads > G4_MAX_POSITION)
        return g4_fail(err, G4_EINPUT, "a window of %lld tokens: at most %d", (long long)reads,
                       (int)G4_MAX_POSITION);
    u->lanes = most / reads > LANES ? LANES : most < reads ? 1 : (int)(most / reads);
    if ((size_t)u->lanes > t->count) u->lanes = (int)t->count;
    u->rows = most < u->lanes * reads ? most : u->lanes * reads;
    u->sides[0].rt = u->r->rt;
    u->sides[1].rt = u->r->reference;
    u->side_count = 1 + (u->r->reference != NULL);
    for (int i = 0; i < u->side_count; i++) G4_TRY(open_side(u, &u->sides[i], err));
    u->positions = g4_arena_alloc(&u->arena, (size_t)reads, sizeof *u->positions);
    u->ids = g4_arena_alloc(&u->arena, (size_t)u->rows, sizeof *u->ids);
    u->marks = g4_arena_alloc(&u->arena, (size_t)g4_par_threads(u->r->rt->par), V);
    if (!u->positions || !u->ids || !u->marks) return g4_nomem(err, "windows");
    for (int64_t i = 0; i < reads; i++) u->positions[i] = (int32_t)i;
    u->start = u->told = g4_seconds();
    return G4_OK;
}

/* The next call's parts; a window that does not fit whole waits, or goes alone. */
static int take(run *u, part parts[LANES])
{
    const g4_kl_text *t = u->r->text;
    int64_t room = u->rows;
    int count = 0;
    while (count < u->lanes && u->window < t->count) {
        const g4_kl_window *w = &t->windows[u->window];
        int64_t left = w->n - 1 - u->at, n = left < room ? left : room;
        int64_t scored = u->at + n - (w->n - 1 - w->scored);   /* rows from there on are */
        if (n < left && count) break;
        parts[count++] = (part){ w, u->at, n, scored < 0 ? 0 : scored < n ? scored : n };
        room -= n;
        u->at += n;
        if (n < left) break;
        u->window++;
        u->at = 0;
    }
    return count;
}

/* Runs the parts; a part that goes on where the last call stopped is alone, as that was. */
static void forward(run *u, const side *s, const part *parts, int count)
{
    g4_item items[LANES];
    int64_t D = s->rt->model->config.hidden_size;
    float *hidden = s->hidden;
    for (int i = 0; i < count; i++) {
        const part *p = &parts[i];
        if (p->at == 0) g4_session_reset(s->sessions[i]);
        items[i] = (g4_item){ .session = s->sessions[i], .n = p->n,
                              .ids = u->r->text->ids.ids + p->w->first + p->at,
                              .positions = u->positions + p->at, .logit_rows = p->scored,
                              .hidden = p->scored ? hidden : NULL };
        hidden += p->scored * D;
    }
    g4_forward(s->engine, items, count);
}

typedef struct tile {
    run *u;
    const float *logits;
    const int32_t *ids;
    g4_kl_token *out;
    int with_refs;
} tile;

static void rows_of_tile(void *ctx, int64_t begin, int64_t end, int worker)
{
    const tile *t = ctx;
    int64_t V = t->u->r->rt->model->config.vocab_size;
    for (int64_t i = begin; i < end; i++)
        g4_kl_row(&t->out[i], t->logits + i * V, V, t->ids[i], t->with_refs ? &t->u->refs[i] : NULL,
                  t->u->marks + (int64_t)worker * V);
}

/* Rows [from, from + *n) of the call: the reference's, made or read; *n may become smaller. */
static g4_status references(run *u, int64_t from, int64_t *n, g4_err *err)
{
    side *s = &u->sides[1];
    if (u->r->source) return u->r->source->rows(u->r->source, u->done, n, u->refs, err);
    if (!u->r->reference) return G4_OK;
    const g4_config *c = &s->rt->model->config;
    g4_head_forward(s->engine, s->engine->logits, s->hidden + from * c->hidden_size, *n);
    for (int64_t i = 0; i < *n; i++)
        u->refs[i] = (g4_kl_ref){ .kind = G4_KL_LOGITS,
                                  .logits = s->engine->logits + i * c->vocab_size };
    return G4_OK;
}

static g4_status judge(run *u, int64_t scored, g4_err *err)
{
    side *s = &u->sides[0];
    int64_t D = s->rt->model->config.hidden_size, most = s->engine->plan.logit_rows;
    for (int64_t from = 0, n; from < scored; from += n) {
        n = scored - from < most ? scored - from : most;
        G4_TRY(references(u, from, &n, err));
        float *logits = s->engine->logits;
        g4_head_forward(s->engine, logits, s->hidden + from * D, n);
        tile t = { u, logits, u->ids + from, u->r->tokens + u->done,
                   u->r->source || u->r->reference };
        g4_par_for(s->rt->par, n, 1, rows_of_tile, &t);
        if (u->r->sink)
            G4_TRY(u->r->sink->rows(u->r->sink, logits, t.ids, n, s->rt->par, err));
        for (int64_t i = 0; i < n; i++) u->nll += t.out[i].nll;
        u->done += n;
    }
    return G4_OK;
}

/* A line that is written over on a terminal; elsewhere one now and then. */
static void tell(run *u)
{
    const g4_kl_text *t = u->r->text;
    int terminal = isatty(STDERR_FILENO), last = u->done == t->scored;
    double now = g4_seconds(), spent = now - u->start;
    if (u->r->silent || !u->done || (!terminal && !last && now - u->told < EVERY)) return;
    u->told = now;
    fprintf(stderr, "%s%zu/%zu windows, %lld/%lld tokens, perplexity %.4f, %.0f s, %.0f s left%s",
            terminal ? "\r" : "", u->window, t->count, (long long)u->done, (long long)t->scored,
            exp(u->nll / (double)u->done), spent,
            spent / (double)u->done * (double)(t->scored - u->done),
            terminal && !last ? "  " : "\n");
}

static g4_status step(run *u, g4_err *err)
{
    part parts[LANES];
    int count = take(u, parts);
    int64_t scored = 0;
    assert(count > 0);
    for (int i = 0; i < count; i++) {
        const part *p = &parts[i];
        const int32_t *ids = u->r->text->ids.ids + p->w->first + p->at + p->n - p->scored + 1;
        memcpy(u->ids + scored, ids, (size_t)p->scored * sizeof *ids);
        scored += p->scored;
    }
    for (int i = 0; i < u->side_count; i++) forward(u, &u->sides[i], parts, count);
    G4_TRY(judge(u, scored, err));
    tell(u);
    return G4_OK;
}

g4_status g4_kl_run_all(const g4_kl_run *r, g4_err *err)
{
    run *u = calloc(1, sizeof *u);
    if (!u) return g4_nomem(err, "windows");
    u->r = r;
    g4_status s = open_all(u, err);
    while (s == G4_OK && u->window < r->text->count) s = step(u, err);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < LANES; k++) g4_session_close(u->sides[i].sessions[k]);
        g4_engine_close(u->sides[i].engine);
    }
    g4_arena_free(&u->arena);
    free(u);
    return s;
}
