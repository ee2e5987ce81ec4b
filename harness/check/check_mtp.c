/* SPDX-License-Identifier: Apache-2.0
 * Drafting never changes the text: greedy text is that of the backbone alone, token for
 * token, for every length of a round, engine, way of drafting and pace; sampled text has its
 * distribution, which is computed here token by token and held against counts.
 *
 * Counts pass where chi-square's p-value is above 0.01: once in a hundred seeds a right
 * program would not, so the seeds are fixed. */
#include "golden/golden.h"
#include "harness/greedy.h"
#include "harness/runtime.h"
#include "ref/base/rng.h"
#include "ref/model/generate.h"
#include "ref/model/session.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_mtp(void);

#define OK(expr) ck_assert_msg((expr) == G4_OK, "%s", err.msg)
#define SMALL "golden/tiny/small/model"
#define MINIATURE "golden/miniature"

enum { TEXT = 36, MOST = 9 };   /* tokens of a text; rows of a verification */

typedef struct opened {
    g4_runtime rt;
    g4_engine *engine;
    g4_session *session;
    g4_drafter *drafter;
    g4_arena arena;
    g4_prompt prompt;
    float *logits, *hidden;   /* of the prompt's last token */
} opened;

typedef struct text {
    int32_t ids[TEXT];
    int64_t n;
} text;

static void open_all(opened *o, const char *model, const char *draft, const char *engine,
                     const char *kv)
{
    g4_err err = { G4_OK, "" };
    const g4_options options = { .model = model, .draft = draft, .engine = engine, .kv = kv,
                                 .threads = 1 };
    const char *golden = strcmp(model, SMALL) == 0 ? "golden/tiny/small/greedy.h5"
                                                   : MINIATURE "/golden/greedy_prose.h5";
    g4_golden *g;
    memset(o, 0, sizeof *o);
    OK(g4_runtime_open(&o->rt, &options, G4_DRAFT_MUST, &err));
    OK(g4_golden_open(&g, golden, G4_GOLDEN_DIRECT, &err));
    OK(g4_golden_prompt(g, &o->prompt, &o->arena, &err));
    g4_golden_close(g);
    const g4_config *c = &o->rt.model->config;
    const g4_prompt *p = &o->prompt;
    g4_engine_plan plan = o->rt.plan;
    plan.rows = p->n > G4_MAX_DRAFT + 1 ? p->n : G4_MAX_DRAFT + 1;
    plan.logit_rows = MOST;
    plan.ctx = p->n + TEXT + 8;
    plan.back = plan.ctx;
    OK(g4_engine_open(&o->engine, o->rt.model, &o->rt.ops, o->rt.par, &plan, &err));
    OK(g4_session_open(&o->session, o->engine, &err));
    OK(g4_drafter_open(&o->drafter, o->rt.draft, o->engine, &err));
    o->logits = g4_arena_alloc(&o->arena, (size_t)c->vocab_size, sizeof(float));
    o->hidden = g4_arena_alloc(&o->arena, (size_t)c->hidden_size, sizeof(float));
    const g4_prefill_item item = { o->session, p, NULL, o->logits, o->hidden };
    OK(g4_prefill(o->engine, &item, 1, 0, &err));
}

static void close_all(opened *o)
{
    g4_drafter_close(o->drafter);
    g4_session_close(o->session);
    g4_engine_close(o->engine);
    g4_arena_free(&o->arena);
    g4_runtime_close(&o->rt);
}

static int keep(void *ctx, int32_t id)
{
    text *t = ctx;
    t->ids[t->n++] = id;
    return 0;
}

static g4_generate_stats generate(opened *o, int drafted, const g4_generate_options *opt, text *t)
{
    g4_err err = { G4_OK, "" };
    g4_generate_stats stats;
    t->n = 0;
    g4_session_rewind(o->session, o->prompt.n);
    OK(g4_generate(o->engine, o->session, drafted ? o->drafter : NULL, o->logits, o->hidden, opt,
                   keep, t, &stats, &err));
    return stats;
}

