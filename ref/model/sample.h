/* SPDX-License-Identifier: Apache-2.0
 * From logits to a token.  Order of the filters as in Transformers' generate:
 * suppressed tokens, temperature, top-k, top-p (ties of the k-th logit all stay).
 * Random numbers are a pure function of (seed, purpose, token index), so a text
 * depends on the seed alone, not on threads or chunks. */
#ifndef G4_MODEL_SAMPLE_H
#define G4_MODEL_SAMPLE_H

#include "ref/base/arena.h"
#include "ref/base/err.h"

#include <stdint.h>

typedef struct g4_sampler {
    double temperature;            /* 0: greedy */
    double top_p;                  /* 1: off */
    int64_t top_k;                 /* 0: off */
    uint64_t seed;
    const int64_t *suppress;       /* ids never sampled */
    int suppress_count;
} g4_sampler;

/* A distribution over the tokens that passed the filters, most likely first. */
typedef struct g4_dist {
    int64_t n, capacity;
    int32_t *ids;                  /* [capacity] */
    double *p;                     /* [capacity], sums to 1 */
    double *dense;                 /* [capacity] p by token id */
} g4_dist;

uint64_t g4_dist_bytes(int64_t vocab);
g4_status g4_dist_init(g4_dist *d, int64_t vocab, g4_arena *arena, g4_err *err);

/* The most likely token that is not suppressed; the lowest id among equals. */
int32_t g4_argmax(const g4_sampler *s, const float *logits, int64_t vocab);

/* Fills d; with temperature 0 all mass lies on g4_argmax. */
void g4_dist_fill(g4_dist *d, const g4_sampler *s, const float *logits, int64_t vocab);

int32_t g4_dist_draw(const g4_dist *d, double unit);      /* unit in [0, 1) */

/* One token: g4_rng purpose numbers */
enum { G4_DRAW_TOKEN, G4_DRAW_DRAFT, G4_DRAW_ACCEPT };

/* Speculative sampling (Leviathan et al. 2022, Chen et al. 2023): keeps the
 * drafted token with probability min(1, p/q), else draws from max(p - q, 0)
 * normalised.  Returns the token; *accepted says which it was.  p is changed. */
int32_t g4_accept(g4_dist *p, const g4_dist *q, int32_t drafted, double unit_accept,
                  double unit_draw, int *accepted);

#endif
