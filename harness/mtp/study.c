/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/mtp/mtp.h"

#include "harness/pass.h"
#include "harness/room.h"
#include "ref/base/clock.h"

#include <stdlib.h>
#include <string.h>

/* One prompt being answered. */
typedef struct turn {
    g4_mtp_study *s;
    size_t prompt;
    g4_prompt p;
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;
    g4_mtp_meter meter;
    float *logits, *hidden;
    double spent;                /* seconds of measuring, which are not the text's */
    int failed;                  /* out of memory in a callback */
    g4_arena arena;
} turn;

static int on_token(void *ctx, int32_t id)
{
    turn *t = ctx;
    if (!g4_mtp_add_id(t->s, id)) t->failed = 1;
    return t->failed;
}

static void on_round(void *ctx, const g4_round *r)
{
    turn *t = ctx;
    double start = g4_seconds();
    g4_mtp_round *to = g4_mtp_add_round(t->s);
    if (!to) {
        t->failed = 1;
        return;
    }
    to->prompt = (int32_t)t->prompt;
    to->cached = (int32_t)r->cached;
    to->k = (int32_t)r->k;
    to->matched = (int32_t)r->matched;
    to->taken = (int32_t)r->taken;
    to->written = (int32_t)r->written;
    to->next = r->chosen[r->matched];
    to->draft_s = r->draft_s;
    to->verify_s = r->verify_s;
    for (int64_t i = 0, V = t->meter.vocab; i < r->k && !t->failed; i++) {
        g4_mtp_place *place = g4_mtp_add_place(t->s);
        if (place) *place = g4_mtp_measure(&t->meter, r->logits + i * V, r->draft_logits + i * V,
                                           r->drafted[i]);
        else t->failed = 1;
    }
    t->spent += g4_seconds() - start;
}

static g4_status open_turn(turn *t, g4_err *err)
{
    const g4_mtp_study *s = t->s;
    const g4_config *c = &s->rt.model->config;
    g4_engine_plan plan = s->rt.plan;
    if (s->o->mask) G4_TRY(g4_mask_by_name(&plan.mask, s->o->mask, err));
    G4_TRY(g4_mtp_prompt_build(s, &s->prompts[t->prompt], &t->p, &t->arena, err));
    g4_stream_plan(&plan, &t->p, s->o, s->opt.max_tokens, s->opt.max_draft + 1);
    if (plan.ctx > G4_MAX_POSITION || t->p.n > plan.ctx)
        return g4_fail(err, G4_EINPUT, "%s: a prompt of %lld tokens and %lld behind it: too many",
                       s->prompts[t->prompt].name, (long long)t->p.n,
                       (long long)s->opt.max_tokens);
    G4_TRY(g4_room_for_plan(&s->rt, &plan, 1, err));
    G4_TRY(g4_engine_open(&t->engine, s->rt.model, &s->rt.ops, s->rt.par, &plan, err));
    G4_TRY(g4_session_open(&t->session, t->engine, err));
    G4_TRY(g4_drafter_open(&t->drafter, s->rt.draft, t->engine, err));
    G4_TRY(g4_mtp_meter_open(&t->meter, s, &t->arena, err));
    t->logits = g4_arena_alloc(&t->arena, (size_t)c->vocab_size, sizeof *t->logits);
    t->hidden = g4_arena_alloc(&t->arena, (size_t)c->hidden_size, sizeof *t->hidden);
    return t->logits && t->hidden ? G4_OK : g4_nomem(err, "mtp");
}

static g4_status prefill(turn *t, g4_err *err)
{
    const g4_options *o = t->s->o;
    g4_soft soft = { 0 };
    const g4_prefill_item item = { t->session, &t->p, &soft, t->logits, t->hidden };
    g4_status s = g4_soft_embed(&soft, t->engine, &t->p, NULL, err);
    if (s == G4_OK)
        s = g4_prefill(t->engine, &item, 1, o->chunk > 0 ? o->chunk : G4_STREAM_CHUNK, err);
    g4_soft_free(&soft);
    return s;
}

static g4_status answer(turn *t, g4_err *err)
{
    g4_mtp_study *s = t->s;
    g4_mtp_text *text = &s->texts[t->prompt];
    g4_generate_options opt = s->opt;
    g4_generate_stats stats;
    double start = g4_seconds();
    G4_TRY(prefill(t, err));
    double mid = g4_seconds();
    opt.round = on_round;
    opt.round_ctx = t;
    opt.sampler.seed += t->prompt;
    if (s->opt.pace) opt.pace = &s->pace;
    text->first_id = s->id_count;
    G4_TRY(g4_generate(t->engine, t->session, t->drafter, t->logits, t->hidden, &opt, on_token, t,
                       &stats, err));
    if (t->failed) return g4_nomem(err, "rounds");
    text->decode_s = g4_seconds() - mid - t->spent;
    text->prefill_s = mid - start;
    text->prompt_tokens = t->p.n;
    text->tokens = stats.tokens;
    text->done = 1;
    return G4_OK;
}

