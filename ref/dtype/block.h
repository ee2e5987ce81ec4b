/* SPDX-License-Identifier: Apache-2.0
 * What the files of the block formats share.  A block struct has only bytes in it, so it
 * has no padding and may lie at any address; a 16-bit field is little-endian uint8_t[2]. */
#ifndef G4_DTYPE_BLOCK_H
#define G4_DTYPE_BLOCK_H

#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

enum { G4_SUPER = 256 };   /* values a super-block: K, IQ and TQ formats */

/* The f16 scale of a block. */
static inline float g4_block_f16(const uint8_t h[2])
{
    return g4_f16_to_f32(g4_load_u16(h));
}

static inline uint32_t g4_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

#endif
