/* SPDX-License-Identifier: Apache-2.0
 * The codebooks of the IQ1, IQ2 and IQ3 formats: groups of values are points of a grid,
 * chosen by ggml's author so that they cover what weights do [N45].  A point is stored
 * here as the level numbers of its values, lowest bits first: 8 of 2 bits (iq1, iq2)
 * or 4 of 3 bits (iq3).  Read only: nothing here searches a nearest point. */
#ifndef G4_DTYPE_GRID_H
#define G4_DTYPE_GRID_H

#include "ref/dtype/block.h"

extern const uint16_t g4_grid_iq2_xxs[256], g4_grid_iq2_xs[512], g4_grid_iq2_s[1024];
extern const uint16_t g4_grid_iq3_xxs[256], g4_grid_iq3_s[512];
extern const uint16_t g4_grid_iq1_s[2048];

/* Eight signs in seven bits: an even number of values is negative. */
static inline unsigned g4_grid_signs(unsigned seven)
{
    return seven | ((unsigned)__builtin_popcount(seven) & 1) << 7;
}

/* y[i] = scale * |value i| * sign i; bit i of signs: negative. */
void g4_grid_iq2(float y[8], unsigned point, unsigned signs, float scale);
/* Four values; their sizes are level[0..7]. */
void g4_grid_iq3(float y[4], const float level[8], unsigned point, unsigned signs, float scale);
/* y[i] = scale * (value i + delta). */
void g4_grid_iq1(float y[8], unsigned point, float scale, float delta);

#endif
