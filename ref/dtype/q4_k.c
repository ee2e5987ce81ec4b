/* SPDX-License-Identifier: Apache-2.0
 * q4_k: 8 sub-blocks of 32 values; value = d * s * q - dmin * m with q 4 bits and a
 * scale s and an offset m of 6 bits for each sub-block (scale6.h).
 *
 *   | d f16 | dmin f16 | s, m 12 bytes | q 128 bytes |     144 bytes, 4.5 bits a value
 *
 * q: sub-blocks 2k and 2k + 1 share 32 bytes, low and high nibbles.  As dear as q4_0;
 * an offset for every 32 values and a scale in 1/63 of the largest make it better. */
#include "ref/dtype/fit_super.h"
#include "ref/dtype/scale6.h"

typedef struct block {
    uint8_t d[2], dmin[2];
    uint8_t scale[12];
    uint8_t q[128];
} block;
_Static_assert(sizeof(block) == 144, "q4_k");

void g4_unpack_q4_k(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d), dmin = g4_block_f16(b->dmin);
        for (int j = 0; j < 8; j++) {
            int s, m;
            g4_scale6_get(b->scale, j, &s, &m);
            float scale = d * (float)s, min = dmin * (float)m;
            const uint8_t *q = b->q + j / 2 * 32;
            for (int i = 0; i < 32; i++)
                y[32 * j + i] = scale * (float)(q[i] >> j % 2 * 4 & 15) - min;
        }
    }
}

void g4_pack_q4_k(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += G4_SUPER, b++) {
        g4_super s;
        g4_fit_super_line(x + at, weight ? weight + at : NULL, 32, 15, 63, &s);
        memset(b, 0, sizeof *b);
        memcpy(b->d, s.d, 2);
        memcpy(b->dmin, s.dmin, 2);
        for (int j = 0; j < 8; j++) {
            uint8_t *q = b->q + j / 2 * 32;
            g4_scale6_put(b->scale, j, s.scale[j], s.min[j]);
            for (int i = 0; i < 32; i++) q[i] |= (uint8_t)((int)s.q[32 * j + i] << j % 2 * 4);
        }
    }
}
