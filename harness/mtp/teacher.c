/* SPDX-License-Identifier: Apache-2.0
 * Drafts at every position of given texts.  A round that began behind token t of a text gets
 * the text's own tokens; it goes on as long as backbone, drafter and text say the same, which
 * is just as long as in generating that text.  So each text of n tokens gives n - 1 rounds
 * where generating it gives n / tokens-per-pass of them, and no round waits for another:
 *
 *   1. layer by layer, all texts; between two layers their residual streams are kept
 *      (4 D bytes a token), so that each weight is read once however many texts there are
 *   2. the layers whose keys the drafter sees and those behind them, a text at a time, then
 *      this text's rounds, ROUNDS of them a step
 *
 * Greedy: a draft is accepted where it is the backbone's likeliest token.  With a temperature
 * the same paths are taken, and total variation says what sampling would accept. */
#include "harness/mtp/mtp.h"

#include "harness/pass.h"
#include "harness/room.h"
#include "ref/base/clock.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 32 };

typedef struct text {
    g4_prompt p;
    g4_soft soft;
    g4_span *blocks;             /* [n] */
    float *x;                    /* [n][D] */
} text;

typedef struct lesson {
    g4_mtp_study *s;
    text *texts;                 /* [count] */
    int64_t longest, chunk, shared;   /* shared: first layer that the drafter sees */
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;
    g4_mtp_meter meter;
    float *hidden;               /* [longest][D] behind the final norm */
    float *logits;               /* [ROUNDS + max_draft][V] */
    double begun;
    g4_arena arena;
} lesson;

static g4_status load_text(lesson *t, size_t i, g4_err *err)
{
    g4_mtp_study *s = t->s;
    text *x = &t->texts[i];
    size_t D = (size_t)s->rt.model->config.hidden_size;
    G4_TRY(g4_mtp_prompt_build(s, &s->prompts[i], &x->p, &t->arena, err));
    x->blocks = g4_arena_alloc(&t->arena, (size_t)x->p.n, sizeof *x->blocks);
    x->x = g4_arena_alloc(&t->arena, (size_t)x->p.n, D * sizeof *x->x);
    if (!x->blocks || !x->x) return g4_nomem(err, s->o->data);
    g4_blocks(x->blocks, x->p.types, x->p.n);
    s->texts[i].prompt_tokens = x->p.n;
    if (x->p.n > t->longest) t->longest = x->p.n;
    int64_t rows = g4_chunk_rows(x->p.types, x->p.n, t->chunk);
    if (rows > t->chunk) t->chunk = rows;   /* a picture must not be split */
    return G4_OK;
}

static g4_status open_lesson(lesson *t, g4_err *err)
{
    g4_mtp_study *s = t->s;
    const g4_config *c = &s->rt.model->config;
    g4_engine_plan plan = s->rt.plan;
    if (s->o->mask) G4_TRY(g4_mask_by_name(&plan.mask, s->o->mask, err));
    t->chunk = s->o->chunk > 0 ? s->o->chunk : G4_STREAM_CHUNK;
    t->texts = g4_arena_alloc(&t->arena, s->count, sizeof *t->texts);
    if (!t->texts) return g4_nomem(err, s->o->data);
    for (size_t i = 0; i < s->count; i++) G4_TRY(load_text(t, i, err));
    plan.rows = t->chunk < t->longest ? t->chunk : t->longest;
    plan.ctx = plan.back = t->longest;   /* rounds begin anywhere: no key may go */
    plan.logit_rows = ROUNDS + s->opt.max_draft;
    G4_TRY(g4_room_for_plan(&s->rt, &plan, 1, err));
    G4_TRY(g4_engine_open(&t->engine, s->rt.model, &s->rt.ops, s->rt.par, &plan, err));
    G4_TRY(g4_session_open(&t->session, t->engine, err));
    G4_TRY(g4_drafter_open_rows(&t->drafter, s->rt.draft, t->engine, ROUNDS, err));
    G4_TRY(g4_mtp_meter_open(&t->meter, s, &t->arena, err));
    const int64_t *shared = t->drafter->shared_layer;
    t->shared = shared[0] < shared[1] ? shared[0] : shared[1];
    t->hidden = g4_arena_alloc(&t->arena, (size_t)t->longest,
                               (size_t)c->hidden_size * sizeof(float));
    t->logits = g4_arena_alloc(&t->arena, (size_t)plan.logit_rows,
                               (size_t)c->vocab_size * sizeof(float));
    if (!t->hidden || !t->logits) return g4_nomem(err, "mtp");
    for (size_t i = 0; i < s->count; i++)
        G4_TRY(g4_soft_embed(&t->texts[i].soft, t->engine, &t->texts[i].p, NULL, err));
    return G4_OK;
}

