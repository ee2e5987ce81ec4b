/* SPDX-License-Identifier: Apache-2.0
 * iq4_nl: 32 values share one f16 scale d; value i is d * level[q[i]], q 4 bits, with
 * the uneven levels of iq4.h.  Laid out as q4_0, and better for bell-shaped weights.
 *
 *   | d f16 | q[0] + 16 q[16] | .. | q[15] + 16 q[31] |     18 bytes, 4.5 bits a value */
#include "ref/dtype/fit_block.h"
#include "ref/dtype/iq4.h"

typedef struct block {
    uint8_t d[2];
    uint8_t q[16];
} block;
_Static_assert(sizeof(block) == 18, "iq4_nl");

void g4_unpack_iq4_nl(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= 32, y += 32, b++) {
        float d = g4_block_f16(b->d);
        for (int i = 0; i < 16; i++) {
            y[i] = d * g4_iq4_level[b->q[i] & 15];
            y[i + 16] = d * g4_iq4_level[b->q[i] >> 4];
        }
    }
}

void g4_pack_iq4_nl(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += 32, b++) {
        float q[32];
        g4_fit_block(x + at, weight ? weight + at : NULL, (g4_levels){ -127, 113, 1 }, b->d, q);
        for (int i = 0; i < 16; i++)
            b->q[i] = (uint8_t)(g4_iq4_index(q[i]) | g4_iq4_index(q[i + 16]) << 4);
    }
}
