/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/batch.h"

#include "harness/greedy.h"
#include "harness/room.h"
#include "ref/model/forward.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LANES = 8, DEFAULT_CHUNK = 512 };

/* All sessions together stay below this, and below half of what is free: what is read twice
 * costs less than paging.  Rows of texts that are written share a pass over all weights, which
 * is most of their cost: 8 rows take 1.6 times as long as one [N49]. */
#define LANE_BYTES ((uint64_t)1 << 30)
#define TEXT_BYTES ((uint64_t)4 << 30)

/* So many tokens fewer to read are worth a copy or a wait: reading all weights for a row costs
 * about as much as 8 rows of prefill [N58]. */
enum { WORTH = 8 };

/* One session and the job it is at. */
typedef struct lane {
    g4_session *session;
    int32_t *ids;                /* [ctx] what the session holds, then what is to be read */
    int32_t *positions;          /* [ctx] 0, 1, 2, ... */
    int64_t n;                   /* how many of ids there are */
    const g4_prompt *media;      /* what they begin with; NULL: they are ids alone */
    float *logits;               /* [rows][V] of the last call */
    size_t job;
    int busy;
    int64_t made, feeding;       /* tokens generated; rows in the call that runs */
    g4_soft soft;
    const float **rows;          /* [ctx] soft tokens, as g4_item has them */
    g4_span *blocks;             /* [ctx] */
} lane;

typedef struct run {
    const g4_batch *b;
    g4_engine *engine;
    g4_sampler greedy;
    lane lanes[MAX_LANES + 1];
    int count;                   /* lanes, and behind them perhaps a keeper */
    lane *keeper;                /* never written behind what jobs share; NULL: lanes go back */
    size_t next;                 /* job */
    g4_arena arena;
} run;

static int64_t common(const int32_t *a, int64_t na, const int32_t *b, int64_t nb)
{
    int64_t n = 0;
    while (n < na && n < nb && a[n] == b[n]) n++;
    return n;
}

/* ---- the plan ---- */

/* The first tokens that go without all the rest of a picture: those behind the last of media. */
static int64_t media_end(const g4_prompt *p)
{
    int64_t n = p ? p->n : 0;
    while (n && !p->types[n - 1]) n--;
    return n;
}

/* Tokens that a, which begins with these media, and the job b have in common and b need not read
 * for its logits. */
static int64_t shared(const int32_t *a, int64_t n, const g4_prompt *media, const g4_batch_job *b)
{
    int64_t same = media == b->media ? common(a, n, b->ids, b->n) : 0;
    if (same > b->n - b->rows) same = b->n - b->rows;
    return same < media_end(b->media) ? 0 : same;
}

/* A lane goes back to what all jobs have in common, at most: cheap where they are short.  Behind
 * long ones a ring that goes back that far would be no ring; there a keeper has what they share.
 * Returns the bytes that sessions may take. */
static uint64_t plan_sizes(const g4_batch *b, g4_engine_plan *plan, int64_t *rows)
{
    int64_t least = INT64_MAX;
    int texts = 0;
    *plan = b->rt->plan;
    plan->rows = b->chunk > 0 ? b->chunk : DEFAULT_CHUNK;
    plan->mask = b->mask;
    *rows = 1;
    for (size_t i = 0; i < b->count; i++) {
        const g4_batch_job *j = &b->jobs[i];
        int64_t all = j->n + j->max_tokens;
        int64_t same = shared(b->jobs[0].ids, b->jobs[0].n, b->jobs[0].media, j);
        assert(j->n >= 1 && j->rows >= 1 && j->rows <= j->n);
        if (all > plan->ctx) plan->ctx = all;
        if (j->rows > *rows) *rows = j->rows;
        /* A job with media is read in one call: no chunk may split a picture. */
        if (j->media && j->n > plan->rows) plan->rows = j->n;
        if (same < least) least = same;
        texts |= j->max_tokens > 0;
    }
    if (*rows > plan->rows) plan->rows = *rows;
    plan->logit_rows = *rows;
    plan->back = plan->ctx - least;
    if (texts || g4_session_bytes(&b->rt->model->config, plan) > LANE_BYTES) plan->back = 0;
    return texts ? TEXT_BYTES : LANE_BYTES;
}

