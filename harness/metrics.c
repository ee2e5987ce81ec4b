/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/metrics.h"

#include <math.h>

enum { TOP = 5 };

/* Sums run row by row, then over rows: fewer roundings in a row of partial sums. */
g4_diff g4_diff_values(g4_values golden, g4_values ours, int64_t rows, int64_t cols)
{
    g4_diff d = {0};
    double gg = 0, oo = 0, go = 0, ee = 0;
    for (int64_t r = 0; r < rows; r++) {
        double row_gg = 0, row_oo = 0, row_go = 0, row_ee = 0;
        for (int64_t c = 0; c < cols; c++) {
            double g = g4_value(golden, r * cols + c), o = g4_value(ours, r * cols + c);
            double e = fabs(o - g);
            row_gg += g * g;
            row_oo += o * o;
            row_go += g * o;
            row_ee += e * e;
            if (g == o) continue;
            d.unequal++;
            if (e <= d.max_abs || isnan(d.max_abs)) continue;   /* a NaN e gets past here */
            d.max_abs = e;
            d.row = r;
            d.col = c;
        }
        gg += row_gg;
        oo += row_oo;
        go += row_go;
        ee += row_ee;
    }
    if (!isfinite(gg)) d.relative_l2 = NAN;   /* x / inf would be 0, a perfect score */
    else if (gg > 0) d.relative_l2 = sqrt(ee) / sqrt(gg);
    else d.relative_l2 = d.unequal ? INFINITY : 0;
    if (gg > 0 && oo > 0) d.cosine = go / (sqrt(gg) * sqrt(oo));
    else d.cosine = gg == 0 && oo == 0 ? 1 : gg == 0 || oo == 0 ? 0 : NAN;
    return d;
}

/* log(sum(exp(row))) */
static double log_sum_exp(g4_values v, int64_t at, int64_t n)
{
    double max = g4_value(v, at), sum = 0;
    for (int64_t i = 1; i < n; i++) max = fmax(max, g4_value(v, at + i));
    for (int64_t i = 0; i < n; i++) sum += exp(g4_value(v, at + i) - max);
    return max + log(sum);
}

static double kl_row(g4_values golden, g4_values ours, int64_t at, int64_t n)
{
    double zg = log_sum_exp(golden, at, n), zo = log_sum_exp(ours, at, n), kl = 0;
    for (int64_t i = 0; i < n; i++) {
        double g = g4_value(golden, at + i) - zg, o = g4_value(ours, at + i) - zo;
        kl += exp(g) * (g - o);
    }
    return kl < 0 ? 0 : kl;   /* never below 0 but for rounding; NaN stays */
}

/* Indices of the k largest, best first; of equals the lower index. */
static void top_row(g4_values v, int64_t at, int64_t n, int k, int64_t *best)
{
    int have = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = g4_value(v, at + i);
        int j = have;
        while (j > 0 && x > g4_value(v, at + best[j - 1])) j--;
        if (j == k) continue;
        if (have < k) have++;
        for (int m = have - 1; m > j; m--) best[m] = best[m - 1];
        best[j] = i;
    }
}

g4_logit_diff g4_diff_logits(g4_values golden, g4_values ours, int64_t rows, int64_t cols)
{
    g4_logit_diff d = {0};
    int k = cols < TOP ? (int)cols : TOP;
    int64_t first = 0, shared = 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t g[TOP] = {0}, o[TOP] = {0};
        double kl = kl_row(golden, ours, r * cols, cols);
        d.kl_mean += kl / (double)rows;
        if (!(kl <= d.kl_max) && !isnan(d.kl_max)) d.kl_max = kl;
        top_row(golden, r * cols, cols, k, g);
        top_row(ours, r * cols, cols, k, o);
        first += g[0] == o[0];
        for (int i = 0; i < k; i++)
            for (int j = 0; j < k; j++) shared += g[i] == o[j];
    }
    d.top1 = (double)first / (double)rows;
    d.top5 = (double)shared / (double)(rows * k);
    return d;
}
