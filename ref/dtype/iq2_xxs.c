/* SPDX-License-Identifier: Apache-2.0
 * iq2_xxs: 8 sub-blocks of 32 values; each group of 8 is a grid point (grid.h) with
 * signs, value = d * (s + 1/2) / 4 * point; s 4 bits a sub-block.  Read only.
 *
 *   | d f16 | 8 times: point 4 x 8 bits | signs 4 x 7 bits, s 4 bits |   66 bytes, 2.0625 bits */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t d[2];
    struct {
        uint8_t point[4], rest[4];
    } sub[8];
} block;
_Static_assert(sizeof(block) == 66, "iq2_xxs");

void g4_unpack_iq2_xxs(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int j = 0; j < 8; j++) {
            uint32_t rest = g4_load_u32(b->sub[j].rest);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int g = 0; g < 4; g++, y += 8)
                g4_grid_iq2(y, g4_grid_iq2_xxs[b->sub[j].point[g]],
                            g4_grid_signs(rest >> 7 * g & 127), scale);
        }
    }
}
