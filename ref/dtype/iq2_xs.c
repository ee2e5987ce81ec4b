/* SPDX-License-Identifier: Apache-2.0
 * iq2_xs: 16 sub-blocks of 16 values; each group of 8 is a grid point (grid.h) of 512
 * with signs, value = d * (s + 1/2) / 4 * point; s 4 bits a sub-block.  Read only.
 *
 *   | d f16 | 32 times: point 9 bits, signs 7 bits | s 8 bytes |   74 bytes, 2.3125 bits */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t d[2];
    uint8_t group[32][2];
    uint8_t scale[8];
} block;
_Static_assert(sizeof(block) == 74, "iq2_xs");

void g4_unpack_iq2_xs(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int g = 0; g < 32; g++, y += 8) {
            unsigned u = g4_load_u16(b->group[g]), s = b->scale[g / 4] >> g / 2 % 2 * 4 & 15;
            float scale = d * (0.5f + (float)s) * 0.25f;
            g4_grid_iq2(y, g4_grid_iq2_xs[u & 511], g4_grid_signs(u >> 9), scale);
        }
    }
}
