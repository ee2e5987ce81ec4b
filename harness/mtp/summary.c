/* SPDX-License-Identifier: Apache-2.0
 * summary.csv: every figure is a quotient of sums over rounds, its interval the 2.5th to
 * 97.5th percentile of the same quotient over prompts drawn anew (bootstrap): rounds of one
 * text depend on each other, texts do not.
 *   acceptance    of drafts whose predecessors in the round were accepted
 *   cumulative    of rounds that drafted so far: all drafts up to this one accepted */
#include "harness/mtp/mtp.h"

#include "ref/base/map.h"
#include "ref/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 1000, ENTROPY_BINS = 6 };

static const double entropy_edge[ENTROPY_BINS + 1] = { 0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 1e9 };

enum { PASS, LENGTH, RATE, ANY, TV, SCALARS };
static const char *const scalar_names[SCALARS] = {
    "tokens_per_pass", "accepted_length", "accepted_per_drafted", "acceptance", "total_variation",
};
/* Then, by position: acceptance, cumulative, total_variation. */
static const char *const position_names[3] = { "acceptance", "cumulative", "total_variation" };

/* Sums of one group's statistics, a prompt at a time: [statistic][prompt]. */
typedef struct sums {
    const g4_mtp_study *s;
    g4_out *out;
    const uint16_t *weight;      /* [RESAMPLES][prompts] how often each was drawn */
    double *num, *den;
    size_t count;                /* statistics */
    int64_t K;
} sums;

typedef enum group { ALL, DOMAIN, MODALITY, CONTEXT, ENTROPY } group;
static const char *const group_names[] = { "all", "domain", "modality", "context", "entropy" };

static void add(sums *t, size_t stat, int32_t prompt, double num, double den)
{
    t->num[stat * t->s->count + (size_t)prompt] += num;
    t->den[stat * t->s->count + (size_t)prompt] += den;
}

static void add_places(sums *t, const g4_mtp_round *r, int bin)
{
    for (int32_t i = 0; i < r->k; i++) {
        const g4_mtp_place *p = &t->s->places[r->first + (size_t)i];
        size_t at = SCALARS + 3 * (size_t)i;
        if (bin >= 0 && (p->entropy < entropy_edge[bin] || p->entropy >= entropy_edge[bin + 1]))
            continue;
        add(t, at + 1, r->prompt, i < r->matched, 1);
        if (i > r->matched) continue;
        add(t, at, r->prompt, i < r->matched, 1);
        add(t, at + 2, r->prompt, p->tv, 1);
        add(t, ANY, r->prompt, i < r->matched, 1);
        add(t, TV, r->prompt, p->tv, 1);
    }
}

/* Does the round belong to this case of the group? */
static int belongs(const g4_mtp_study *s, const g4_mtp_round *r, group g, const char *name, int c)
{
    const g4_mtp_prompt *p = &s->prompts[r->prompt];
    if (g == DOMAIN) return strcmp(p->domain, name) == 0;
    if (g == MODALITY) return strcmp(p->modality, name) == 0;
    if (g == CONTEXT) return (r->cached > s->rt.model->config.sliding_window) == c;
    return 1;
}

