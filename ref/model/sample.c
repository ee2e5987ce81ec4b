/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/sample.h"

#include "ref/base/real.h"

#include <string.h>

uint64_t g4_dist_bytes(int64_t vocab)
{
    const g4_dist *d;
    return (uint64_t)vocab * (sizeof *d->ids + sizeof *d->p + sizeof *d->dense);
}

g4_status g4_dist_init(g4_dist *d, int64_t vocab, g4_arena *arena, g4_err *err)
{
    d->n = 0;
    d->capacity = vocab;
    d->ids = g4_arena_alloc(arena, (size_t)vocab, sizeof *d->ids);
    d->p = g4_arena_alloc(arena, (size_t)vocab, sizeof *d->p);
    d->dense = g4_arena_alloc(arena, (size_t)vocab, sizeof *d->dense);
    return d->ids && d->p && d->dense ? G4_OK : g4_nomem(err, "sampler");
}

static int suppressed(const g4_sampler *s, int64_t id)
{
    for (int i = 0; i < s->suppress_count; i++)
        if (s->suppress[i] == id) return 1;
    return 0;
}

int32_t g4_argmax(const g4_sampler *s, const float *logits, int64_t vocab)
{
    int64_t best = -1;
    for (int64_t i = 0; i < vocab; i++)
        if ((best < 0 || logits[i] > logits[best]) && !suppressed(s, i)) best = i;
    return (int32_t)(best < 0 ? 0 : best);
}

/* Pairs (id, p) sorted by p falling, id rising: an in-place heap sort, so that
 * ids and p may stay apart.  before(a, b): a belongs in front of b. */
static int before(const g4_dist *d, int64_t a, int64_t b)
{
    return d->p[a] > d->p[b] || (d->p[a] == d->p[b] && d->ids[a] < d->ids[b]);
}

static void swap(g4_dist *d, int64_t a, int64_t b)
{
    double p = d->p[a];
    int32_t id = d->ids[a];
    d->p[a] = d->p[b];
    d->ids[a] = d->ids[b];
    d->p[b] = p;
    d->ids[b] = id;
}

/* The root of each subtree is what belongs last. */
static void sift(g4_dist *d, int64_t root, int64_t n)
{
    for (;;) {
        int64_t child = 2 * root + 1;
        if (child >= n) return;
        if (child + 1 < n && before(d, child, child + 1)) child++;
        if (!before(d, root, child)) return;
        swap(d, root, child);
        root = child;
    }
}

static void sort(g4_dist *d)
{
    for (int64_t i = d->n / 2 - 1; i >= 0; i--) sift(d, i, d->n);
    for (int64_t n = d->n - 1; n > 0; n--) {
        swap(d, 0, n);
        sift(d, 0, n);
    }
}

/* The k-th largest logit that is not suppressed: a heap of the k largest whose
 * root is the smallest of them. */
static double kth_largest(g4_dist *heap, const g4_sampler *s, const float *logits, int64_t vocab,
                          int64_t k)
{
    heap->n = 0;
    for (int64_t i = 0; i < vocab; i++) {
        if (suppressed(s, i)) continue;
        if (heap->n < k) {
            heap->ids[heap->n] = (int32_t)i;
            heap->p[heap->n++] = (double)logits[i];
            if (heap->n == k)
                for (int64_t r = k / 2 - 1; r >= 0; r--) sift(heap, r, k);
        } else if ((double)logits[i] > heap->p[0]) {
            heap->ids[0] = (int32_t)i;
            heap->p[0] = (double)logits[i];
            sift(heap, 0, k);
        }
    }
    double least = heap->n < k ? -__builtin_inf() : heap->p[0];
    heap->n = 0;
    return least;
}

/* p of the first n entries, made to sum to 1. */
static void normalise(g4_dist *d, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += d->p[i];
    for (int64_t i = 0; i < n; i++) d->p[i] /= sum;
    d->n = n;
}

static void only_argmax(g4_dist *d, const g4_sampler *s, const float *logits, int64_t vocab)
{
    d->n = 1;
    d->ids[0] = g4_argmax(s, logits, vocab);
    d->p[0] = 1.0;
}

/* Temperature, top-k and top-p; leaves ids and p. */
static void filter(g4_dist *d, const g4_sampler *s, const float *logits, int64_t vocab)
{
    double least = -__builtin_inf();
    if (s->top_k > 0 && s->top_k < vocab) least = kth_largest(d, s, logits, vocab, s->top_k);
    d->n = 0;
    for (int64_t i = 0; i < vocab; i++) {
        if ((double)logits[i] < least || suppressed(s, i)) continue;
        d->ids[d->n] = (int32_t)i;
        d->p[d->n++] = (double)logits[i];
    }
    if (d->n == 0) {   /* everything suppressed */
        only_argmax(d, s, logits, vocab);
        return;
    }
    sort(d);
    double top = d->p[0];   /* subtracted first: a tiny temperature then makes no infinities */
    for (int64_t i = 0; i < d->n; i++) d->p[i] = g4_exp((d->p[i] - top) / s->temperature);
    normalise(d, d->n);
    if (s->top_p >= 1.0) return;
    /* Transformers drops, from the least likely up, what sums to 1 - top_p or less. */
    int64_t keep = d->n;
    double tail = 0.0;
    while (keep > 1 && tail + d->p[keep - 1] <= 1.0 - s->top_p) tail += d->p[--keep];
    normalise(d, keep);
}

void g4_dist_fill(g4_dist *d, const g4_sampler *s, const float *logits, int64_t vocab)
{
    if (s->temperature <= 0.0) only_argmax(d, s, logits, vocab);
    else filter(d, s, logits, vocab);
    memset(d->dense, 0, (size_t)vocab * sizeof *d->dense);
    for (int64_t i = 0; i < d->n; i++) d->dense[d->ids[i]] = d->p[i];
}

/* Where rounding leaves the sum below unit it is the last token that has a chance. */
int32_t g4_dist_draw(const g4_dist *d, double unit)
{
    double sum = 0.0;
    int32_t last = d->ids[0];
    for (int64_t i = 0; i < d->n; i++) {
        if (!(d->p[i] > 0.0)) continue;
        last = d->ids[i];
        sum += d->p[i];
        if (unit < sum) break;
    }
    return last;
}

int32_t g4_accept(g4_dist *p, const g4_dist *q, int32_t drafted, double unit_accept,
                  double unit_draw, int *accepted)
{
    double want = p->dense[drafted], had = q->dense[drafted];
    *accepted = unit_accept * had < want;
    if (*accepted) return drafted;
    double sum = 0.0;
    for (int64_t i = 0; i < p->n; i++) {
        double rest = p->p[i] - q->dense[p->ids[i]];
        p->p[i] = rest > 0.0 ? rest : 0.0;
        sum += p->p[i];
    }
    for (int64_t i = 0; i < p->n && sum > 0.0; i++) p->p[i] /= sum;
    return g4_dist_draw(p, unit_draw);
}
