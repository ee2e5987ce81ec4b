/* SPDX-License-Identifier: Apache-2.0
 * q4_0: 32 values share one f16 scale d; value i is d * (q[i] - 8), q 4 bits.
 * Range d * [-8, 7]: one more step on one side, so the sign of d is worth choosing.
 *
 *   | d f16 | q[0] + 16 q[16] | .. | q[15] + 16 q[31] |     18 bytes, 4.5 bits a value */
#include "ref/dtype/fit_block.h"

typedef struct block {
    uint8_t d[2];
    uint8_t q[16];
} block;
_Static_assert(sizeof(block) == 18, "q4_0");

void g4_unpack_q4_0(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= 32, y += 32, b++) {
        float d = g4_block_f16(b->d);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((b->q[i] & 15) - 8);
            y[i + 16] = d * (float)((b->q[i] >> 4) - 8);
        }
    }
}

void g4_pack_q4_0(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += 32, b++) {
        float q[32];
        g4_fit_block(x + at, weight ? weight + at : NULL, (g4_levels){ -8, 7, 0 }, b->d, q);
        for (int i = 0; i < 16; i++)
            b->q[i] = (uint8_t)(((int)q[i] + 8) | ((int)q[i + 16] + 8) << 4);
    }
}