static void collect(sums *t, group g, const char *name, int c)
{
    memset(t->num, 0, t->count * t->s->count * sizeof *t->num);
    memset(t->den, 0, t->count * t->s->count * sizeof *t->den);
    for (size_t i = 0; i < t->s->round_count; i++) {
        const g4_mtp_round *r = &t->s->rounds[i];
        if (!belongs(t->s, r, g, name, c)) continue;
        add_places(t, r, g == ENTROPY ? c : -1);
        if (g == ENTROPY) continue;
        add(t, PASS, r->prompt, r->written, 1);
        add(t, LENGTH, r->prompt, r->matched, 1);
        add(t, RATE, r->prompt, r->matched, r->k);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static g4_status put_stat(const sums *t, size_t stat, group g, const char *name, const char *what,
                          int64_t position, g4_err *err)
{
    const double *num = t->num + stat * t->s->count, *den = t->den + stat * t->s->count;
    double x[RESAMPLES], n = 0.0, sum = 0.0;
    size_t got = 0, prompts = 0;
    for (size_t i = 0; i < t->s->count; i++) {
        n += den[i];
        sum += num[i];
        prompts += den[i] > 0.0;
    }
    if (n == 0.0) return G4_OK;
    for (int r = 0; r < RESAMPLES; r++) {
        const uint16_t *w = t->weight + (size_t)r * t->s->count;
        double a = 0.0, b = 0.0;
        for (size_t i = 0; i < t->s->count; i++) {
            a += w[i] * num[i];
            b += w[i] * den[i];
        }
        if (b > 0.0) x[got++] = a / b;
    }
    qsort(x, got, sizeof *x, by_size);
    G4_TRY(g4_out_printf(t->out, err, "%s,\"%s\",%s,", group_names[g], name, what));
    if (position > 0) G4_TRY(g4_out_printf(t->out, err, "%lld", (long long)position));
    return g4_out_printf(t->out, err, ",%zu,%.0f,%.6f,%.6f,%.6f\n", prompts, n, sum / n,
                         x[(size_t)(0.025 * (double)got)], x[(size_t)(0.975 * (double)(got - 1))]);
}

static g4_status put_group(sums *t, group g, const char *name, int c, g4_err *err)
{
    collect(t, g, name, c);
    for (size_t i = 0; i < SCALARS; i++)
        G4_TRY(put_stat(t, i, g, name, scalar_names[i], 0, err));
    for (int64_t i = 0; i < t->K; i++)
        for (size_t k = 0; k < 3; k++)
            G4_TRY(put_stat(t, SCALARS + 3 * (size_t)i + k, g, name, position_names[k], i + 1,
                            err));
    return G4_OK;
}

/* Each name once, in the order in which they come; a quote would break the table. */
static g4_status put_names(sums *t, group g, g4_err *err)
{
    for (size_t i = 0; i < t->s->count; i++) {
        const g4_mtp_prompt *p = t->s->prompts;
        const char *name = g == DOMAIN ? p[i].domain : p[i].modality;
        size_t k = 0;
        while (strcmp(g == DOMAIN ? p[k].domain : p[k].modality, name) != 0) k++;
        if (k == i && !strpbrk(name, "\"\n")) G4_TRY(put_group(t, g, name, 0, err));
    }
    return G4_OK;
}

static g4_status put_groups(sums *t, g4_err *err)
{
    char name[64];
    G4_TRY(put_group(t, ALL, "all", 0, err));
    G4_TRY(put_names(t, DOMAIN, err));
    G4_TRY(put_names(t, MODALITY, err));
    for (int c = 0; c < 2; c++)
        G4_TRY(put_group(t, CONTEXT, c ? "above the window" : "within the window", c, err));
    for (int c = 0; c < ENTROPY_BINS; c++) {
        if (c + 1 < ENTROPY_BINS)
            snprintf(name, sizeof name, "%g to %g", entropy_edge[c], entropy_edge[c + 1]);
        else
            snprintf(name, sizeof name, "%g and more", entropy_edge[c]);
        G4_TRY(put_group(t, ENTROPY, name, c, err));
    }
    return G4_OK;
}

/* ---- engines, costs, speed ---- */

static g4_status put_value(g4_out *out, const char *kind, const char *name, const char *what,
                           int64_t position, int64_t n, double value, g4_err *err)
{
    G4_TRY(g4_out_printf(out, err, "%s,\"%s\",%s,", kind, name, what));
    if (position > 0) G4_TRY(g4_out_printf(out, err, "%lld", (long long)position));
    return g4_out_printf(out, err, ",,%lld,%.9g,,\n", (long long)n, value);
}

static g4_status put_engines(const g4_mtp_study *s, g4_out *out, g4_err *err)
{
    for (int way = G4_DRAFT_HF; way <= G4_DRAFT_VLLM; way++) {
        const char *name = g4_mtp_way_name((g4_draft_way)way);
        g4_mtp_report e = g4_mtp_engine(s, (g4_draft_way)way);
        if (!e.rounds) return G4_OK;
        G4_TRY(put_value(out, "engine", name, "draft_acceptance", 0, e.drafted, e.rate, err));
        if (way == G4_DRAFT_HF) continue;
        G4_TRY(put_value(out, "engine", name, "mean_length", 0, e.rounds, e.length, err));
        for (int64_t i = 0; i < s->opt.max_draft; i++)
            G4_TRY(put_value(out, "engine", name, "rate_at_position", i + 1, e.rounds,
                             e.rate_at[i], err));
    }
    return G4_OK;
}

/* Conditional acceptance at a position; < 0: never drafted. */
static double acceptance_at(const g4_mtp_study *s, int64_t i)
{
    double kept = 0.0, tried = 0.0;
    for (size_t k = 0; k < s->round_count; k++) {
        const g4_mtp_round *r = &s->rounds[k];
        if (i >= r->k || i > r->matched) continue;
        tried += 1.0;
        kept += i < r->matched;
    }
    return tried > 0.0 ? kept / tried : -1.0;
}

/* What rounds of k drafts would yield over plain decoding, were these all the costs. */
static g4_status put_prediction(const g4_mtp_study *s, g4_out *out, g4_err *err)
{
    double tokens = 1.0, reach = 1.0, plain = s->verify_cost[1];
    for (int64_t k = 1; k <= s->opt.max_draft; k++) {
        double a = acceptance_at(s, k - 1);
        if (a < 0.0) return G4_OK;
        tokens += reach *= a;
        double cost = s->verify_cost[k + 1] + (double)k * s->draft_cost;
        G4_TRY(put_value(out, "speed", "predicted", "tokens_per_pass", k, 0, tokens, err));
        G4_TRY(put_value(out, "speed", "predicted", "speedup", k, 0, tokens * plain / cost, err));
    }
    return G4_OK;
}

static g4_status put_speed(const g4_mtp_study *s, g4_out *out, g4_err *err)
{
    double seconds = 0.0, cost = 0.0, tokens = 0.0;
    int64_t made = 0;
    for (size_t i = 0; i < s->count; i++) {
        seconds += s->texts[i].decode_s;
        made += s->texts[i].tokens;
    }
    for (size_t i = 0; i < s->round_count; i++) {
        const g4_mtp_round *r = &s->rounds[i];
        tokens += r->written;
        cost += s->verify_cost[r->k + 1] + r->k * s->draft_cost;
    }
    G4_TRY(put_value(out, "cost", "seconds", "draft_step", 0, 0, s->draft_cost, err));
    for (int64_t n = 1; n <= s->opt.max_draft + 1; n++)
        G4_TRY(put_value(out, "cost", "seconds", "verify_rows", n, 0, s->verify_cost[n], err));
    if (seconds > 0.0)
        G4_TRY(put_value(out, "speed", "measured", "tokens_per_s", 0, made,
                         (double)made / seconds, err));
    if (cost > 0.0)
        G4_TRY(put_value(out, "speed", "as run", "speedup", 0, 0, tokens * s->verify_cost[1] / cost,
                         err));
    return put_prediction(s, out, err);
}

/* ---- the file ---- */

static void draw_prompts(uint16_t *weight, size_t prompts, uint64_t seed)
{
    for (uint64_t r = 0; r < RESAMPLES; r++)
        for (size_t i = 0; i < prompts; i++) {
            uint64_t at = (uint64_t)(g4_rng_unit(seed, r, i) * (double)prompts);
            weight[r * prompts + at]++;
        }
}

static g4_status put_all(const g4_mtp_study *s, g4_out *out, g4_err *err)
{
    g4_arena arena = { NULL };
    sums t = { .s = s, .out = out, .K = s->opt.max_draft };
    t.count = SCALARS + 3 * (size_t)t.K;
    uint16_t *weight = g4_arena_alloc(&arena, RESAMPLES, s->count * sizeof *weight);
    t.num = g4_arena_alloc(&arena, t.count, s->count * sizeof *t.num);
    t.den = g4_arena_alloc(&arena, t.count, s->count * sizeof *t.den);
    g4_status st = weight && t.num && t.den ? G4_OK : g4_nomem(err, out->path);
    if (st == G4_OK) draw_prompts(weight, s->count, 7);
    t.weight = weight;
    if (st == G4_OK)
        st = g4_out_printf(out, err, "group,case,what,position,prompts,n,value,low,high\n");
    if (st == G4_OK) st = put_groups(&t, err);
    if (st == G4_OK && !s->o->teacher_forced) st = put_engines(s, out, err);
    if (st == G4_OK && !s->o->teacher_forced) st = put_speed(s, out, err);
    g4_arena_free(&arena);
    return st;
}

g4_status g4_mtp_write_summary(const g4_mtp_study *s, const char *path, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    g4_status st = g4_out_open(&out, path, err);
    if (st == G4_OK) st = put_all(s, &out, err);
    if (st == G4_OK) st = g4_out_commit(&out, err);
    g4_out_abort(&out);
    return st;
}