static void close_lesson(lesson *t)
{
    for (size_t i = 0; t->texts && i < t->s->count; i++) g4_soft_free(&t->texts[i].soft);
    g4_drafter_close(t->drafter);
    g4_session_close(t->session);
    g4_engine_close(t->engine);
    g4_arena_free(&t->arena);
}

static int64_t chunk_end(const text *x, int64_t begin, int64_t chunk)
{
    int64_t end = x->p.n - begin < chunk ? x->p.n : begin + chunk;
    while (end < x->p.n && x->blocks[end].begin < end && x->blocks[end].end > end)
        end = x->blocks[end].end;
    return end;
}

/* Layers [first, last) of one text, from its beginning. */
static void run_part(lesson *t, text *x, int64_t first, int64_t last)
{
    int64_t D = t->s->rt.model->config.hidden_size;
    int ends = last == t->s->rt.model->config.num_hidden_layers;
    int64_t chunk = t->s->o->chunk > 0 ? t->s->o->chunk : G4_STREAM_CHUNK;
    g4_session_reset(t->session);
    for (int64_t at = 0, end; at < x->p.n; at = end) {
        end = chunk_end(x, at, chunk);
        const g4_item item = {
            .session = t->session, .n = end - at, .ids = x->p.ids + at,
            .positions = x->p.positions + at, .blocks = x->blocks + at,
            .soft = x->soft.rows ? x->soft.rows + at : NULL, .logit_rows = ends ? end - at : 0,
            .hidden = ends ? t->hidden + at * D : NULL,
        };
        const g4_part part = { first, last, x->x + at * D };
        g4_forward_part(t->engine, &item, 1, &part);
    }
}

/* ---- the rounds of a text ---- */

/* What is known of a round so far. */
typedef struct path {
    g4_mtp_round round;
    g4_mtp_place places[G4_MAX_DRAFT];
    int ended;
} path;

/* Draft `step` of the round that began behind token t, against the backbone's row. */
static void judge(lesson *t, const text *x, int64_t at, int64_t step, const float *target,
                  const float *draft, path *p)
{
    const g4_mtp_study *s = t->s;
    const g4_sampler free_choice = { 0 };
    int64_t next = at + 2 + step;
    int32_t best = g4_argmax(&s->opt.sampler, target, t->meter.vocab);
    int32_t id = g4_argmax(&free_choice, draft, t->meter.vocab);
    p->places[step] = g4_mtp_measure(&t->meter, target, draft, id);
    p->round.k = (int32_t)step + 1;
    p->round.next = best;
    if (id == best) p->round.matched++;
    p->ended = id != best || next >= x->p.n || x->p.ids[next] != id;
}

static g4_status keep(lesson *t, size_t prompt, int64_t at, path *p, g4_err *err)
{
    g4_mtp_round *r = g4_mtp_add_round(t->s);
    if (!r) return g4_nomem(err, "rounds");
    size_t first = r->first;
    *r = p->round;
    r->first = first;
    r->prompt = (int32_t)prompt;
    r->cached = (int32_t)at + 1;
    r->taken = r->matched;
    r->written = r->matched + 1;
    for (int32_t i = 0; i < r->k; i++) {
        g4_mtp_place *place = g4_mtp_add_place(t->s);
        if (!place) return g4_nomem(err, "rounds");
        *place = p->places[i];
    }
    return G4_OK;
}

