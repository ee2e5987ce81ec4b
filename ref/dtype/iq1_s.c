/* SPDX-License-Identifier: Apache-2.0
 * iq1_s: 8 sub-blocks of 32 values; each group of 8 is a grid point (grid.h) of 2048 with
 * values -1, 0, 1; value = d * (2 s + 1) * (point + delta), s 3 bits and delta 1/8 or
 * -1/8 for a sub-block.  Read only.
 *
 *   | d f16 | point, low 8 bits, 32 bytes | 8 times u16 |     50 bytes, 1.5625 bits a value
 *
 * The u16 of a sub-block: bits 8..10 of its 4 points at 3g, s at 12, sign of delta at 15. */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t d[2];
    uint8_t point[32];
    uint8_t rest[8][2];
} block;
_Static_assert(sizeof(block) == 50, "iq1_s");

void g4_unpack_iq1_s(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int g = 0; g < 32; g++, y += 8) {
            unsigned rest = g4_load_u16(b->rest[g / 4]);
            unsigned at = b->point[g] | (rest >> g % 4 * 3 & 7) << 8;
            float scale = d * (float)(2 * (rest >> 12 & 7) + 1);
            g4_grid_iq1(y, g4_grid_iq1_s[at], scale, rest >> 15 ? -0.125f : 0.125f);
        }
    }
}
