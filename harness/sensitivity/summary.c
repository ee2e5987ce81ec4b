/* SPDX-License-Identifier: Apache-2.0
 * summary.md: one page that answers whether the model is sensitive below 4 bits, and where.
 * Every figure of every point is in points.csv; here is what one would look for first. */
#include "harness/sensitivity/sensitivity.h"
#include "harness/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORST = 5 };

typedef struct page {
    const g4_sens_study *s;
    g4_out out;
    g4_err *err;
} page;

#define PUT(...) G4_TRY(g4_out_printf(&p->out, p->err, __VA_ARGS__))

/* ---- results ---- */

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

static double kl_of(const json_t *r)
{
    return g4_sens_number(r, "kl");
}

/* Is it rounded to a simulated type?  Which one, then. */
static int is_simulated(const json_t *r, g4_sens_type *t)
{
    const char *name = text(r, "type");
    return g4_sens_type_parse(t, name, strlen(name), NULL) == G4_OK && t->dtype < 0;
}

static int is_drafter(const json_t *r)
{
    return is(r, "what", "drafter") || strncmp(text(r, "what"), "draft.", 6) == 0;
}

/* Which results a part of the page is about: words of comma lists; type NULL: any format. */
typedef struct wish {
    const char *by, *of, *type;
    int simulated, drafter;      /* simulated -1: or not */
} wish;

static int is_wanted(const json_t *r, const wish *w)
{
    g4_sens_type t;
    return strstr(w->by, text(r, "by")) && strstr(w->of, text(r, "of")) && is(r, "leave", "in") &&
           (!w->type || is(r, "type", w->type)) && is_drafter(r) == w->drafter &&
           (w->simulated < 0 || is_simulated(r, &t) == w->simulated) &&
           isfinite(kl_of(r));
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
    double d = kl_of(y) - kl_of(x);
    return d != 0.0 ? (d > 0.0) - (d < 0.0) : strcmp(text(x, "point"), text(y, "point"));
}

typedef struct list {
    const json_t **at;           /* malloc'ed */
    size_t count;
    const wish *of;
} list;

static g4_status choose(list *l, const page *p, const wish *w,
                        int (*order)(const void *, const void *))
{
    size_t n = json_array_size(p->s->results);
    *l = (list){ malloc((n + 1) * sizeof(const json_t *)), 0, w };
    if (!l->at) return g4_nomem(p->err, "summary");
    for (size_t i = 0; i < n; i++) {
        const json_t *r = json_array_get(p->s->results, i);
        if (is_wanted(r, w)) l->at[l->count++] = r;
    }
    qsort(l->at, l->count, sizeof *l->at, order);
    return G4_OK;
}

/* What is put on the page of a list; nothing where that is empty. */
static g4_status with_list(page *p, g4_status (*put)(page *p, const list *l), const wish *w,
                           int (*order)(const void *, const void *))
{
    list l;
    G4_TRY(choose(&l, p, w, order));
    g4_status s = l.count ? put(p, &l) : G4_OK;
    free(l.at);
    return s;
}

/* ---- the answer ---- */

/* How many times a bit less multiplies KL from a to b. */
static double for_a_bit(const json_t *a, const json_t *b)
{
    return pow(kl_of(b) / kl_of(a), 1.0 / (g4_sens_number(a, "bits") - g4_sens_number(b, "bits")));
}

/* The best uniform format of 5 to 6 bits a weight, of 4 to 5, 3 to 4 and 2 to 3. */
static void best_by_bits(const list *l, const json_t *best[4])
{
    for (size_t i = 0; i < l->count; i++) {
        double bits = g4_sens_number(l->at[i], "bits");
        if (!is(l->at[i], "by", "model") || bits < 2.0 || bits >= 6.0) continue;
        const json_t **to = &best[5 - (int)bits];
        if (!*to || kl_of(l->at[i]) < kl_of(*to)) *to = l->at[i];
    }
}

static g4_status answer(page *p, const list *l)
{
    const json_t *best[4] = { NULL }, *last = NULL;
    best_by_bits(l, best);
    if (!best[2]) return G4_OK;
    PUT("**Is it sensitive below 4 bits?** ");
    if (best[0] && best[1]) {
        double above = for_a_bit(best[0], best[1]), below = for_a_bit(best[1], best[2]);
        PUT("%s: one bit less multiplies KL by %.1f above 4 bits and by %.1f below. ",
            below > above ? "Yes" : "No more than above", above, below);
    }
    PUT("All matrices in");
    for (int k = 0; k < 4; k++) {
        if (!best[k]) continue;
        PUT("%s %s (%.2f bits a weight) lose %.3g nats a token", last ? "," : "",
            text(best[k], "type"), g4_sens_number(best[k], "bits"), kl_of(best[k]));
        if (last) PUT(", %.1f times that,", kl_of(best[k]) / kl_of(last));
        PUT(" and turn %.1f %% of the likeliest tokens", 100.0 * part(best[k], "all", "flips", 0));
        last = best[k];
    }
    PUT(".\n\n");
    return G4_OK;
}

