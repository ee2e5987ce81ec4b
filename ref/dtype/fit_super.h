/* SPDX-License-Identifier: Apache-2.0
 * Packing a super-block of 256 values: sub-blocks with small integer scales (and offsets)
 * that share one f16 scale (and one f16 offset scale).
 *
 *   1. Each sub-block is fitted by itself.
 *   2. The shared scale is the one that its integers meet best, weighted by how much each
 *      sub-block minds: (change of its scale)^2 * sum of weight q^2.
 *   3. Each sub-block takes, among the integers next to its own, those that leave the
 *      smallest true error.
 *   4. With all integers fixed, the shared scales are least squares; 3 again. */
#ifndef G4_DTYPE_FIT_SUPER_H
#define G4_DTYPE_FIT_SUPER_H

#include "ref/dtype/fit.h"

enum { G4_SUBS = 16 };   /* most sub-blocks */

typedef struct g4_super {
    uint8_t d[2], dmin[2];
    int scale[G4_SUBS], min[G4_SUBS];
    float q[G4_SUPER];
} g4_super;

/* x = d scale q, levels l, scale in scale_lo..scale_hi; len values a sub-block. */
void g4_fit_super(const float *x, const float *weight, int len, g4_levels l, int scale_lo,
                  int scale_hi, g4_super *s);
/* x = d scale q - dmin min, q in 0..hi, scale and min in 0..most. */
void g4_fit_super_line(const float *x, const float *weight, int len, float hi, int most,
                       g4_super *s);

#endif
