/* SPDX-License-Identifier: Apache-2.0
 * q2_k: 16 sub-blocks of 16 values; value = d * s * q - dmin * m with q 2 bits and
 * a scale s and an offset m of 4 bits for each sub-block j:
 *
 *   | s[j] + 16 m[j], j = 0..15 | q 64 bytes | d f16 | dmin f16 |     84 bytes, 2.625 bits
 *
 * q: half h = 0, 1 of the block takes 32 bytes; byte i of them holds, from bit 0,
 * values i, i + 32, i + 64, i + 96 of that half. */
#include "ref/dtype/fit_super.h"

typedef struct block {
    uint8_t scale[16];
    uint8_t q[64];
    uint8_t d[2], dmin[2];
} block;
_Static_assert(sizeof(block) == 84, "q2_k");

void g4_unpack_q2_k(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d), dmin = g4_block_f16(b->dmin);
        for (int j = 0; j < 16; j++) {
            float s = d * (float)(b->scale[j] & 15), m = dmin * (float)(b->scale[j] >> 4);
            const uint8_t *q = b->q + j / 8 * 32 + j % 2 * 16;
            for (int i = 0; i < 16; i++)
                y[16 * j + i] = s * (float)(q[i] >> j % 8 / 2 * 2 & 3) - m;
        }
    }
}

void g4_pack_q2_k(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += G4_SUPER, b++) {
        g4_super s;
        g4_fit_super_line(x + at, weight ? weight + at : NULL, 16, 3, 15, &s);
        memset(b, 0, sizeof *b);
        memcpy(b->d, s.d, 2);
        memcpy(b->dmin, s.dmin, 2);
        for (int j = 0; j < 16; j++) {
            uint8_t *q = b->q + j / 8 * 32 + j % 2 * 16;
            b->scale[j] = (uint8_t)(s.scale[j] | s.min[j] << 4);
            for (int i = 0; i < 16; i++) q[i] |= (uint8_t)((int)s.q[16 * j + i] << j % 8 / 2 * 2);
        }
    }
}