/* ---- where ---- */

/* The format that a question about "below 4 bits" is about: the widest of those that kinds (or
 * what by says) were alone rounded to, else the narrowest there is; NULL: none. */
static const char *type_below(const page *p, const char *by)
{
    const wish w = { .by = by, .of = "weights" };
    const json_t *best = NULL, *r;
    size_t i;
    json_array_foreach(p->s->results, i, r) {
        double bits = g4_sens_number(r, "bits"), had = best ? g4_sens_number(best, "bits") : NAN;
        if (!is_wanted(r, &w)) continue;
        if (!best || (bits < 4.0 ? !(had < 4.0) || bits > had : had >= 4.0 && bits < had)) best = r;
    }
    return best ? text(best, "type") : NULL;
}

static const json_t *named(const page *p, const char *name, const char *type)
{
    char point[320];
    snprintf(point, sizeof point, "weights of %s as %s", name, type);
    return g4_sens_result(p->s, point);
}

/* "kinds: head 0.00216 (22 %), ...; least: ffn_up 0.0001". */
static g4_status put_worst(page *p, const list *l)
{
    double whole = kl_of(named(p, "model all", l->of->type));
    PUT("- %ss in %s:", l->of->by, l->of->type);
    for (size_t i = 0; i < l->count && i < WORST; i++) {
        PUT("%s %s %.3g", i ? "," : "", text(l->at[i], "what"), kl_of(l->at[i]));
        if (whole > 0.0) PUT(" (%.0f %%)", 100.0 * kl_of(l->at[i]) / whole);
    }
    if (l->count > WORST)
        PUT("; least of %zu: %s %.3g", l->count, text(l->at[l->count - 1], "what"),
            kl_of(l->at[l->count - 1]));
    PUT("\n");
    return G4_OK;
}

/* Each kind alone, all but it, and what it costs each sort of documents. */
static g4_status put_kinds(page *p, const list *l)
{
    const g4_sens_data *d = &p->s->data;
    PUT("\n| in %s | alone | all but it |", l->of->type);
    for (size_t k = 0; d->domains > 1 && k < d->domains; k++) PUT(" %s |", d->domain[k]);
    PUT("\n|---|---|---|");
    for (size_t k = 0; d->domains > 1 && k < d->domains; k++) PUT("---|");
    for (size_t i = 0; i < l->count; i++) {
        char name[80];
        snprintf(name, sizeof name, "all but kind %s", text(l->at[i], "what"));
        double without = kl_of(named(p, name, l->of->type));
        PUT("\n| %s | %.3g |", text(l->at[i], "what"), kl_of(l->at[i]));
        if (isfinite(without)) PUT(" %.3g |", without);
        else PUT(" |");
        for (size_t k = 0; d->domains > 1 && k < d->domains; k++) {
            double v = part(l->at[i], d->domain[k], "kl", 0);
            if (isfinite(v)) PUT(" %.3g |", v);
            else PUT(" |");
        }
    }
    PUT("\n");
    return G4_OK;
}

/* Columns that stand out of what meets a matrix: blocks that hold one have a coarse scale. */
static g4_status channels(page *p)
{
    const g4_sens_channel *last = NULL;
    PUT("- columns of what meets matrices, root mean square over the median column's:");
    for (int k = 0; k < WORST; k++) {
        const g4_sens_channel *best = NULL;
        for (size_t i = 0; i < p->s->slots.count; i++) {
            const g4_sens_channel *c = &p->s->channels[i * G4_SENS_CHANNELS];
            if (c->column >= 0 && isfinite(c->over) && (!last || c->over < last->over) &&
                (!best || c->over > best->over)) best = c;
        }
        if (!best) break;
        PUT("%s %d of %s %.1f", k ? "," : "", (int)best->column,
            p->s->slots.list[(size_t)(best - p->s->channels) / G4_SENS_CHANNELS].name, best->over);
        last = best;
    }
    PUT("\n");
    return G4_OK;
}

