/* SPDX-License-Identifier: Apache-2.0
 * Packing a block of 32 values that has an f16 scale of its own, perhaps an f16 offset. */
#ifndef G4_DTYPE_FIT_BLOCK_H
#define G4_DTYPE_FIT_BLOCK_H

#include "ref/dtype/fit.h"

enum { G4_BLOCK = 32, G4_F16_NAN = 0x7e00 };

/* Levels to q, scale to d.  A block that the format holds exactly is kept exactly. */
void g4_fit_block(const float *x, const float *weight, g4_levels l, uint8_t d[2],
                  float q[G4_BLOCK]);
/* The same for x = d q + m, q in 0..hi. */
void g4_fit_block_line(const float *x, const float *weight, float hi, uint8_t d[2], uint8_t m[2],
                       float q[G4_BLOCK]);

#endif
