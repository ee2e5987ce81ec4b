/* SPDX-License-Identifier: Apache-2.0
 * iq2_s: 16 sub-blocks of 16 values; each group of 8 is a grid point (grid.h) of 1024
 * with free signs, value = d * (s + 1/2) / 4 * point; s 4 bits a sub-block.  Read only.
 *
 *   | d f16 | point, low 8 bits, 32 bytes | signs 32 bytes | bits 8, 9, 8 bytes | s 8 bytes |
 *
 * 82 bytes, 2.5625 bits a value; group g: bits 2 (g % 4) of byte g / 4. */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t d[2];
    uint8_t point[32], signs[32], high[8];
    uint8_t scale[8];
} block;
_Static_assert(sizeof(block) == 82, "iq2_s");

void g4_unpack_iq2_s(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int g = 0; g < 32; g++, y += 8) {
            unsigned s = b->scale[g / 4] >> g / 2 % 2 * 4 & 15;
            unsigned at = b->point[g] | (b->high[g / 4] >> g % 4 * 2 & 3u) << 8;
            float scale = d * (0.5f + (float)s) * 0.25f;
            g4_grid_iq2(y, g4_grid_iq2_s[at], b->signs[g], scale);
        }
    }
}
