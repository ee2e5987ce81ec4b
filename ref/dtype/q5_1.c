/* SPDX-License-Identifier: Apache-2.0
 * q5_1: 32 values share an f16 scale d and an f16 offset m; value i is d * q[i] + m,
 * q 5 bits: q4_1 with twice the steps.  The fifth bit of value i is bit i of h.
 *
 *   | d f16 | m f16 | h u32 | low q[0] + 16 q[16] | .. | low q[15] + 16 q[31] |   24 bytes */
#include "ref/dtype/fit_block.h"

typedef struct block {
    uint8_t d[2], m[2];
    uint8_t h[4];
    uint8_t q[16];
} block;
_Static_assert(sizeof(block) == 24, "q5_1");

void g4_unpack_q5_1(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= 32, y += 32, b++) {
        float d = g4_block_f16(b->d), m = g4_block_f16(b->m);
        uint32_t h = g4_load_u32(b->h);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((b->q[i] & 15) | (h >> i & 1) << 4) + m;
            y[i + 16] = d * (float)((b->q[i] >> 4) | (h >> (i + 16) & 1) << 4) + m;
        }
    }
}

void g4_pack_q5_1(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += 32, b++) {
        float q[32];
        uint32_t h = 0;
        g4_fit_block_line(x + at, weight ? weight + at : NULL, 31, b->d, b->m, q);
        for (int i = 0; i < 16; i++) {
            uint32_t low = (uint32_t)q[i], high = (uint32_t)q[i + 16];
            b->q[i] = (uint8_t)((low & 15) | (high & 15) << 4);
            h |= low >> 4 << i | high >> 4 << (i + 16);
        }
        memcpy(b->h, &h, 4);
    }
}