static g4_status where(page *p)
{
    wish w[] = { { .by = "kind" }, { .by = "layer" }, { .by = "tensor" } };
    int any = 0;
    for (int k = 0; k < 3; k++) {
        w[k].of = "weights";
        w[k].type = type_below(p, w[k].by);
        any |= w[k].type != NULL;
    }
    PUT("**Where?** %s:\n\n", any ? "KL of what is rounded alone, and its share of the whole "
        "model's" : "Not asked; --by kind,layer,tensor tells");
    for (int k = 0; k < 3; k++) if (w[k].type) G4_TRY(with_list(p, put_worst, &w[k], by_kl));
    G4_TRY(channels(p));
    return w[0].type ? with_list(p, put_kinds, &w[0], by_kl) : G4_OK;
}

/* ---- whole models, recipes, sums ---- */

static g4_status put_value(page *p, const json_t *r, const char *key, double factor)
{
    double v = part(r, "all", key, 0);
    if (!isfinite(v)) PUT(" |");
    else PUT(" %.4g (%.4g to %.4g) |", factor * v, factor * part(r, "all", key, 1),
             factor * part(r, "all", key, 2));
    return G4_OK;
}

static g4_status wholes(page *p, const list *l)
{
    char bytes[32];
    int asked = p->s->data.questions > 0;
    PUT("\n**Whole models**: bytes of the text model's tensors; KL in nats a token to the float32 "
        "reference; in brackets 95 %% by bootstrap over documents.\n\n"
        "| | bytes | KL | 99th percentile | other likeliest token, %% | perplexity ratio |%s\n"
        "|---|---|---|---|---|---|%s\n", asked ? " right answers, % | lost, won |" : "",
        asked ? "---|---|" : "");
    for (size_t i = 0; i < l->count; i++) {
        const json_t *r = l->at[i];
        PUT("| %s %s | %s |", text(r, "by"), is(r, "by", "model") ? text(r, "type") :
            text(r, "what"), g4_text_bytes(bytes, sizeof bytes,
                                           (uint64_t)g4_sens_number(r, "bytes")));
        G4_TRY(put_value(p, r, "kl", 1.0));
        G4_TRY(put_value(p, r, "kl_p99", 1.0));
        G4_TRY(put_value(p, r, "flips", 100.0));
        G4_TRY(put_value(p, r, "ppl_ratio", 1.0));
        if (asked) {
            G4_TRY(put_value(p, r, "accuracy", 100.0));
            PUT(" %zu, %zu |", json_array_size(json_object_get(r, "lost")),
                json_array_size(json_object_get(r, "won")));
        }
        PUT("\n");
    }
    return G4_OK;
}

/* Each recipe beside the best other model that is as small (within 0.5 %: formats come in
 * steps, and norms are not packed by all). */
static g4_status recipes(page *p, const list *l)
{
    int any = 0;
    for (size_t i = 0; i < l->count; i++) {
        const json_t *best = NULL;
        g4_sens_figure f;
        if (!is(l->at[i], "by", "recipe")) continue;
        for (size_t k = 0; k < l->count; k++) {
            const json_t *r = l->at[k];
            int fits = g4_sens_number(r, "bytes") <= 1.005 * g4_sens_number(l->at[i], "bytes");
            if (is(r, "by", "recipe") || !fits) continue;
            if (!best || kl_of(r) < kl_of(best)) best = r;
        }
        if (!best || !g4_sens_difference(p->s, l->at[i], best, &f)) continue;
        if (!any++) PUT("\n**Recipes** chosen by single tensors' KLs:\n\n");
        PUT("- %s: KL %.3g; of others of at most its size %s has least, %.3g; difference %.3g "
            "(%.3g to %.3g): %s\n", text(l->at[i], "what"), kl_of(l->at[i]),
            text(best, is(best, "by", "model") ? "type" : "what"), kl_of(best), f.value, f.lo, f.hi,
            f.hi < 0.0 ? "better" : f.lo > 0.0 ? "worse" : "not told apart");
    }
    return G4_OK;
}

/* How much of the whole model's KL the sum of single tensors' explains. */
static g4_status additivity(page *p)
{
    const wish uniform = { .by = "model", .of = "weights" };
    int count = 0;
    for (size_t i = 0; i < p->s->points.count; i++) {
        const g4_sens_point *q = &p->s->points.list[i];
        const json_t *r = g4_sens_result(p->s, q->name);
        double sum = g4_sens_predicted(p->s, q), kl = kl_of(r);
        if (!r || !is_wanted(r, &uniform) || !isfinite(sum)) continue;
        PUT("%s in %s %.0f %% (residual %.2g)", count++ ? "," : "\n**Do single tensors add up?** "
            "Their KLs are, of the whole model's,", q->type, 100.0 * sum / kl, kl - sum);
    }
    if (count) PUT(".\n");
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
        kl[n] = kl_of(g4_sens_result(p->s, q->name));
        sum[n++] = v;
    }
    if (n > 2)
        PUT("\n%zu mixes of random types: rank correlation of predicted and measured KL %.3f.\n", n,
            rank_correlation(kl, sum, n));
    return G4_OK;
}

