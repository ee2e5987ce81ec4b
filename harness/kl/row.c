/* SPDX-License-Identifier: Apache-2.0
 * One place of a text: what the candidate says against what the reference says.  Sums are in
 * float64 and in the order of ids, so figures do not depend on threads.
 *   KL(p || q) = sum p (log p - log q), nats, p the reference
 * Of a stored top k, all other tokens count as one: that KL is a lower bound of the whole
 * (grouping outcomes loses information, never adds any). */
#include "harness/kl/kl.h"

#include "ref/base/half.h"
#include "ref/base/real.h"

#include <math.h>
#include <string.h>

enum { SHARED = G4_KL_TOP_SHARED };

static double largest(const float *z, int64_t n)
{
    float most = z[0];
    for (int64_t i = 1; i < n; i++) most = z[i] > most ? z[i] : most;
    return most;
}

double g4_kl_log_sum(const float *z, int64_t n)
{
    double most = largest(z, n), sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += g4_exp((double)z[i] - most);
    return most + log(sum);
}

/* Is (a, i) worse than (b, j)?  Of equals the higher id is. */
static int worse(float a, int32_t i, float b, int32_t j)
{
    return a < b || (a == b && i > j);
}

static void sift(float *best, int32_t *ids, int64_t n, int64_t at)
{
    float v = best[at];
    int32_t id = ids[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && worse(best[child + 1], ids[child + 1], best[child], ids[child]))
            child++;
        if (!worse(best[child], ids[child], v, id)) break;
        best[at] = best[child];
        ids[at] = ids[child];
    }
    best[at] = v;
    ids[at] = id;
}

/* A heap with the worst of the k on top; then taken apart from there. */
void g4_kl_best(const float *z, int64_t V, int64_t k, int32_t *ids, float *best)
{
    for (int64_t i = 0; i < k; i++) {
        best[i] = z[i];
        ids[i] = (int32_t)i;
    }
    for (int64_t i = k / 2; i-- > 0;) sift(best, ids, k, i);
    for (int64_t i = k; i < V; i++) {
        if (!(z[i] > best[0])) continue;
        best[0] = z[i];
        ids[0] = (int32_t)i;
        sift(best, ids, k, 0);
    }
    for (int64_t n = k; n-- > 1;) {
        float v = best[0];
        int32_t id = ids[0];
        best[0] = best[n];
        ids[0] = ids[n];
        sift(best, ids, n, 0);
        best[n] = v;
        ids[n] = id;
    }
}

static unsigned code_at(const g4_kl_ref *r, int64_t i)
{
    return (unsigned)r->codes[2 * i] | (unsigned)r->codes[2 * i + 1] << 8;
}

/* The likeliest codes; most of 262,144 are passed over at the first comparison. */
static void best_codes(const g4_kl_ref *r, int64_t V, int k, int32_t *ids)
{
    unsigned best[SHARED];
    int have = 0;
    for (int64_t i = 0; i < V; i++) {
        unsigned c = code_at(r, i);
        int j = have;
        while (j > 0 && c > best[j - 1]) j--;
        if (j == k) continue;
        if (have < k) have++;
        for (int m = have - 1; m > j; m--) {
            best[m] = best[m - 1];
            ids[m] = ids[m - 1];
        }
        best[j] = c;
        ids[j] = (int32_t)i;
    }
}

/* ---- the three kinds of references; log_q: what is subtracted from a logit ---- */

static double kl_logits(const float *z, double log_q, const float *p, double log_p, int64_t V)
{
    double kl = 0.0;
    for (int64_t i = 0; i < V; i++) {
        double lp = (double)p[i] - log_p;
        kl += g4_exp(lp) * (lp - ((double)z[i] - log_q));
    }
    return kl;
}

static double kl_top(const float *z, double log_q, const g4_kl_ref *r, int64_t V, uint8_t *mark)
{
    double kl = 0.0, rest = 0.0;
    for (int64_t i = 0; i < r->k; i++) {
        double lp = r->logprobs[i];
        kl += g4_exp(lp) * (lp - ((double)z[r->ids[i]] - log_q));
        mark[r->ids[i]] = 1;
    }
    for (int64_t i = 0; i < V; i++)
        if (!mark[i]) rest += g4_exp((double)z[i] - log_q);
    for (int64_t i = 0; i < r->k; i++) mark[r->ids[i]] = 0;
    if (r->rest > 0.0f) kl += (double)r->rest * (log((double)r->rest) - log(rest));
    return kl;
}

/* llama.cpp's own sum [N91]: what lies below e^-16 is left out, and p does not quite sum to 1. */
static double kl_codes(const float *z, double log_q, const g4_kl_ref *r, int64_t V)
{
    double kl = 0.0;
    for (int64_t i = 0; i < V; i++) {
        double lp = r->scale * (float)code_at(r, i) + r->least;
        if (lp > -16.0) kl += g4_exp(lp) * (lp - ((double)z[i] - log_q));
    }
    return kl;
}

static void agree(g4_kl_token *out, const int32_t *a, const int32_t *b, int k)
{
    out->top1 = a[0] == b[0];
    for (int i = 0; i < k; i++)
        for (int j = 0; j < k; j++) out->top5 = (uint8_t)(out->top5 + (a[i] == b[j]));
}

void g4_kl_row(g4_kl_token *out, const float *z, int64_t V, int32_t id, const g4_kl_ref *r,
               uint8_t *mark)
{
    int k = V < SHARED ? (int)V : SHARED;
    int32_t ours[SHARED], theirs[SHARED];
    float values[SHARED];
    double log_q = g4_kl_log_sum(z, V);
    *out = (g4_kl_token){ .id = id, .nll = log_q - (double)z[id] };
    if (!r) return;
    g4_kl_best(z, V, k, ours, values);
    if (r->kind == G4_KL_LOGITS) {
        double log_p = g4_kl_log_sum(r->logits, V);
        out->nll_ref = log_p - (double)r->logits[id];
        out->kl = fmax(kl_logits(z, log_q, r->logits, log_p, V), 0.0);   /* but for rounding */
        g4_kl_best(r->logits, V, k, theirs, values);
    } else if (r->kind == G4_KL_TOP) {
        out->nll_ref = -(double)r->token;
        out->kl = kl_top(z, log_q, r, V, mark);
        memcpy(theirs, r->ids, (size_t)k * sizeof *theirs);
    } else {
        out->nll_ref = -(double)(r->scale * (float)code_at(r, id) + r->least);
        out->kl = kl_codes(z, log_q, r, V);
        best_codes(r, V, k, theirs);
    }
    out->dp = g4_exp(-out->nll) - g4_exp(-out->nll_ref);
    agree(out, ours, theirs, k);
}
