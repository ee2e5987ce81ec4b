/* SPDX-License-Identifier: Apache-2.0
 * iq3_xxs: 8 sub-blocks of 32 values; each group of 4 is a grid point (grid.h) of 256,
 * 8 values share 7 bits of signs; value = d * (s + 1/2) / 2 * point.  Read only.
 *
 *   | d f16 | point 64 x 8 bits | 8 times: signs 4 x 7 bits, s 4 bits |   98 bytes, 3.0625 bits */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t d[2];
    uint8_t point[64];
    uint8_t rest[8][4];
} block;
_Static_assert(sizeof(block) == 98, "iq3_xxs");

static const float level[8] = { 4, 12, 20, 28, 36, 44, 52, 62 };

void g4_unpack_iq3_xxs(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int g = 0; g < 64; g++, y += 4) {
            uint32_t rest = g4_load_u32(b->rest[g / 8]);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            unsigned signs = g4_grid_signs(rest >> g / 2 % 4 * 7 & 127) >> g % 2 * 4;
            g4_grid_iq3(y, level, g4_grid_iq3_xxs[b->point[g]], signs, scale);
        }
    }
}
