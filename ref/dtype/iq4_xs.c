/* SPDX-License-Identifier: Apache-2.0
 * iq4_xs: 8 sub-blocks of 32 values; value = d * (s - 32) * level[q] with q 4 bits, the
 * levels of iq4.h and a 6-bit scale s for each sub-block.
 *
 *   | d f16 | bits 4, 5 of s, u16 | bits 0..3 of s, 4 bytes | q 128 bytes |   136 bytes, 4.25 bits
 *
 * Sub-block j: high bits of s at bit 2j of the u16, low bits in byte j / 2 (even j: low
 * nibble); q in 16 bytes of its own as iq4_nl's. */
#include "ref/dtype/fit_super.h"
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

void g4_pack_iq4_xs(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += G4_SUPER, b++) {
        g4_super s;
        g4_fit_super(x + at, weight ? weight + at : NULL, 32, (g4_levels){ -127, 113, 1 }, -32,
                     31, &s);
        memset(b, 0, sizeof *b);
        memcpy(b->d, s.d, 2);
        for (int j = 0; j < 8; j++) {
            int scale = s.scale[j] + 32;
            b->low[j / 2] |= (uint8_t)((scale & 15) << j % 2 * 4);
            b->high[j / 4] |= (uint8_t)(scale >> 4 << j % 4 * 2);
            const float *q = s.q + 32 * j;
            for (int i = 0; i < 16; i++)
                b->q[16 * j + i] = (uint8_t)(g4_iq4_index(q[i]) | g4_iq4_index(q[i + 16]) << 4);
        }
    }
}
