/* SPDX-License-Identifier: Apache-2.0
 * x to bf16 (law in kernels_opt/pair.h), written so that a compiler makes vectors of it:
 * each ISA's file includes this. */
#ifndef G4_KERNELS_C_ROUND_PAIR_H
#define G4_KERNELS_C_ROUND_PAIR_H

#include "kernels_opt/pair.h"

#include <string.h>

G4_INLINE void round_pairs(const g4_round_args *a, int64_t t0, int64_t t1)
{
    int64_t ld = g4_pair_ld(a->cols);
    for (int64_t t = t0; t < t1; t++) {
        const float *x = a->x + t * a->ldx;
        unsigned char *out = a->xq + 2 * t * ld;
        for (int64_t i = 0; i < a->cols; i++) {
            uint32_t bits;
            memcpy(&bits, x + i, sizeof bits);
            uint32_t nan = (bits >> 16) | 0x40, even = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
            uint16_t h = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : even);
            memcpy(out + 2 * i, &h, sizeof h);
        }
        memset(out + 2 * a->cols, 0, (size_t)(2 * (ld - a->cols)));
    }
}

#endif
