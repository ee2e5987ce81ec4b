/* SPDX-License-Identifier: Apache-2.0
 * iq1_m: 16 sub-blocks of 16 values; groups of 8 are grid points as in iq1_s, each with
 * its own sign of delta; value = d * (2 s + 1) * (point + delta), s 3 bits.  Read only.
 *
 *   | point, low 8 bits, 32 bytes | 4 bits a group, 16 bytes | 4 times u16 |   56 bytes, 1.75 bits
 *
 * The 4 bits: bits 8..10 of the point, sign of delta.  u16 k: s of sub-blocks 4k..4k + 3
 * at bits 0, 3, 6, 9; bits 12..15 are four bits of d, an f16, lowest in k = 0. */
#include "ref/dtype/grid.h"

typedef struct block {
    uint8_t point[32];
    uint8_t high[16];
    uint8_t scale[4][2];
} block;
_Static_assert(sizeof(block) == 56, "iq1_m");

void g4_unpack_iq1_m(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        unsigned d = 0;
        for (int k = 0; k < 4; k++) d |= (unsigned)g4_load_u16(b->scale[k]) >> 12 << 4 * k;
        float super = g4_f16_to_f32((uint16_t)d);
        for (int g = 0; g < 32; g++, y += 8) {
            unsigned high = b->high[g / 2] >> g % 2 * 4 & 15, at = b->point[g] | (high & 7) << 8;
            int s = g4_load_u16(b->scale[g / 8]) >> g / 2 % 4 * 3 & 7;
            g4_grid_iq1(y, g4_grid_iq1_s[at], super * (float)(2 * s + 1),
                        high >> 3 ? -0.125f : 0.125f);
        }
    }
}
