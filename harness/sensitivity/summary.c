/* SPDX-License-Identifier: Apache-2.0
 * summary.md: one page that answers whether the model is sensitive below 4 bits, and where. */
#include "harness/sensitivity/sensitivity.h"
#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORST = 10 };

typedef struct page {
    const g4_sens_study *s;
    g4_out out;
    g4_err *err;
} page;

static const char *text(const json_t *r, const char *key)
{
    const char *v = json_string_value(json_object_get(r, key));
    return v ? v : "";
}

static int is(const json_t *r, const char *key, const char *value)
{
    return strcmp(text(r, key), value) == 0;
}

static double part(const json_t *r, const char *domain, const char *key, size_t i)
{
    const json_t *v = json_array_get(json_object_get(g4_sens_domain(r, domain), key), i);
    return v ? json_number_value(v) : NAN;
}

static int by_bytes(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    double d = g4_sens_number(x, "bytes") - g4_sens_number(y, "bytes");
    return d != 0.0 ? (d > 0.0) - (d < 0.0) : strcmp(text(x, "point"), text(y, "point"));
}

static int by_kl(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    double d = g4_sens_number(y, "kl") - g4_sens_number(x, "kl");
    return d != 0.0 ? (d > 0.0) - (d < 0.0) : strcmp(text(x, "point"), text(y, "point"));
}

/* Whole models: uniform types, mixes, recipes, random mixes aside. */
static int is_whole(const json_t *r)
{
    return is(r, "of", "weights") &&
           (is(r, "by", "model") || is(r, "by", "mix") || is(r, "by", "recipe"));
}

static int is_single(const json_t *r)
{
    return is(r, "of", "weights") && is(r, "by", "tensor") && is(r, "leave", "in");
}

/* Results that `wanted` says, sorted; malloc'ed. */
static const json_t **choose(const page *p, int (*wanted)(const json_t *),
                             int (*order)(const void *, const void *), size_t *count)
{
    size_t n = json_array_size(p->s->results);
    const json_t **list = malloc((n + 1) * sizeof *list);
    *count = 0;
    for (size_t i = 0; list && i < n; i++) {
        const json_t *r = json_array_get(p->s->results, i);
        if (wanted(r) && isfinite(g4_sens_number(r, "kl"))) list[(*count)++] = r;
    }
    if (list) qsort(list, *count, sizeof *list, order);
    return list;
}

#define PUT(...) G4_TRY(g4_out_printf(&p->out, p->err, __VA_ARGS__))

static g4_status put_value(page *p, const json_t *r, const char *domain, const char *key,
                           double factor)
{
    double v = part(r, domain, key, 0);
    if (!isfinite(v)) PUT(" |");
    else PUT(" %.4g (%.4g to %.4g) |", factor * v, factor * part(r, domain, key, 1),
             factor * part(r, domain, key, 2));
    return G4_OK;
}

static g4_status wholes(page *p, const json_t **list, size_t n)
{
    char bytes[32];
    PUT("## Whole models\n\nText tensors' bytes; KL in nats a token to the float32 reference; "
        "in brackets 95 %% by bootstrap over documents.\n\n"
        "| | bytes | KL | 99th percentile | other likeliest token, %% | perplexity ratio | right "
        "answers, %% | lost, won |\n|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const json_t *r = list[i];
        PUT("| %s %s | %s |", text(r, "by"), is(r, "by", "model") ? text(r, "type") :
            text(r, "what"), g4_text_bytes(bytes, sizeof bytes,
                                           (uint64_t)g4_sens_number(r, "bytes")));
        G4_TRY(put_value(p, r, "all", "kl", 1.0));
        G4_TRY(put_value(p, r, "all", "kl_p99", 1.0));
        G4_TRY(put_value(p, r, "all", "flips", 100.0));
        G4_TRY(put_value(p, r, "all", "ppl_ratio", 1.0));
        G4_TRY(put_value(p, r, "all", "accuracy", 100.0));
        PUT(" %zu, %zu |\n", json_array_size(json_object_get(r, "lost")),
            json_array_size(json_object_get(r, "won")));
    }
    return G4_OK;
}

/* Each recipe beside the best other model that is as small (within 0.5 %: formats come in
 * steps, and norms are not packed by all). */
static g4_status recipes(page *p, const json_t **list, size_t n)
{
    int any = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *best = NULL;
        g4_sens_figure f;
        if (!is(list[i], "by", "recipe")) continue;
        for (size_t k = 0; k < n; k++) {
            const json_t *r = list[k];
            int fits = g4_sens_number(r, "bytes") <= 1.005 * g4_sens_number(list[i], "bytes");
            if (is(r, "by", "recipe") || !fits) continue;
            if (!best || g4_sens_number(r, "kl") < g4_sens_number(best, "kl")) best = r;
        }
        if (!best || !g4_sens_difference(p->s, list[i], best, &f)) continue;
        if (!any++) PUT("\n## Recipes\n\n");
        PUT("- %s: KL %.4g; the best other of at most its size, %s, %.4g; difference %.3g (%.3g "
            "to %.3g): %s\n", text(list[i], "what"), g4_sens_number(list[i], "kl"),
            text(best, "point"), g4_sens_number(best, "kl"), f.value, f.lo, f.hi,
            f.hi < 0.0 ? "better" : f.lo > 0.0 ? "worse" : "not told apart");
    }
    return G4_OK;
}

