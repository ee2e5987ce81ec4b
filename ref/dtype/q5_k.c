/* SPDX-License-Identifier: Apache-2.0
 * q5_k: q4_k with a fifth bit: 8 sub-blocks of 32 values; value = d * s * q - dmin * m
 * with q 5 bits, s and m 6 bits (scale6.h).
 *
 *   | d f16 | dmin f16 | s, m 12 bytes | bit 4 of q, 32 bytes | bits 0..3, 128 bytes |
 *
 * 176 bytes, 5.5 bits a value.  Bits 0..3 lie as in q4_k; bit 4 of value i of
 * sub-block j is bit j of byte i. */
#include "ref/dtype/fit_super.h"
#include "ref/dtype/scale6.h"

typedef struct block {
    uint8_t d[2], dmin[2];
    uint8_t scale[12];
    uint8_t high[32];
    uint8_t low[128];
} block;
_Static_assert(sizeof(block) == 176, "q5_k");

void g4_unpack_q5_k(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d), dmin = g4_block_f16(b->dmin);
        for (int j = 0; j < 8; j++) {
            int s, m;
            g4_scale6_get(b->scale, j, &s, &m);
            float scale = d * (float)s, min = dmin * (float)m;
            const uint8_t *low = b->low + j / 2 * 32;
            for (int i = 0; i < 32; i++) {
                int q = (low[i] >> j % 2 * 4 & 15) | (b->high[i] >> j & 1) << 4;
                y[32 * j + i] = scale * (float)q - min;
            }
        }
    }
}

void g4_pack_q5_k(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += G4_SUPER, b++) {
        g4_super s;
        g4_fit_super_line(x + at, weight ? weight + at : NULL, 32, 31, 63, &s);
        memset(b, 0, sizeof *b);
        memcpy(b->d, s.d, 2);
        memcpy(b->dmin, s.dmin, 2);
        for (int j = 0; j < 8; j++) {
            uint8_t *low = b->low + j / 2 * 32;
            g4_scale6_put(b->scale, j, s.scale[j], s.min[j]);
            for (int i = 0; i < 32; i++) {
                int q = (int)s.q[32 * j + i];
                low[i] |= (uint8_t)((q & 15) << j % 2 * 4);
                b->high[i] |= (uint8_t)(q >> 4 << j);
            }
        }
    }
}
