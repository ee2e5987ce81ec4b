/* SPDX-License-Identifier: Apache-2.0
 * What packing is: find a scale d (and an offset m) for which the nearest levels q leave
 * the smallest sum of weight * (x - (d q + m))^2.  With weight = E[a^2] of the activation
 * a that meets x, that sum is the error of the output of a linear layer; without weights
 * it is the plain squared error.  [N51]
 *
 * For fixed q the best d (and m) is least squares; for a fixed d the best q is the nearest
 * level.  The sum has many local minima, so a fit looks at a fan of scales around "the
 * largest value meets the last level" and then alternates the two steps from the best.
 * All sums run in LANES lanes, so that their order, and every byte, is the same on every
 * machine.  Vectors here have a multiple of G4_FIT_LANES values. */
#ifndef G4_DTYPE_FIT_H
#define G4_DTYPE_FIT_H

#include "ref/dtype/block.h"

enum { G4_FIT_LANES = 8 };

/* The levels a format has: the integers lo..hi, or those of iq4.h. */
typedef struct g4_levels {
    float lo, hi;
    int iq4;
} g4_levels;

/* A block made ready: x times 2^-exponent (largest size in [1, 2)), weights likewise. */
typedef struct g4_fit {
    float x[G4_SUPER], w[G4_SUPER];
    float up, down;   /* 2^exponent, 2^-exponent */
    int n;
} g4_fit;

typedef enum g4_fit_kind {
    G4_FIT_OK,
    G4_FIT_ZERO,       /* no f16 scale is small enough: the block is 0 */
    G4_FIT_NOT_A_NUMBER,   /* a NaN, an infinity, or too large: every scale NaN */
} g4_fit_kind;

g4_fit_kind g4_fit_begin(g4_fit *f, const float *x, const float *weight, int n);

/* Value d stored as f16 and back, in the block's own units. */
uint16_t g4_fit_store(const g4_fit *f, float d);
float g4_fit_load(const g4_fit *f, uint16_t h);

/* Best d for x[0..n), and *gain: how much the error grows with (change of d)^2. */
float g4_fit_scale(const float *x, const float *w, int n, g4_levels l, float *gain);
/* The error that d leaves with the nearest levels, which go to q (NULL: not wanted). */
float g4_fit_error(const float *x, const float *w, int n, g4_levels l, float d, float *q);

/* The same with an offset: x = d q + m, q in 0..hi; max_m: m must not exceed it. */
typedef struct g4_line {
    float d, m;
} g4_line;
g4_line g4_fit_line(const float *x, const float *w, int n, float hi, float max_m, float *gain);
float g4_fit_line_error(const float *x, const float *w, int n, float hi, g4_line at, float *q);

#endif