/* How much of the whole model's KL the sum of single tensors' explains. */
static g4_status additivity(page *p, const json_t **list, size_t n)
{
    int any = 0;
    for (size_t i = 0; i < p->s->points.count; i++) {
        const g4_sens_point *q = &p->s->points.list[i];
        const json_t *r = g4_sens_result(p->s, q->name);
        double sum = g4_sens_predicted(p->s, q), kl = g4_sens_number(r, "kl");
        if (!r || !is_whole(r) || !isfinite(sum) || strcmp(q->by, "model") != 0) continue;
        if (!any++)
            PUT("\n## Do single tensors add up?\n\n| type | sum of single tensors' KL | whole "
                "model's | residual | explained, %% |\n|---|---|---|---|---|\n");
        PUT("| %s | %.4g | %.4g | %.3g | %.0f |\n", q->type, sum, kl, kl - sum, 100.0 * sum / kl);
    }
    (void)list;
    (void)n;
    return G4_OK;
}

/* Spearman's: ranks of n pairs. */
static double rank_of(const double *v, size_t n, size_t i)
{
    double rank = 0.0;
    for (size_t k = 0; k < n; k++) rank += v[k] < v[i] ? 1.0 : v[k] == v[i] ? 0.5 : 0.0;
    return rank;
}

