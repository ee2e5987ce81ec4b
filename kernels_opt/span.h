/* SPDX-License-Identifier: Apache-2.0
 * Attention as a stream: no matrix of scores longer than a span of 512 keys, the cache
 * read as it is stored.  The law of attend_span, for a row q [H] that sees keys [lo, hi),
 * on the span s of keys with k / 512 = s:
 *
 *   key[k]  = the stored row as float32; or, of a cache that keeps values alone, for
 *             i < pairs, j = i + H/2, cosine c and sine s of that token,
 *             x = key_norm_i * value_i, y = key_norm_j * value_j:
 *             key_i = fma(x, c, -(y * s)), key_j = fma(y, c, x * s);
 *             elsewhere key = value, and q is multiplied by key_norm instead
 *   score   = dot(q, key[k]), 16 lanes (lanes.h)
 *   top     = max score;  p[k] = exp(score - top), the exp below
 *   sum     = p in 16 lanes, lane k mod 16, folded
 *   acc[h]  = fma(p[k], value[k][h], acc[h]) from 0, in order of k
 *
 * and of span_merge, spans in order:
 *
 *   top' = max(top, part.top), a = exp(top - top'), b = exp(part.top - top')
 *   sum' = fma(part.sum, b, sum * a);  acc' = fma(part.acc, b, acc * a)
 *
 * A row's output is acc * (1 / sum).  A row that sees no key of a span has sum 0 there
 * and is left out of the merge.  Rows computed together add p = 0 for keys that only
 * others of them see; a sum of -0 (products that underflow) becomes +0 by that, so every
 * acc is given + 0 at its end.  (A value that is not finite reaches such rows, too.) */
#ifndef G4_KERNELS_SPAN_H
#define G4_KERNELS_SPAN_H

#include "kernels_opt/lanes.h"
#include "ref/model/ops.h"

enum {
    G4_SPAN_KEYS = 16,     /* rows of the cache widened at once: 32 KiB at H = 512 */
    G4_SPAN_LD = G4_SPAN + 16,
};

/* exp(x), x <= 0, one law for scalars and vectors: x = n ln 2 + r by two multiply-adds,
 * a polynomial of degree 6 (the Taylor series; on |r| <= 0.35 its next term is below
 * 2^-23), n put into the exponent.  Below -87 the result is 0; NaN stays. */
#define G4_EXP_LOG2E 0x1.715476p0f
#define G4_EXP_LN2_HI 0x1.62e4p-1f
#define G4_EXP_LN2_LO 0x1.7f7d1cp-20f
#define G4_EXP_EVEN 0x1.8p23f      /* adding it rounds to an integer in the low bits */
#define G4_EXP_LEAST -87.0f

int64_t g4_span_scratch(int64_t head_dim);
void g4_attend_span_c(const g4_span_args *a);
void g4_span_merge_c(g4_span_part *all, const g4_span_part *part, int64_t rows,
                     int64_t head_dim);

#endif