/* ---- the rest ---- */

static int by_bits(const void *a, const void *b)
{
    g4_sens_type x, y;
    is_simulated(*(const json_t *const *)a, &x);
    is_simulated(*(const json_t *const *)b, &y);
    return x.bits != y.bits ? y.bits - x.bits : -by_kl(a, b);
}

/* Of each number of bits the best way to cut them, and the worst. */
static g4_status widths(page *p, const list *l)
{
    g4_sens_type now, next;
    PUT("\n**Simulated widths** (s symmetric, a with an offset; b block, 0 a row), the whole "
        "model:");
    for (size_t i = 0, first = 0; i < l->count; i++) {
        is_simulated(l->at[i], &now);
        int more = i + 1 < l->count && is_simulated(l->at[i + 1], &next);
        if (more && next.bits == now.bits) continue;
        PUT("%s %s %.3g", first ? "," : "", text(l->at[first], "type"), kl_of(l->at[first]));
        if (i > first) PUT(" to %s %.3g", text(l->at[i], "type"), kl_of(l->at[i]));
        first = i + 1;
    }
    PUT(".\n");
    return G4_OK;
}

static g4_status others(page *p, const list *l)
{
    PUT("\n**Besides weights**, of the whole model:");
    for (size_t i = 0; i < l->count; i++)
        PUT("%s %s %s %.3g", i ? "," : "", text(l->at[i], "of"), text(l->at[i], "type"),
            kl_of(l->at[i]));
    PUT(".\n");
    return G4_OK;
}

static g4_status drafter(page *p, const list *l)
{
    PUT("\n**The drafter** alone, points of its drafts that the model takes:");
    for (size_t i = 0; i < l->count; i++)
        PUT("%s %s %+.3g (%+.3g to %+.3g)", i ? "," : "", text(l->at[i], "type"),
            100.0 * part(l->at[i], "all", "acceptance_change", 0),
            100.0 * part(l->at[i], "all", "acceptance_change", 1),
            100.0 * part(l->at[i], "all", "acceptance_change", 2));
    PUT("; without %.2f %%.\n", 100.0 * (part(l->at[0], "all", "acceptance", 0) -
                                        part(l->at[0], "all", "acceptance_change", 0)));
    return G4_OK;
}

static g4_status cost(page *p)
{
    double seconds = 0.0;
    size_t i, n = json_array_size(p->s->results);
    json_t *r;
    json_array_foreach(p->s->results, i, r) seconds += g4_sens_number(r, "seconds");
    PUT("\n**Cost**: %zu points in %.0f s, %.0f points an hour; the reference, once, %.1f s, for "
        "%lld tokens of which %lld are predicted.\n", n, seconds, 3600.0 * (double)n / seconds,
        p->s->reference_seconds, (long long)p->s->data.rows, (long long)p->s->data.scored);
    return G4_OK;
}

static g4_status write_all(page *p)
{
    char model[256];
    const wish whole = { .by = "model,mix,recipe", .of = "weights" };
    const wish width = { .by = "model", .of = "weights", .simulated = 1 };
    const wish other = { .by = "model", .of = "activations,kv,both", .simulated = -1 };
    const wish draft = { .by = "kind", .of = "weights", .drafter = 1 };
    PUT("# Sensitivity of %s to rounding\n\n", g4_text_cell(model, sizeof model, p->s->o->model));
    G4_TRY(with_list(p, answer, &whole, by_bytes));
    G4_TRY(where(p));
    G4_TRY(additivity(p));
    G4_TRY(randoms(p));
    G4_TRY(with_list(p, recipes, &whole, by_bytes));
    G4_TRY(with_list(p, wholes, &whole, by_bytes));
    G4_TRY(with_list(p, widths, &width, by_bits));
    G4_TRY(with_list(p, others, &other, by_kl));
    G4_TRY(with_list(p, drafter, &draft, by_kl));
    return cost(p);
}

g4_status g4_sens_summary(const g4_sens_study *s, const char *path, g4_err *err)
{
    page p = { .s = s, .out = G4_OUT_NONE, .err = err };
    g4_status st = g4_out_open(&p.out, path, err);
    if (st == G4_OK) st = write_all(&p);
    if (st == G4_OK) st = g4_out_commit(&p.out, err);
    g4_out_abort(&p.out);
    return st;
}