static g4_status lane_open(run *r, lane *l, int64_t rows, g4_err *err)
{
    const g4_engine_plan *p = &r->engine->plan;
    size_t ctx = (size_t)p->ctx, V = (size_t)r->b->rt->model->config.vocab_size;
    G4_TRY(g4_session_open(&l->session, r->engine, err));
    l->ids = g4_arena_alloc(&r->arena, ctx, sizeof *l->ids);
    l->positions = g4_arena_alloc(&r->arena, ctx, sizeof *l->positions);
    l->rows = g4_arena_alloc(&r->arena, ctx, sizeof *l->rows);
    l->blocks = g4_arena_alloc(&r->arena, ctx, sizeof *l->blocks);
    l->logits = g4_arena_alloc(&r->arena, (size_t)rows, V * sizeof *l->logits);
    if (!l->ids || !l->positions || !l->rows || !l->blocks || !l->logits)
        return g4_nomem(err, "lanes");
    for (int64_t i = 0; i < p->ctx; i++) l->positions[i] = (int32_t)i;
    return G4_OK;
}

static g4_status open_all(run *r, g4_err *err)
{
    const g4_runtime *rt = r->b->rt;
    g4_engine_plan plan;
    int64_t rows;
    uint64_t most = plan_sizes(r->b, &plan, &rows);
    if (plan.ctx > G4_MAX_POSITION)
        return g4_fail(err, G4_EINPUT, "a request of %lld tokens: at most %d", (long long)plan.ctx,
                       (int)G4_MAX_POSITION);
    uint64_t each = g4_session_bytes(&rt->model->config, &plan);
    int kept = !plan.back && r->b->count > 1 &&
               g4_cache_slots(&rt->model->config, &plan, G4_SLIDING) < plan.ctx;
    G4_TRY(g4_room_for_plan(rt, &plan, 1 + kept, err));
    uint64_t room = g4_room_now().bytes / 2;
    if (most > room) most = room;
    G4_TRY(g4_engine_open(&r->engine, rt->model, &rt->ops, rt->par, &plan, err));
    r->greedy = g4_greedy(rt->model);
    for (r->count = 0; r->count < MAX_LANES && (size_t)r->count < r->b->count; r->count++) {
        if (r->count && (uint64_t)(r->count + 1 + kept) * each > most) break;
        G4_TRY(lane_open(r, &r->lanes[r->count], rows, err));
    }
    if (kept) r->keeper = &r->lanes[r->count];
    return kept ? lane_open(r, r->keeper, rows, err) : G4_OK;
}

/* ---- a lane ---- */

/* What l holds of a job, or (all) will hold once it has read what is before it. */
static int64_t offer(const lane *l, const g4_batch_job *j, int all)
{
    int64_t n = all && l->busy ? l->n : l->session->n;
    n = shared(l->ids, n, l->media, j);
    return all || g4_session_keeps(l->session, n) ? n : 0;
}

/* What the next job and the one behind it begin with. */
static int64_t common_next(const run *r)
{
    const g4_batch_job *j = &r->b->jobs[r->next];
    if (!r->keeper || j->media || r->next + 1 == r->b->count) return 0;
    return shared(j->ids, j->n - j->rows, NULL, j + 1);
}

/* The keeper reads the first n tokens of the next job. */
static const lane *read_common(run *r, int64_t n)
{
    lane *k = r->keeper;
    const g4_batch_job *j = &r->b->jobs[r->next];
    int64_t have = offer(k, j, 0);
    if (have) g4_session_rewind(k->session, have);
    else g4_session_reset(k->session);
    memcpy(k->ids, j->ids, (size_t)n * sizeof *k->ids);
    if (r->b->computed) *r->b->computed += n - have;
    for (int64_t at = have, some; at < n; at += some) {
        some = n - at < r->engine->plan.rows ? n - at : r->engine->plan.rows;
        const g4_item item = { .session = k->session, .n = some, .ids = k->ids + at,
                               .positions = k->positions + at };
        g4_forward(r->engine, &item, 1);
    }
    return k;
}

/* Whose session l begins the next job with, and how much of it; NULL: l waits for one that is
 * on its way there. */
static const lane *source(run *r, const lane *l, int64_t *keep)
{
    const g4_batch_job *j = &r->b->jobs[r->next];
    const lane *best = l;
    int64_t soon = 0, both = common_next(r);
    *keep = offer(l, j, 0);
    for (int i = 0; i < r->count + (r->keeper != NULL); i++) {
        const lane *o = &r->lanes[i];
        int64_t now = offer(o, j, 0), later = offer(o, j, 1);
        if (now >= *keep + WORTH) *keep = now, best = o;
        if (later > o->session->n && later > soon) soon = later;
    }
    if (both >= *keep + WORTH && both >= soon + WORTH) {
        *keep = both;
        return read_common(r, both);
    }
    return soon >= *keep + WORTH ? NULL : best;
}

/* What the job begins with is media; ids alone follow. */
static g4_status take_media(run *r, lane *l, const g4_batch_job *j, g4_err *err)
{
    size_t n = (size_t)j->media->n;
    G4_TRY(g4_soft_embed(&l->soft, r->engine, j->media, NULL, err));
    memcpy(l->rows, l->soft.rows, n * sizeof *l->rows);
    memset(l->rows + n, 0, ((size_t)j->n - n) * sizeof *l->rows);
    g4_blocks(l->blocks, j->media->types, j->media->n);
    for (int64_t i = j->media->n; i < j->n; i++) l->blocks[i] = (g4_span){ i, i };
    return G4_OK;
}

