/* SPDX-License-Identifier: Apache-2.0
 * Widening loads and the packing of rows into panels, on vectors of VEC lanes.
 * The file of an ISA that includes this has its vector header in front. */
#ifndef G4_KERNELS_C_PACK_H
#define G4_KERNELS_C_PACK_H

#include "kernels_opt/kernels.h"
#include "kernels_opt/lanes.h"
#include "ref/dtype/dtype.h"

#include <string.h>

enum { PASSES = G4_LANES / VEC };   /* vectors that hold the 16 lanes of one output */

G4_INLINE size_t size_of(g4_dtype type)
{
    return type == G4_F32 ? 4 : 2;
}

/* Where element k of a row begins; k a multiple of the block. */
G4_INLINE const unsigned char *row_at(const unsigned char *row, int64_t k, g4_dtype type)
{
    return row + (type == G4_Q8_0 ? g4_dtype_row_bytes(type, k) : (size_t)k * size_of(type));
}

G4_INLINE vec load_as(g4_dtype type, const void *p)
{
    return type == G4_F32 ? vec_load(p) : type == G4_BF16 ? vec_bf16(p) : vec_f16(p);
}

/* The last n < 16 elements of a row, with padding up to 16. */
G4_INLINE void load_tail(float out[G4_LANES], const void *p, int64_t n, g4_dtype type, float pad)
{
    unsigned char raw[4 * G4_LANES] = { 0 };
    memcpy(raw, p, (size_t)n * size_of(type));
    for (size_t i = 0; i < G4_LANES; i += VEC)
        vec_store(out + i, load_as(type, raw + i * size_of(type)));
    for (int64_t i = n; i < G4_LANES; i++) out[i] = pad;
}

/* Row r of a panel of `height` rows: n elements in `chunks` chunks. */
G4_INLINE void pack_row(float *panel, int height, int r, const unsigned char *src, int64_t n,
                        int64_t chunks, g4_dtype type, float pad)
{
    float tail[G4_LANES];
    if (n % G4_LANES)
        load_tail(tail, src + (size_t)(n - n % G4_LANES) * size_of(type), n % G4_LANES, type, pad);
    for (int p = 0; p < PASSES; p++) {
        float *out = panel + (p * chunks * height + r) * VEC;
        const unsigned char *in = src + p * VEC * size_of(type);
        int64_t whole = n / G4_LANES;
        for (int64_t c = 0; c < whole; c++)
            vec_store(out + c * height * VEC,
                      load_as(type, in + (size_t)c * G4_LANES * size_of(type)));
        if (whole < chunks) vec_store(out + whole * height * VEC, vec_load(tail + p * VEC));
    }
}

G4_INLINE void pad_row(float *panel, int height, int r, int64_t chunks, float pad)
{
    for (int64_t i = 0; i < chunks * PASSES; i++)
        vec_store(panel + (i * height + r) * VEC, vec_set1(pad));
}

#endif