static double rank_correlation(const double *a, const double *b, size_t n)
{
    double mean = (double)n / 2.0, aa = 0.0, bb = 0.0, ab = 0.0;
    for (size_t i = 0; i < n; i++) {
        double x = rank_of(a, n, i) - mean, y = rank_of(b, n, i) - mean;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    return ab / sqrt(aa * bb);
}

static g4_status randoms(page *p)
{
    double kl[64], sum[64];
    size_t n = 0;
    for (size_t i = 0; i < p->s->points.count && n < 64; i++) {
        const g4_sens_point *q = &p->s->points.list[i];
        double v = strcmp(q->by, "random") == 0 ? g4_sens_predicted(p->s, q) : NAN;
        if (!isfinite(v)) continue;
        kl[n] = g4_sens_number(g4_sens_result(p->s, q->name), "kl");
        sum[n++] = v;
    }
    if (n > 2)
        PUT("\n%zu mixes of random types: rank correlation of predicted and measured KL %.3f.\n", n,
            rank_correlation(kl, sum, n));
    return G4_OK;
}

/* KL of each kind, or layer, by type. */
static g4_status grid(page *p, const char *by)
{
    const g4_sens_study *s = p->s;
    const char *what = NULL;
    for (size_t i = 0; i < s->points.count; i++) {
        const g4_sens_point *q = &s->points.list[i];
        int mine = strcmp(q->by, by) == 0 && *q->leave == 'i' && strcmp(q->of, "weights") == 0;
        if (!mine || !isfinite(g4_sens_number(g4_sens_result(s, q->name), "kl"))) continue;
        if (!what) {
            PUT("\n## By %s\n\nKL of its matrices rounded, all others as they are.\n\n| |", by);
            for (int t = 0; t < s->chosen_count; t++) PUT(" %s |", s->types[s->chosen[t]].name);
            PUT("\n|---|");
            for (int t = 0; t < s->chosen_count; t++) PUT("---|");
        }
        if (!what || strcmp(what, q->what) != 0) PUT("\n| %s |", q->what);
        what = q->what;
        PUT(" %.3g |", g4_sens_number(g4_sens_result(s, q->name), "kl"));
    }
    if (what) PUT("\n");
    return G4_OK;
}

static int by_over(const void *a, const void *b)
{
    double x = (*(const g4_sens_channel *const *)a)->over;
    double y = (*(const g4_sens_channel *const *)b)->over;
    return (x < y) - (x > y);
}

/* Columns that stand out of what meets a matrix: blocks that hold one have a coarse scale. */
static g4_status channels(page *p)
{
    const g4_sens_study *s = p->s;
    size_t n = 0;
    const g4_sens_channel **list = calloc(s->slots.count, sizeof *list);
    if (!list) return g4_nomem(p->err, "summary");
    for (size_t i = 0; i < s->slots.count; i++) {
        const g4_sens_channel *c = &s->channels[i * G4_SENS_CHANNELS];
        if (c->column >= 0 && isfinite(c->over)) list[n++] = c;
    }
    qsort(list, n, sizeof *list, by_over);
    g4_status st = g4_out_printf(&p->out, p->err, "\n## Columns that stand out\n\nOf what meets "
                                 "matrices, root mean square over the median column's:");
    for (size_t i = 0; st == G4_OK && i < n && i < 5; i++) {
        size_t slot = (size_t)(list[i] - s->channels) / G4_SENS_CHANNELS;
        st = g4_out_printf(&p->out, p->err, "%s %s column %d: %.1f", i ? "," : "",
                           s->slots.list[slot].name, (int)list[i]->column, list[i]->over);
    }
    free(list);
    return st == G4_OK ? g4_out_printf(&p->out, p->err, ".\n") : st;
}

static int few_bits(const json_t *r)
{
    return is_single(r) && g4_sens_number(r, "bits") < 4.0;
}

static g4_status worst(page *p)
{
    size_t n;
    const json_t **list = choose(p, few_bits, by_kl, &n);
    if (!list) return g4_nomem(p->err, "summary");
    g4_status s = n ? g4_out_printf(&p->out, p->err, "\n## Where\n\nSingle tensors below 4 bits, "
                                    "worst first.\n\n| tensor | type | KL | weights' error | at "
                                    "the last layer |\n|---|---|---|---|---|\n")
                    : G4_OK;
    for (size_t i = 0; s == G4_OK && i < n && i < WORST; i++) {
        const json_t *layers = json_object_get(list[i], "layers");
        const json_t *last = json_array_get(layers, json_array_size(layers) - 1);
        s = g4_out_printf(&p->out, p->err, "| %s | %s | %.4g (%.3g to %.3g) | %.3g | %.3g |\n",
                          text(list[i], "what"), text(list[i], "type"),
                          g4_sens_number(list[i], "kl"), part(list[i], "all", "kl", 1),
                          part(list[i], "all", "kl", 2), g4_sens_number(list[i], "weight_error"),
                          json_number_value(json_array_get(last, 0)));
    }
    free(list);
    return s;
}

/* The answer in a sentence: the best of 4 bits and more against the best below. */
static g4_status answer(page *p, const json_t **list, size_t n)
{
    const json_t *four = NULL, *less = NULL;
    for (size_t i = 0; i < n; i++) {
        double bits = g4_sens_number(list[i], "bits");
        if (!is(list[i], "by", "model")) continue;
        if (bits >= 4.0 && (!four || bits < g4_sens_number(four, "bits"))) four = list[i];
        if (bits < 4.0 && (!less || bits > g4_sens_number(less, "bits"))) less = list[i];
    }
    if (!four || !less) return G4_OK;
    PUT("Is it sensitive below 4 bits?  From %s (%.2f bits a weight) to %s (%.2f) the KL grows "
        "from %.3g to %.3g, %.1f times; the likeliest token is another one in %.2f %% and %.2f "
        "%%.\n\n", text(four, "type"), g4_sens_number(four, "bits"), text(less, "type"),
        g4_sens_number(less, "bits"), g4_sens_number(four, "kl"), g4_sens_number(less, "kl"),
        g4_sens_number(less, "kl") / g4_sens_number(four, "kl"),
        100.0 * part(four, "all", "flips", 0), 100.0 * part(less, "all", "flips", 0));
    return G4_OK;
}

static g4_status cost(page *p)
{
    double seconds = 0.0;
    size_t i, n = json_array_size(p->s->results);
    json_t *r;
    json_array_foreach(p->s->results, i, r) seconds += g4_sens_number(r, "seconds");
    PUT("\n## Cost\n\n%zu points in %.0f s, %.0f points an hour; the reference, once, %.1f s, for "
        "%lld tokens of which %lld are predicted.\n", n, seconds, 3600.0 * (double)n / seconds,
        p->s->reference_seconds, (long long)p->s->data.rows, (long long)p->s->data.scored);
    return G4_OK;
}

static g4_status write_all(page *p, const json_t **list, size_t n)
{
    char model[256];
    PUT("# Sensitivity of %s to rounding\n\n", g4_text_cell(model, sizeof model, p->s->o->model));
    G4_TRY(answer(p, list, n));
    G4_TRY(wholes(p, list, n));
    G4_TRY(recipes(p, list, n));
    G4_TRY(additivity(p, list, n));
    G4_TRY(randoms(p));
    G4_TRY(grid(p, "kind"));
    G4_TRY(grid(p, "layer"));
    G4_TRY(worst(p));
    G4_TRY(channels(p));
    return cost(p);
}

g4_status g4_sens_summary(const g4_sens_study *s, const char *path, g4_err *err)
{
    size_t n;
    page p = { .s = s, .out = G4_OUT_NONE, .err = err };
    const json_t **list = choose(&p, is_whole, by_bytes, &n);
    if (!list) return g4_nomem(err, "summary");
    g4_status st = g4_out_open(&p.out, path, err);
    if (st == G4_OK) st = write_all(&p, list, n);
    if (st == G4_OK) st = g4_out_commit(&p.out, err);
    g4_out_abort(&p.out);
    free(list);
    return st;
}
