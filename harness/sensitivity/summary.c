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

/* Is it a simulated type?  Its kind, bits and block then. */
static int is_simulated(const json_t *r, char *kind, int *bits, int *block)
{
    return sscanf(text(r, "type"), "%1[sa]%1db%d", kind, bits, block) == 3;
}

/* Whole models: uniform types, mixes, recipes, random mixes aside. */
static int is_whole(const json_t *r)
{
    char kind[2];
    int bits, block;
    return is(r, "of", "weights") && !is_simulated(r, kind, &bits, &block) &&
           (is(r, "by", "model") || is(r, "by", "mix") || is(r, "by", "recipe"));
}

static int is_width(const json_t *r)
{
    char kind[2];
    int bits, block;
    return is(r, "of", "weights") && is(r, "by", "model") &&
           is_simulated(r, kind, &bits, &block);
}

static int is_drafter(const json_t *r)
{
    return is(r, "what", "drafter") || strncmp(text(r, "what"), "draft.", 6) == 0;
}

static int is_single(const json_t *r)
{
    return is(r, "of", "weights") && is(r, "by", "tensor") && is(r, "leave", "in") &&
           !is_drafter(r);
}

/* What is rounded besides weights. */
static int is_other(const json_t *r)
{
    return is(r, "by", "model") && !is(r, "of", "weights");
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
    if (!n) return G4_OK;
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

/* Simulated widths: a row for each way to cut them, a column for each number of bits. */
static int by_way(const void *a, const void *b)
{
    char x[2] = "", y[2] = "";
    int bits[2] = { 0, 0 }, block[2] = { 0, 0 };
    is_simulated(*(const json_t *const *)a, x, &bits[0], &block[0]);
    is_simulated(*(const json_t *const *)b, y, &bits[1], &block[1]);
    if (*x != *y) return *y - *x;
    return block[0] != block[1] ? block[0] - block[1] : bits[1] - bits[0];
}

static g4_status widths(page *p)
{
    size_t n;
    char kind[2] = "", last[2] = "";
    int bits = 0, block = 0, row = -1, at = 9;
    const json_t **list = choose(p, is_width, by_way, &n);
    if (!list) return g4_nomem(p->err, "summary");
    g4_status s = !n ? G4_OK : g4_out_printf(&p->out, p->err, "\n## Simulated widths\n\nKL of the "
                  "whole model.\n\n| bits | 8 | 7 | 6 | 5 | 4 | 3 | 2 |\n"
                  "|---|---|---|---|---|---|---|---|");
    for (size_t i = 0; s == G4_OK && i < n; i++) {
        is_simulated(list[i], kind, &bits, &block);
        if (block != row || *kind != *last) {
            char of[24];
            snprintf(of, sizeof of, block ? "blocks of %d" : "a block a row", block);
            s = g4_out_printf(&p->out, p->err, "\n| %s, %s |", *kind == 's' ? "symmetric"
                              : "affine", of);
            row = block;
            *last = *kind;
            at = 9;
        }
        while (s == G4_OK && --at > bits) s = g4_out_printf(&p->out, p->err, " |");
        if (s == G4_OK)
            s = g4_out_printf(&p->out, p->err, " %.3g |", g4_sens_number(list[i], "kl"));
    }
    free(list);
    return s == G4_OK && n ? g4_out_printf(&p->out, p->err, "\n") : s;
}

/* Activations, both, caches. */
static g4_status others(page *p)
{
    size_t n;
    const json_t **list = choose(p, is_other, by_kl, &n);
    if (!list) return g4_nomem(p->err, "summary");
    g4_status s = !n ? G4_OK : g4_out_printf(&p->out, p->err, "\n## Activations and caches\n\n"
                  "Of the whole model.\n\n| | type | KL | other likeliest token, %% | perplexity "
                  "ratio | right answers, %% |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; s == G4_OK && i < n; i++) {
        s = g4_out_printf(&p->out, p->err, "| %s | %s |", text(list[i], "of"),
                          text(list[i], "type"));
        if (s == G4_OK) s = put_value(p, list[i], "all", "kl", 1.0);
        if (s == G4_OK) s = put_value(p, list[i], "all", "flips", 100.0);
        if (s == G4_OK) s = put_value(p, list[i], "all", "ppl_ratio", 1.0);
        if (s == G4_OK) s = put_value(p, list[i], "all", "accuracy", 100.0);
        if (s == G4_OK) s = g4_out_printf(&p->out, p->err, "\n");
    }
    free(list);
    return s;
}

static int is_whole_drafter(const json_t *r)
{
    return is(r, "by", "kind") && is(r, "what", "drafter");
}

static g4_status drafter(page *p)
{
    size_t n;
    const json_t **list = choose(p, is_whole_drafter, by_kl, &n);
    if (!list) return g4_nomem(p->err, "summary");
    g4_status s = !n ? G4_OK : g4_out_printf(&p->out, p->err, "\n## The drafter\n\nAll its "
                  "matrices rounded, the model as it is; KL of its own logits, the chance that "
                  "the model takes its draft, and how much that has changed.\n\n| of | type | KL "
                  "| accepted, %% | change, points |\n|---|---|---|---|---|\n");
    for (size_t i = 0; s == G4_OK && i < n; i++) {
        s = g4_out_printf(&p->out, p->err, "| %s | %s |", text(list[i], "of"),
                          text(list[i], "type"));
        if (s == G4_OK) s = put_value(p, list[i], "all", "kl", 1.0);
        if (s == G4_OK) s = put_value(p, list[i], "all", "acceptance", 100.0);
        if (s == G4_OK) s = put_value(p, list[i], "all", "acceptance_change", 100.0);
        if (s == G4_OK) s = g4_out_printf(&p->out, p->err, "\n");
    }
    free(list);
    return s;
}

/* KL of each kind, or layer, by type. */
static g4_status grid(page *p, const char *by, const char *leave)
{
    const g4_sens_study *s = p->s;
    const char *what = NULL;
    for (size_t i = 0; i < s->points.count; i++) {
        const g4_sens_point *q = &s->points.list[i];
        int mine = strcmp(q->by, by) == 0 && strcmp(q->leave, leave) == 0 &&
                   strcmp(q->of, "weights") == 0 && strcmp(q->what, "drafter") != 0;
        if (!mine || !isfinite(g4_sens_number(g4_sens_result(s, q->name), "kl"))) continue;
        if (!what) {
            PUT("\n## %s %s\n\nKL of %s.\n\n| |", *leave == 'i' ? "By" : "All but a", by,
                *leave == 'i' ? "its matrices rounded, all others as they are"
                              : "all others rounded, its matrices as they are");
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

/* The type of single kinds' KLs that a question about "below 4 bits" is about: the widest of
 * those, else the narrowest there is; -1: none was measured by kind. */
static int type_of_kinds(const g4_sens_study *s)
{
    int best = -1;
    double had = NAN;
    for (size_t i = 0; i < s->points.count; i++) {
        const g4_sens_point *q = &s->points.list[i];
        double bits = g4_sens_point_bits(s, q);
        if (strcmp(q->by, "kind") != 0 || strcmp(q->of, "weights") != 0 || *q->leave != 'i' ||
            !g4_sens_result(s, q->name) || !(q->weight[s->slots.table] >= 0)) continue;
        int nearer = bits < 4.0 ? !(had < 4.0) || bits > had : !(had < bits);
        if (best >= 0 && !nearer) continue;
        best = q->weight[s->slots.table];
        had = bits;
    }
    return best;
}

/* What each kind costs each sort of documents. */
static g4_status domains(page *p)
{
    const g4_sens_study *s = p->s;
    int type = type_of_kinds(s);
    if (type < 0 || s->data.domains < 2) return G4_OK;
    PUT("\n## By kind and sort of documents\n\nKL with a kind's matrices in %s.\n\n| |",
        s->types[type].name);
    for (size_t d = 0; d < s->data.domains; d++) PUT(" %s |", s->data.domain[d]);
    PUT("\n|---|");
    for (size_t d = 0; d < s->data.domains; d++) PUT("---|");
    for (size_t i = 0; i < s->points.count; i++) {
        const g4_sens_point *q = &s->points.list[i];
        const json_t *r = g4_sens_result(s, q->name);
        if (!r || strcmp(q->by, "kind") != 0 || strcmp(q->of, "weights") != 0 ||
            *q->leave != 'i' || strcmp(q->type, s->types[type].name) != 0 || is_drafter(r))
            continue;
        PUT("\n| %s |", q->what);
        for (size_t d = 0; d < s->data.domains; d++) {
            double v = part(r, s->data.domain[d], "kl", 0);
            if (isfinite(v)) PUT(" %.3g |", v);
            else PUT(" |");
        }
    }
    PUT("\n");
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

/* The kinds that lose most, and how much of the whole model's KL that is. */
static g4_status where(page *p, const json_t *whole)
{
    const g4_sens_study *s = p->s;
    const json_t *worst[3] = { NULL, NULL, NULL };
    for (size_t i = 0; i < s->points.count; i++) {
        const g4_sens_point *q = &s->points.list[i];
        const json_t *r = g4_sens_result(s, q->name);
        if (!r || strcmp(q->by, "kind") != 0 || strcmp(q->of, "weights") != 0 || *q->leave != 'i' ||
            is_drafter(r) || !is(whole, "type", q->type)) continue;
        int k = 3;
        while (k > 0 && (!worst[k - 1] || by_kl(&worst[k - 1], &r) > 0)) k--;
        for (int m = 2; m > k; m--) worst[m] = worst[m - 1];
        if (k < 3) worst[k] = r;
    }
    if (!worst[2]) return G4_OK;
    PUT("Where?  In %s one kind alone:", text(whole, "type"));
    for (int k = 0; k < 3; k++)
        PUT("%s %s %.3g (%.0f %% of the whole model's)", k ? "," : "", text(worst[k], "what"),
            g4_sens_number(worst[k], "kl"),
            100.0 * g4_sens_number(worst[k], "kl") / g4_sens_number(whole, "kl"));
    PUT(".\n\n");
    return G4_OK;
}

/* The answer in a sentence: the best uniform type of 4 to 5 bits against the best of 3 to 4. */
static g4_status answer(page *p, const json_t **list, size_t n)
{
    const json_t *four = NULL, *less = NULL;
    for (size_t i = 0; i < n; i++) {
        double bits = g4_sens_number(list[i], "bits");
        if (!is(list[i], "by", "model") || bits < 3.0 || bits >= 5.0) continue;
        const json_t **best = bits < 4.0 ? &less : &four;
        if (!*best || g4_sens_number(list[i], "kl") < g4_sens_number(*best, "kl")) *best = list[i];
    }
    if (!less) return G4_OK;
    if (!four) return where(p, less);
    PUT("Is it sensitive below 4 bits?  From %s (%.2f bits a weight) to %s (%.2f) the KL grows "
        "from %.3g to %.3g, %.1f times; the likeliest token is another one in %.2f %% and %.2f "
        "%%.\n\n", text(four, "type"), g4_sens_number(four, "bits"), text(less, "type"),
        g4_sens_number(less, "bits"), g4_sens_number(four, "kl"), g4_sens_number(less, "kl"),
        g4_sens_number(less, "kl") / g4_sens_number(four, "kl"),
        100.0 * part(four, "all", "flips", 0), 100.0 * part(less, "all", "flips", 0));
    return where(p, less);
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
    G4_TRY(widths(p));
    G4_TRY(others(p));
    G4_TRY(grid(p, "kind", "in"));
    G4_TRY(grid(p, "kind", "out"));
    G4_TRY(grid(p, "layer", "in"));
    G4_TRY(grid(p, "layer", "out"));
    G4_TRY(domains(p));
    G4_TRY(drafter(p));
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
