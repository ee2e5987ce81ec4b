/* SPDX-License-Identifier: Apache-2.0
 * iq3_s: 8 sub-blocks of 32 values; each group of 4 is a grid point (grid.h) of 512
 * with free signs; value = d * (1 + 2 s) * point, s 4 bits a sub-block.  Read only.
 *
 *   | d f16 | point, low 8 bits, 64 bytes | bit 8, 8 bytes | signs 32 bytes | s 4 bytes |
 *
 * 110 bytes, 3.4375 bits a value; group g: bit g % 8 of byte g / 8. */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t d[2];
    uint8_t point[64], high[8], signs[32];
    uint8_t scale[4];
} block;
_Static_assert(sizeof(block) == 110, "iq3_s");

static const float level[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };

void g4_unpack_iq3_s(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int g = 0; g < 64; g++, y += 4) {
            int s = b->scale[g / 16] >> g / 8 % 2 * 4 & 15;
            unsigned at = b->point[g] | (b->high[g / 8] >> g % 8 & 1u) << 8;
            unsigned signs = b->signs[g / 2] >> g % 2 * 4;
            g4_grid_iq3(y, level, g4_grid_iq3_s[at], signs, d * (float)(1 + 2 * s));
        }
    }
}
