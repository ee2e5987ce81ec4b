/* SPDX-License-Identifier: Apache-2.0
 * iq4_xs: 8 sub-blocks of 32 values; value = d * (s - 32) * level[q] with q 4 bits, the
 * levels of iq4.h and a 6-bit scale s for each sub-block.
 *
 *   | d f16 | bits 4, 5 of s, u16 | bits 0..3 of s, 4 bytes | q 128 bytes |   136 bytes, 4.25 bits
 *
 * Sub-block j: high bits of s at bit 2j of the u16, low bits in byte j / 2 (even j: low
 * nibble); q in 16 bytes of its own as iq4_nl's. */
#include "ref/dtype/block.h"
#include "ref/dtype/iq4.h"

typedef struct block {
    uint8_t d[2];
    uint8_t high[2], low[4];
    uint8_t q[128];
} block;
_Static_assert(sizeof(block) == 136, "iq4_xs");

void g4_unpack_iq4_xs(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int j = 0; j < 8; j++) {
            int s = (b->low[j / 2] >> j % 2 * 4 & 15) | (b->high[j / 4] >> j % 4 * 2 & 3) << 4;
            float scale = d * (float)(s - 32);
            const uint8_t *q = b->q + 16 * j;
            for (int i = 0; i < 16; i++) {
                y[32 * j + i] = scale * g4_iq4_level[q[i] & 15];
                y[32 * j + 16 + i] = scale * g4_iq4_level[q[i] >> 4];
            }
        }
    }
}