/* The last `rows` tokens are read again, for their logits. */
static g4_status take(run *r, lane *l, g4_err *err)
{
    int64_t keep;
    const lane *from = source(r, l, &keep);
    if (!from) return G4_OK;
    const g4_batch_job *j = &r->b->jobs[l->job = r->next++];
    if (from != l) g4_session_copy(l->session, from->session, keep);
    else if (keep) g4_session_rewind(l->session, keep);
    else g4_session_reset(l->session);
    memcpy(l->ids, j->ids, (size_t)j->n * sizeof *l->ids);
    g4_soft_free(&l->soft);
    l->soft = (g4_soft){ 0 };
    l->media = j->media;
    if (j->media && !keep) G4_TRY(take_media(r, l, j, err));
    l->n = j->n;
    l->made = 0;
    l->busy = 1;
    return G4_OK;
}

/* Rows of the lane's next call where `room` are left: with the last of them come all
 * whose logits are wanted. */
static int64_t rows_next(const run *r, const lane *l, int64_t room)
{
    const g4_batch_job *j = &r->b->jobs[l->job];
    int64_t left = l->n - l->session->n, rows = l->made ? 1 : j->rows;
    if (left <= room) return left;
    if (j->media) return 0;
    return left - room >= rows ? room : left - rows < 0 ? 0 : left - rows;
}

static g4_item item_of(const run *r, lane *l)
{
    const g4_batch_job *j = &r->b->jobs[l->job];
    int64_t at = l->session->n, last = at + l->feeding == l->n;
    int first = j->media && at == 0;
    return (g4_item){ .session = l->session, .n = l->feeding, .ids = l->ids + at,
                      .positions = l->positions + at, .soft = first ? l->rows : NULL,
                      .blocks = first ? l->blocks : NULL,
                      .logit_rows = last ? (l->made ? 1 : j->rows) : 0,
                      .logits = last ? l->logits : NULL };
}

/* The lane's logits are there: hands them on, or takes the next token. */
static g4_status answered(run *r, lane *l, g4_err *err)
{
    const g4_batch_job *j = &r->b->jobs[l->job];
    int64_t V = r->b->rt->model->config.vocab_size;
    int end = 0;
    if (!j->max_tokens) {
        l->busy = 0;
        return r->b->scored(r->b->ctx, l->job, l->logits, err);
    }
    const float *last = l->logits + (l->made ? 0 : j->rows - 1) * V;
    int32_t id = g4_argmax(&r->greedy, last, V);
    G4_TRY(r->b->token(r->b->ctx, l->job, id, &end, err));
    l->made++;
    l->busy = !end && l->made < j->max_tokens;
    if (l->busy) l->ids[l->n++] = id;
    return G4_OK;
}

/* ---- all lanes ---- */

static g4_status step(run *r, g4_err *err)
{
    g4_item items[MAX_LANES];
    int count = 0;
    int64_t room = r->engine->plan.rows;
    for (int i = 0; i < r->count; i++) {
        lane *l = &r->lanes[i];
        if (!l->busy && room > 0 && r->next < r->b->count) G4_TRY(take(r, l, err));
        l->feeding = l->busy ? rows_next(r, l, room) : 0;
        if (l->feeding > 0) items[count++] = item_of(r, l);
        room -= l->feeding;
        if (r->b->computed) *r->b->computed += l->feeding;
    }
    assert(count > 0);
    g4_forward(r->engine, items, count);
    for (int i = 0; i < r->count; i++) {
        lane *l = &r->lanes[i];
        if (l->busy && l->feeding && l->session->n == l->n) G4_TRY(answered(r, l, err));
    }
    return G4_OK;
}

static int working(const run *r)
{
    for (int i = 0; i < r->count; i++)
        if (r->lanes[i].busy) return 1;
    return r->next < r->b->count;
}

g4_status g4_batch_run(const g4_batch *b, g4_err *err)
{
    if (!b->count) return G4_OK;
    run *r = calloc(1, sizeof *r);
    if (!r) return g4_nomem(err, "batch");
    r->b = b;
    g4_status s = open_all(r, err);
    while (s == G4_OK && working(r)) s = step(r, err);
    for (int i = 0; i <= MAX_LANES; i++) {
        g4_soft_free(&r->lanes[i].soft);
        g4_session_close(r->lanes[i].session);
    }
    g4_engine_close(r->engine);
    g4_arena_free(&r->arena);
    free(r);
    return s;
}
