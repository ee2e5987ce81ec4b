/* SPDX-License-Identifier: Apache-2.0
 * Linear with BF16 weights and activations rounded to BF16, which CPUs with a dot product
 * of BF16 pairs do at twice the speed of float32.  The law bf16pair is what x86's vdpbf16ps
 * computes [N53], so that all others have to follow it:
 *
 *   x'      = x rounded to bf16, to nearest even; a NaN stays one
 *   flush v = v, but 0 of its sign where |v| < 2^-126; w and x' are flushed first
 *   lane l of 16 takes the pairs (2i, 2i + 1) with i mod 16 = l, in order of i:
 *             acc = flush(fma(w[2i+1], x'[2i+1], acc))
 *             acc = flush(fma(w[2i],   x'[2i],   acc))
 *   a row and x' are padded with +0 to a multiple of 32; the lanes are folded as in
 *   lanes.h, without flushing.
 *
 * Each product is exact in float32, so one lane has the rounding errors of a float32 sum;
 * what is lost is x - x', up to 2^-8 of each |x|. */
#ifndef G4_KERNELS_PAIR_H
#define G4_KERNELS_PAIR_H

#include "kernels_opt/lanes.h"
#include "ref/model/ops.h"

enum { G4_PAIR_COLS = 2 * G4_LANES };   /* columns of all lanes' next pair */

/* x' lies in rows of so many values. */
static inline int64_t g4_pair_ld(int64_t cols)
{
    return g4_round_up(cols, G4_PAIR_COLS);
}

int64_t g4_pair_bytes(int64_t tokens, int64_t cols);
void g4_round_pair_c(const g4_round_args *a, int64_t t0, int64_t t1);
void g4_linear_pair_c(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch);

#endif