/* ---- greedy ---- */

static const struct {
    const char *model, *draft, *engine, *kv;
} runs[] = {
    { SMALL, SMALL "/assistant", "ref", NULL },
    { SMALL, SMALL "/assistant", "opt", NULL },
    { SMALL, SMALL "/assistant_centroid", "opt", "f16" },
    { MINIATURE, MINIATURE "/assistant", "ref", NULL },
    { MINIATURE, MINIATURE "/assistant", "opt", NULL },
    { MINIATURE, MINIATURE "/assistant", "opt", "q8_0" },
};

static void same_text(const text *a, const text *b, int64_t k, int way)
{
    ck_assert_int_eq(a->n, b->n);
    for (int64_t i = 0; i < a->n; i++)
        ck_assert_msg(a->ids[i] == b->ids[i], "max_draft %d, way %d: token %d is %d, expected %d",
                      (int)k, way, (int)i, b->ids[i], a->ids[i]);
}

START_TEST(greedy_text_is_the_same)
{
    opened o;
    text alone, drafted;
    open_all(&o, runs[_i].model, runs[_i].draft, runs[_i].engine, runs[_i].kv);
    g4_generate_options opt = { .sampler = g4_greedy(o.rt.model), .max_tokens = TEXT };
    g4_generate_stats s = generate(&o, 0, &opt, &alone);
    ck_assert_int_eq(s.rounds, 0);
    static const struct { int64_t k; g4_draft_way way; } rows[] = {
        { 1, G4_DRAFT_OURS }, { 2, G4_DRAFT_OURS }, { 3, G4_DRAFT_OURS }, { 5, G4_DRAFT_OURS },
        { 8, G4_DRAFT_OURS }, { G4_MAX_DRAFT, G4_DRAFT_OURS }, { 4, G4_DRAFT_HF },
        { 3, G4_DRAFT_LLAMA_CPP }, { 7, G4_DRAFT_VLLM },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        opt.max_draft = rows[i].k;
        opt.way = rows[i].way;
        s = generate(&o, 1, &opt, &drafted);
        same_text(&alone, &drafted, opt.max_draft, opt.way);
        /* each round yields its accepted drafts and one token more, the last one perhaps not */
        int64_t more = 1 + s.rounds + s.accepted - s.tokens;
        ck_assert(more == 0 || (more == 1 && opt.way == G4_DRAFT_VLLM));
        ck_assert_int_le(s.drafted, s.rounds * opt.max_draft);
    }
    close_all(&o);
}
END_TEST

/* Whatever the pace is told to believe, and whether or not it reads the clock. */
START_TEST(any_pace_gives_the_same_text)
{
    opened o;
    text alone, drafted;
    g4_pace pace;
    open_all(&o, MINIATURE, MINIATURE "/assistant", "opt", NULL);
    g4_generate_options opt = { .sampler = g4_greedy(o.rt.model), .max_tokens = TEXT,
                                .max_draft = 8 };
    generate(&o, 0, &opt, &alone);
    opt.pace = &pace;
    for (int clock = 0; clock < 2; clock++)
        for (double draft = 0.0; draft < 4.0; draft = 3 * draft + 0.01) {
            g4_pace_init(&pace, o.rt.model, o.rt.draft, clock);
            pace.draft = draft;
            g4_generate_stats s = generate(&o, 1, &opt, &drafted);
            same_text(&alone, &drafted, 8, -1);
            /* a draft that costs more than what it can yield is not made */
            if (!clock && draft > 1.0) ck_assert_int_le(s.drafted, 1 + s.rounds / 32);
            if (!clock && draft == 0.0) ck_assert_int_gt(s.drafted, 0);
        }
    close_all(&o);
}
END_TEST

/* Schraudolph's line is off by 3 % at most, so a quotient is by 6 %, and what is left out by
 * less than vocab e^-16. */
