/* SPDX-License-Identifier: Apache-2.0
 * q4_1: 32 values share an f16 scale d and an f16 offset m; value i is d * q[i] + m,
 * q 4 bits.  Sixteen even steps between the ends of the block: better than q4_0 where
 * values do not lie around 0, half a bit a value dearer.
 *
 *   | d f16 | m f16 | q[0] + 16 q[16] | .. | q[15] + 16 q[31] |     20 bytes, 5 bits a value */
#include "ref/dtype/fit_block.h"

typedef struct block {
    uint8_t d[2], m[2];
    uint8_t q[16];
} block;
_Static_assert(sizeof(block) == 20, "q4_1");

void g4_unpack_q4_1(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= 32, y += 32, b++) {
        float d = g4_block_f16(b->d), m = g4_block_f16(b->m);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)(b->q[i] & 15) + m;
            y[i + 16] = d * (float)(b->q[i] >> 4) + m;
        }
    }
}

void g4_pack_q4_1(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += 32, b++) {
        float q[32];
        g4_fit_block_line(x + at, weight ? weight + at : NULL, 15, b->d, b->m, q);
        for (int i = 0; i < 16; i++) b->q[i] = (uint8_t)((int)q[i] | (int)q[i + 16] << 4);
    }
}
