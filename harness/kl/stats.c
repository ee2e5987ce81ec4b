/* SPDX-License-Identifier: Apache-2.0
 * Means, quantiles and how sure they are.
 *   se           sd / sqrt(n), tokens as if independent
 *   se_windows   sqrt(G/(G-1) sum over windows (sum of x - mean)^2) / n: tokens of one window
 *                may go together as they like (cluster-robust, G windows)
 *   a quantile's se: half of what lies between the quantiles at q +- sqrt(q (1 - q) / n)
 *   (Woodruff 1952) */
#include "harness/kl/kl.h"

#include <math.h>
#include <stdlib.h>

const double g4_kl_quantile_at[G4_KL_QUANTILES] = { 0.5, 0.9, 0.95, 0.99, 0.999 };

typedef double value_of(const g4_kl_token *t);

static double nll(const g4_kl_token *t) { return t->nll; }
static double nll_ref(const g4_kl_token *t) { return t->nll_ref; }
static double log_ratio(const g4_kl_token *t) { return t->nll - t->nll_ref; }
static double kl(const g4_kl_token *t) { return t->kl; }
static double dp(const g4_kl_token *t) { return t->dp; }
static double dp2(const g4_kl_token *t) { return t->dp * t->dp; }
static double top1(const g4_kl_token *t) { return t->top1; }
static double top5(const g4_kl_token *t) { return t->top5 / (double)G4_KL_TOP_SHARED; }

static g4_kl_mean mean_of(const g4_kl_text *text, const g4_kl_token *t, value_of *f)
{
    double n = (double)text->scored, sum = 0.0, squares = 0.0, windows = 0.0;
    double G = (double)text->count;
    for (int64_t i = 0; i < text->scored; i++) sum += f(&t[i]);
    g4_kl_mean m = { .value = sum / n };
    for (size_t w = 0; w < text->count; w++) {
        double one = 0.0;
        for (int32_t i = 0; i < text->windows[w].scored; i++, t++) {
            double d = f(t) - m.value;
            squares += d * d;
            one += d;
        }
        windows += one * one;
    }
    m.se = n > 1.0 ? sqrt(squares / (n - 1.0) / n) : NAN;
    m.se_windows = G > 1.0 ? sqrt(windows * G / (G - 1.0)) / n : NAN;
    return m;
}

g4_kl_mean g4_kl_through(g4_kl_mean m, double value, double slope)
{
    return (g4_kl_mean){ value, fabs(slope) * m.se, fabs(slope) * m.se_windows };
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t n, double q)
{
    double at = fmin(fmax(q, 0.0), 1.0) * (double)(n - 1);
    int64_t i = (int64_t)at;
    int64_t next = i + 1 < n ? i + 1 : i;
    return sorted[i] + (at - (double)i) * (sorted[next] - sorted[i]);
}

static g4_status quantiles_of(g4_kl_stats *s, const g4_kl_token *tokens, g4_err *err)
{
    size_t n = (size_t)s->n;
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted) return g4_nomem(err, "quantiles");
    for (size_t i = 0; i < n; i++) sorted[i] = tokens[i].kl;
    qsort(sorted, n, sizeof *sorted, ascending);
    s->kl_min = sorted[0];
    s->kl_max = sorted[n - 1];
    for (int k = 0; k < G4_KL_QUANTILES; k++) {
        double q = g4_kl_quantile_at[k], d = sqrt(q * (1.0 - q) / (double)n);
        s->quantiles[k] = (g4_kl_mean){
            .value = quantile(sorted, s->n, q),
            .se = (quantile(sorted, s->n, q + d) - quantile(sorted, s->n, q - d)) / 2.0,
            .se_windows = NAN,
        };
    }
    free(sorted);
    return G4_OK;
}

static double correlation(const g4_kl_stats *s, const g4_kl_token *t)
{
    double xx = 0.0, yy = 0.0, xy = 0.0;
    for (int64_t i = 0; i < s->n; i++) {
        double x = t[i].nll - s->nll.value, y = t[i].nll_ref - s->nll_ref.value;
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    return xy / sqrt(xx * yy);
}

g4_status g4_kl_stats_of(g4_kl_stats *s, const g4_kl_text *text, const g4_kl_token *tokens,
                         g4_err *err)
{
    *s = (g4_kl_stats){ .n = text->scored };
    s->nll = mean_of(text, tokens, nll);
    s->nll_ref = mean_of(text, tokens, nll_ref);
    s->log_ratio = mean_of(text, tokens, log_ratio);
    s->kl = mean_of(text, tokens, kl);
    s->dp = mean_of(text, tokens, dp);
    s->dp2 = mean_of(text, tokens, dp2);
    s->top1 = mean_of(text, tokens, top1);
    s->top5 = mean_of(text, tokens, top5);
    s->correlation = correlation(s, tokens);
    return quantiles_of(s, tokens, err);
}