static void close_turn(turn *t)
{
    g4_drafter_close(t->drafter);
    g4_session_close(t->session);
    g4_engine_close(t->engine);
    g4_arena_free(&t->arena);
}

/* "12 of 80, 4.31 tokens a pass, 1:23 left" */
static void progress(const g4_mtp_study *s, size_t done, size_t before, double seconds)
{
    int64_t written = 0;
    for (size_t i = 0; i < s->round_count; i++) written += s->rounds[i].written;
    double left = seconds / (double)(done - before) * (double)(s->count - done);
    fprintf(stderr, "%zu of %zu, %.2f tokens a pass, %d:%02d left\n", done, s->count,
            s->round_count ? (double)written / (double)s->round_count : 0.0, (int)(left / 60),
            (int)left % 60);
}

g4_status g4_mtp_run(g4_mtp_study *s, g4_err *err)
{
    g4_journal journal = G4_JOURNAL_NONE;
    size_t before = 0, done;
    g4_status st = g4_mtp_journal_open(&journal, s, err);
    for (size_t i = 0; i < s->count; i++) before += (size_t)s->texts[i].done;
    double start = g4_seconds(), told = start;
    done = before;
    for (size_t i = 0; st == G4_OK && i < s->count; i++) {
        if (s->texts[i].done) continue;
        turn t = { .s = s, .prompt = i };
        size_t first = s->round_count;
        st = open_turn(&t, err);
        if (st == G4_OK) st = answer(&t, err);
        close_turn(&t);
        if (st == G4_OK) st = g4_mtp_journal_add(&journal, s, i, first, err);
        double now = g4_seconds();
        done++;
        if (st != G4_OK || (now - told < 5.0 && done < s->count)) continue;
        progress(s, done, before, now - start);
        told = now;
    }
    g4_journal_close(&journal);
    return st;
}

/* ---- costs ---- */

enum { REPEATS = 7 };

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *x)
{
    qsort(x, REPEATS, sizeof *x, by_size);
    return x[REPEATS / 2];
}

static double time_verify(turn *t, int64_t rows, float *logits, float *hidden)
{
    int32_t ids[G4_MAX_DRAFT + 1], positions[G4_MAX_DRAFT + 1];
    int64_t n = t->session->n;
    for (int64_t i = 0; i < rows; i++) {
        ids[i] = t->p.ids[i % t->p.n];
        positions[i] = t->session->next_position + (int32_t)i;
    }
    const g4_item item = { .session = t->session, .n = rows, .ids = ids, .positions = positions,
                           .logit_rows = rows, .logits = logits, .hidden = hidden };
    double start = g4_seconds();
    g4_forward(t->engine, &item, 1);
    double end = g4_seconds();
    g4_session_rewind(t->session, n);
    return end - start;
}

static double time_draft(turn *t)
{
    enum { STEPS = 3 };
    double start = g4_seconds();
    g4_draft_begin(t->drafter, t->session, t->hidden);
    for (int i = 0; i < STEPS; i++) {
        g4_draft_step(t->drafter, t->session, t->p.ids[t->p.n - 1], i);
        g4_argmax(&t->s->opt.sampler, t->drafter->logits, t->s->rt.model->config.vocab_size);
    }
    return (g4_seconds() - start) / STEPS;
}

/* Each once, then each again: what else the machine does meets all alike. */
static g4_status time_all(turn *t, g4_err *err)
{
    g4_mtp_study *s = t->s;
    const g4_config *c = &s->rt.model->config;
    size_t rows = (size_t)s->opt.max_draft + 1;
    static const size_t most = G4_MAX_DRAFT + 2;
    double(*x)[REPEATS] = g4_arena_alloc(&t->arena, most, sizeof *x);
    float *logits = g4_arena_alloc(&t->arena, rows * (size_t)c->vocab_size, sizeof *logits);
    float *hidden = g4_arena_alloc(&t->arena, rows * (size_t)c->hidden_size, sizeof *hidden);
    if (!x || !logits || !hidden) return g4_nomem(err, "mtp");
    G4_TRY(prefill(t, err));
    for (int i = 0; i < REPEATS; i++) {
        x[0][i] = time_draft(t);
        for (size_t n = 1; n <= rows; n++) x[n][i] = time_verify(t, (int64_t)n, logits, hidden);
    }
    s->draft_cost = median(x[0]);
    for (size_t n = 1; n <= rows; n++) s->verify_cost[n] = median(x[n]);
    return G4_OK;
}

g4_status g4_mtp_costs(g4_mtp_study *s, g4_err *err)
{
    turn t = { .s = s };
    for (size_t i = 0; i < s->count; i++)
        if (s->texts[i].prompt_tokens > s->texts[t.prompt].prompt_tokens) t.prompt = i;
    g4_status st = open_turn(&t, err);
    if (st == G4_OK) st = time_all(&t, err);
    close_turn(&t);
    return st;
}