/* Rounds behind tokens [from, from + n). */
static g4_status some_rounds(lesson *t, size_t prompt, int64_t from, int64_t n, g4_err *err)
{
    const text *x = &t->texts[prompt];
    int64_t D = t->s->rt.model->config.hidden_size, V = t->meter.vocab, K = t->s->opt.max_draft;
    int64_t rows = from + n + K <= x->p.n ? n + K - 1 : x->p.n - from - 1, known[ROUNDS];
    int32_t last[ROUNDS];
    path *paths = calloc(ROUNDS, sizeof *paths);
    if (!paths) return g4_nomem(err, "rounds");
    /* 1. the backbone's logits at the tokens behind */
    g4_head_forward(t->engine, t->logits, t->hidden + (from + 1) * D, rows);
    /* 2. steps of all rounds at once; one that has ended goes on unseen */
    memcpy(t->drafter->hidden, t->hidden + from * D, (size_t)(n * D) * sizeof(float));
    for (int64_t step = 0; step < K; step++) {
        int64_t going = x->p.n - from - 1 - step < n ? x->p.n - from - 1 - step : n, open = 0;
        for (int64_t i = 0; i < going; i++) {
            known[i] = from + i + 1;
            last[i] = x->p.ids[from + i + 1 + step];
            open += !paths[i].ended;
        }
        if (going <= 0 || !open) break;
        g4_draft_rows(t->drafter, t->session, known, last, going);
        for (int64_t i = 0; i < going; i++)
            if (!paths[i].ended)
                judge(t, x, from + i, step, t->logits + (i + step) * V, t->drafter->logits + i * V,
                      &paths[i]);
    }
    g4_status st = G4_OK;
    for (int64_t i = 0; st == G4_OK && i < n; i++) st = keep(t, prompt, from + i, &paths[i], err);
    free(paths);
    return st;
}

static g4_status all_rounds(lesson *t, size_t prompt, g4_err *err)
{
    int64_t starts = t->texts[prompt].p.n - 1;
    for (int64_t from = 0; from < starts; from += ROUNDS)
        G4_TRY(some_rounds(t, prompt, from, starts - from < ROUNDS ? starts - from : ROUNDS, err));
    t->s->texts[prompt].done = 1;
    return G4_OK;
}

/* ---- all ---- */

static void progress(const lesson *t, const char *what, int64_t done, int64_t all)
{
    double spent = g4_seconds() - t->begun, left = spent / (double)done * (double)(all - done);
    fprintf(stderr, "%s %lld of %lld, %d:%02d left\n", what, (long long)done, (long long)all,
            (int)(left / 60), (int)left % 60);
}

static g4_status teach(lesson *t, g4_err *err)
{
    g4_mtp_study *s = t->s;
    int64_t L = s->rt.model->config.num_hidden_layers;
    G4_TRY(open_lesson(t, err));
    t->begun = g4_seconds();
    for (int64_t l = 0; l < t->shared; l++) {
        for (size_t i = 0; i < s->count; i++) run_part(t, &t->texts[i], l, l + 1);
        progress(t, "layer", l + 1, L);
    }
    double told = t->begun = g4_seconds();
    for (size_t i = 0; i < s->count; i++) {
        run_part(t, &t->texts[i], t->shared, L);
        G4_TRY(all_rounds(t, i, err));
        if (g4_seconds() - told < 5.0 && i + 1 < s->count) continue;
        progress(t, "text", (int64_t)i + 1, (int64_t)s->count);
        told = g4_seconds();
    }
    return G4_OK;
}

g4_status g4_mtp_teacher(g4_mtp_study *s, g4_err *err)
{
    lesson t = { .s = s };
    g4_status st = teach(&t, err);
    close_lesson(&t);
    return st;
}
