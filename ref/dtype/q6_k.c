/* SPDX-License-Identifier: Apache-2.0
 * q6_k: 16 sub-blocks of 16 values; value = d * s * (q - 32) with q 6 bits and an
 * int8 scale s for each sub-block.
 *
 *   | bits 0..3 of q, 128 bytes | bits 4, 5 of q, 64 bytes | s 16 bytes | d f16 |
 *
 * 210 bytes, 6.5625 bits a value.  Half h of the block takes 64 and 32 bytes.  In a half,
 * value i has its low bits in byte i % 64 (i < 64: low nibble) and its high bits in byte
 * i % 32, bits 2 (i / 32). */
#include "ref/dtype/fit_super.h"

typedef struct block {
    uint8_t low[128];
    uint8_t high[64];
    uint8_t scale[16];
    uint8_t d[2];
} block;
_Static_assert(sizeof(block) == 210, "q6_k");

void g4_unpack_q6_k(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, y += G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        for (int j = 0; j < 16; j++) {
            float scale = d * (float)(int8_t)b->scale[j];
            int in_half = j % 8;
            const uint8_t *low = b->low + j / 8 * 64 + in_half % 4 * 16;
            const uint8_t *high = b->high + j / 8 * 32 + in_half % 2 * 16;
            for (int i = 0; i < 16; i++) {
                int q = (low[i] >> in_half / 4 * 4 & 15) | (high[i] >> in_half / 2 * 2 & 3) << 4;
                y[16 * j + i] = scale * (float)(q - 32);
            }
        }
    }
}

void g4_pack_q6_k(void *packed, const float *x, const float *weight, int64_t n)
{
    block *b = packed;
    for (int64_t at = 0; at < n; at += G4_SUPER, b++) {
        g4_super s;
        g4_fit_super(x + at, weight ? weight + at : NULL, 16, (g4_levels){ -32, 31, 0 }, -128, 127,
                     &s);
        memset(b, 0, sizeof *b);
        memcpy(b->d, s.d, 2);
        for (int j = 0; j < 16; j++) {
            int in_half = j % 8;
            uint8_t *low = b->low + j / 8 * 64 + in_half % 4 * 16;
            uint8_t *high = b->high + j / 8 * 32 + in_half % 2 * 16;
            b->scale[j] = (uint8_t)s.scale[j];
            for (int i = 0; i < 16; i++) {
                int q = (int)s.q[16 * j + i] + 32;
                low[i] |= (uint8_t)((q & 15) << in_half / 4 * 4);
                high[i] |= (uint8_t)(q >> 4 << in_half / 2 * 2);
            }
        }
    }
}
