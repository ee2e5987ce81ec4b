/* SPDX-License-Identifier: Apache-2.0
 * tq2_0: 256 values d * (q - 1) with q 2 bits, 3 unused by those who write it; read only.
 *
 *   | q 64 bytes | d f16 |     66 bytes, 2.0625 bits a value; q lies as in q2_k */
#include "ref/dtype/block.h"

typedef struct block {
    uint8_t q[64];
    uint8_t d[2];
} block;
_Static_assert(sizeof(block) == 66, "tq2_0");

void g4_unpack_tq2_0(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int i = 0; i < G4_SUPER; i++)
            y[i] = d * (float)((b->q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
    }
}