START_TEST(confidence_is_a_probability)
{
    float logits[1003];
    for (int spread = 1; spread < 2000; spread *= 3) {
        double sum = 0.0;
        int32_t best = 0;
        for (int i = 0; i < 1003; i++) {
            logits[i] = (float)((g4_rng_unit(3, (uint64_t)spread, (uint64_t)i) - 0.5) * spread);
            if (logits[i] > logits[best]) best = i;
        }
        for (int i = 0; i < 1003; i++) sum += exp((double)logits[i] - (double)logits[best]);
        double p = g4_pace_confidence(logits, 1003, best);
        ck_assert(p > 0.0 && p <= 1.0);
        ck_assert_msg(fabs(p * sum - 1.0) < 0.06 + 1003 * exp(-16.0), "%g %g", p, 1.0 / sum);
    }
}
END_TEST

/* ---- stops ---- */

typedef struct watched {
    int64_t rounds, tokens, k, matched, taken;
} watched;

static void watch(void *ctx, const g4_round *r)
{
    watched *w = ctx;
    w->rounds++;
    w->tokens += r->matched + 1;
    w->k = r->k;
    w->matched = r->matched;
    w->taken = r->taken;
    ck_assert_int_le(r->taken, r->matched);
    for (int64_t i = 0; i < r->matched; i++) ck_assert_int_eq(r->drafted[i], r->chosen[i]);
    if (r->matched < r->k) ck_assert_int_ne(r->drafted[r->matched], r->chosen[r->matched]);
}

/* A stop inside a round's accepted drafts: the text ends there, the round says both what
 * verification accepted and what of it came into the text; the cache ends with the text. */
START_TEST(stop_within_a_round)
{
    opened o;
    text alone, drafted;
    watched w;
    int inside = 0;
    open_all(&o, MINIATURE, MINIATURE "/assistant", "opt", NULL);
    g4_generate_options opt = { .sampler = g4_greedy(o.rt.model), .max_tokens = TEXT,
                                .max_draft = 6, .round = watch, .round_ctx = &w };
    generate(&o, 0, &opt, &alone);
    for (int64_t at = 1; at < alone.n; at += 7) {
        const int64_t stop = alone.ids[at];
        int64_t first = 0;
        while (alone.ids[first] != stop) first++;
        opt.stop = &stop;
        opt.stop_count = 1;
        memset(&w, 0, sizeof w);
        g4_generate_stats s = generate(&o, 1, &opt, &drafted);
        ck_assert_int_eq(drafted.n, first + 1);
        ck_assert_int_eq(s.rounds, w.rounds);
        ck_assert_int_eq(o.session->n, o.prompt.n + first);
        ck_assert_int_eq(s.tokens, drafted.n);
        ck_assert_int_le(drafted.n, 1 + w.tokens - (w.matched - w.taken));
        inside += s.rounds && w.taken < w.matched;
    }
    ck_assert_int_gt(inside, 0);
    close_all(&o);
}
END_TEST

/* ---- sampled text ---- */

/* P(a chi-square sum of f degrees of freedom is above x): the upper incomplete gamma
 * function, by its series or its continued fraction (Press et al., Numerical Recipes, 6.2). */
