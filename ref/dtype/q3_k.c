/* SPDX-License-Identifier: Apache-2.0
 * q3_k: 16 sub-blocks of 16 values; value = d * (s - 32) * (q - 4) with q 3 bits and
 * a 6-bit scale s for each sub-block j.
 *
 *   | bit 2 of q, 32 bytes | bits 0, 1 of q, 64 bytes | s 12 bytes | d f16 |
 *
 * 110 bytes, 3.4375 bits a value.  Bit 2 of value i: bit i / 32 of byte i % 32.  Bits 0
 * and 1: as q2_k's.  Scales: the low four bits of s[j] in byte j % 8 (j < 8: low nibble),
 * the high two in byte 8 + j % 4, bits 2 (j / 4). */
#include "ref/dtype/fit_super.h"

typedef struct block {
    uint8_t high[32];
    uint8_t low[64];
    uint8_t scale[12];
    uint8_t d[2];
} block;
_Static_assert(sizeof(block) == 110, "q3_k");

void g4_unpack_q3_k(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int j = 0; j < 16; j++) {
            int s = b->scale[j % 8] >> j / 8 * 4 & 15, top = b->scale[8 + j % 4] >> j / 4 * 2 & 3;
            float scale = d * (float)((s | top << 4) - 32);
            const uint8_t *low = b->low + j / 8 * 32 + j % 2 * 16, *high = b->high + j % 2 * 16;
            for (int i = 0; i < 16; i++) {
                int q = (low[i] >> j % 8 / 2 * 2 & 3) | (high[i] >> j / 2 & 1) << 2;
                y[16 * j + i] = scale * (float)(q - 4);
            }
        }
    }
}

void g4_pack_q3_k(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += G4_SUPER, b++) {
        g4_super s;
        g4_fit_super(x + at, weight ? weight + at : NULL, 16, (g4_levels){ -4, 3, 0 }, -32, 31, &s);
        memset(b, 0, sizeof *b);
        memcpy(b->d, s.d, 2);
        for (int j = 0; j < 16; j++) {
            int scale = s.scale[j] + 32;
            b->scale[j % 8] |= (uint8_t)((scale & 15) << j / 8 * 4);
            b->scale[8 + j % 4] |= (uint8_t)(scale >> 4 << j / 4 * 2);
            uint8_t *low = b->low + j / 8 * 32 + j % 2 * 16, *high = b->high + j % 2 * 16;
            for (int i = 0; i < 16; i++) {
                int q = (int)s.q[16 * j + i] + 4;
                low[i] |= (uint8_t)((q & 3) << j % 8 / 2 * 2);
                high[i] |= (uint8_t)(q >> 2 << j / 2);
            }
        }
    }
}