static double chi_tail(double x, int f)
{
    double a = f / 2.0, half = x / 2.0, scale = exp(-half + a * log(half) - lgamma(a));
    if (x <= 0.0) return 1.0;
    if (half < a + 1.0) {
        double term = 1.0 / a, sum = term;
        for (int i = 1; i < 2000; i++) sum += term *= half / (a + i);
        return 1.0 - sum * scale;
    }
    double b = half + 1.0 - a, c = 1e300, d = 1.0 / b, h = d;
    for (int i = 1; i < 2000; i++) {
        double an = -i * (i - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
    }
    return h * scale;
}

START_TEST(tail_of_chi_square)
{
    /* quantiles as tables have them */
    static const struct { double x; int f; double p; } rows[] = {
        { 3.841, 1, 0.05 }, { 6.635, 1, 0.01 }, { 18.307, 10, 0.05 }, { 23.209, 10, 0.01 },
        { 3.940, 10, 0.95 }, { 135.807, 100, 0.01 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert(fabs(chi_tail(rows[i].x, rows[i].f) - rows[i].p) < 1e-4);
}
END_TEST

/* Texts of three tokens out of the FEW likeliest of each place: the first is drawn without
 * drafts, the others come out of rounds, as drafts, in their places or behind them all. */
enum { FEW = 5, CELLS = FEW * FEW * FEW };

typedef struct joint {
    int32_t ids[1 + FEW + FEW * FEW][FEW];   /* of each node of the tree: its children */
    double p[1 + FEW + FEW * FEW][FEW];
} joint;

/* The distribution behind the prompt and ids [n], from the backbone alone. */
static void children(opened *o, joint *j, int node, const int32_t *ids, int n,
                     const g4_sampler *sampler)
{
    g4_err err = { G4_OK, "" };
    g4_arena arena = { NULL };
    g4_dist d;
    int64_t V = o->rt.model->config.vocab_size;
    float *logits = g4_arena_alloc(&arena, (size_t)V, sizeof *logits);
    int32_t positions[2];
    OK(g4_dist_init(&d, V, &arena, &err));
    g4_session_rewind(o->session, o->prompt.n);
    for (int i = 0; i < n; i++) positions[i] = o->session->next_position + i;
    const g4_item item = { .session = o->session, .n = n, .ids = ids, .positions = positions,
                           .logit_rows = 1, .logits = logits };
    if (n) g4_forward(o->engine, &item, 1);
    g4_dist_fill(&d, sampler, n ? logits : o->logits, V);
    ck_assert_int_le(d.n, FEW);
    for (int i = 0; i < FEW; i++) {
        j->ids[node][i] = i < d.n ? d.ids[i] : -1;
        j->p[node][i] = i < d.n ? d.p[i] : 0.0;
    }
    g4_arena_free(&arena);
}

static void fill_joint(opened *o, joint *j, const g4_sampler *s)
{
    children(o, j, 0, NULL, 0, s);
    for (int a = 0; a < FEW; a++) {
        int32_t ids[2] = { j->ids[0][a] };
        if (ids[0] < 0) continue;
        children(o, j, 1 + a, ids, 1, s);
        for (int b = 0; b < FEW; b++) {
            ids[1] = j->ids[1 + a][b];
            if (ids[1] >= 0) children(o, j, 1 + FEW + a * FEW + b, ids, 2, s);
        }
    }
}

static int find(const int32_t *ids, int32_t id)
{
    for (int i = 0; i < FEW; i++)
        if (ids[i] == id) return i;
    ck_abort_msg("a token that the backbone never draws");
    return -1;
}

static double p_value(const joint *j, const long *count, long draws)
{
    double chi = 0.0, rest = 0.0;
    long rest_count = 0;
    int f = -1;
    for (int i = 0; i < CELLS; i++) {
        int a = i / FEW / FEW, b = i / FEW % FEW, c = i % FEW;
        double p = j->p[0][a] * j->p[1 + a][b] * j->p[1 + FEW + a * FEW + b][c];
        double want = p * (double)draws;
        if (want < 5.0) {   /* taken together */
            rest += want;
            rest_count += count[i];
            continue;
        }
        chi += ((double)count[i] - want) * ((double)count[i] - want) / want;
        f++;
    }
    if (rest >= 5.0) {
        chi += ((double)rest_count - rest) * ((double)rest_count - rest) / rest;
        f++;
    }
    ck_assert_int_ge(f, 3);
    return chi_tail(chi, f);
}

static double sample_texts(const char *model, const char *draft, int64_t k, g4_draft_way way,
                           long draws, int64_t *accepted)
{
    opened o;
    static joint j;
    long count[CELLS] = { 0 };
    open_all(&o, model, draft, "opt", NULL);
    const g4_sampler s = { .temperature = 1.5, .top_k = FEW, .top_p = 1 };
    g4_generate_options opt = { .sampler = s, .max_tokens = 3, .max_draft = k, .way = way };
    memset(&j, 0, sizeof j);
    fill_joint(&o, &j, &s);
    *accepted = 0;
    for (long i = 0; i < draws; i++) {
        text t;
        opt.sampler.seed = (uint64_t)i;
        g4_generate_stats stats = generate(&o, k > 0, &opt, &t);
        int a = find(j.ids[0], t.ids[0]), b = find(j.ids[1 + a], t.ids[1]);
        int c = find(j.ids[1 + FEW + a * FEW + b], t.ids[2]);
        count[(a * FEW + b) * FEW + c]++;
        *accepted += stats.accepted;
    }
    close_all(&o);
    return p_value(&j, count, draws);
}

static const struct {
    const char *model, *draft;
    int64_t k;
    g4_draft_way way;
    long many;                   /* texts of the long test */
} sampled[] = {
    { SMALL, SMALL "/assistant", 2, G4_DRAFT_OURS, 100000 },
    { SMALL, SMALL "/assistant", 0, G4_DRAFT_OURS, 4000 },   /* no drafts: the test itself */
    { SMALL, SMALL "/assistant", 1, G4_DRAFT_VLLM, 4000 },
    { MINIATURE, MINIATURE "/assistant", 2, G4_DRAFT_OURS, 4000 },
    { MINIATURE, MINIATURE "/assistant", 3, G4_DRAFT_LLAMA_CPP, 4000 },
};

static void sampled_text_fits(int i, long draws)
{
    int64_t accepted;
    double p = sample_texts(sampled[i].model, sampled[i].draft, sampled[i].k, sampled[i].way,
                            draws, &accepted);
    ck_assert_msg(p > 0.01, "row %d: chi-square's p-value is %g", i, p);
    if (strcmp(sampled[i].model, MINIATURE) == 0) ck_assert_int_gt(accepted, draws / 2);
}

START_TEST(sampled_text_has_the_distribution)
{
    sampled_text_fits(_i, 500);
}
END_TEST

START_TEST(sampled_text_has_the_distribution_long)
{
    sampled_text_fits(_i, sampled[_i].many);
}
END_TEST

/* The test finds a bias where there is one: Transformers judges the likeliest token as if it
 * had been drawn [N71]. */
START_TEST(biased_sampling_is_found)
{
    int64_t accepted;
    double p = sample_texts(MINIATURE, MINIATURE "/assistant", 2, G4_DRAFT_HF, 10000, &accepted);
    ck_assert_msg(p < 1e-6, "chi-square's p-value is %g", p);
}
END_TEST

#define ROWS(table) ((int)(sizeof table / sizeof *table))

Suite *check_mtp(void)
{
    Suite *s = suite_create("mtp");
    TCase *t = tcase_create("lossless");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, greedy_text_is_the_same, 0, ROWS(runs));
    tcase_add_test(t, any_pace_gives_the_same_text);
    tcase_add_test(t, confidence_is_a_probability);
    tcase_add_test(t, stop_within_a_round);
    tcase_add_test(t, tail_of_chi_square);
    tcase_add_loop_test(t, sampled_text_has_the_distribution, 0, 3);   /* the quick model */
    suite_add_tcase(s, t);
    t = tcase_create("many samples");
    tcase_set_tags(t, "slow");
    tcase_set_timeout(t, 900);
    tcase_add_loop_test(t, sampled_text_has_the_distribution_long, 0, ROWS(sampled));
    tcase_add_test(t, biased_sampling_is_found);
    suite_add_tcase(s, t);
    return s;
}
