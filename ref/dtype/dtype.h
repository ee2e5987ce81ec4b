/* SPDX-License-Identifier: Apache-2.0
 * The table of number formats: name, block, and how a row becomes float32 and
 * back.  No arithmetic on packed values here: that is kernels_opt's. */
#ifndef G4_DTYPE_DTYPE_H
#define G4_DTYPE_DTYPE_H

#include "ref/dtype/mat.h"

typedef struct g4_dtype_info {
    const char *name;       /* ggml's */
    int64_t block;          /* values a block */
    size_t bytes;           /* bytes a block */
    int gguf;               /* GGUF type id */
    /* n is a multiple of block; packed has no alignment. */
    void (*unpack)(float *y, const void *packed, int64_t n);
    /* weight: how much the square of each value's error counts (finite, >= 0), NULL: all
     * the same.  A block that holds a NaN or an infinity, or a value beyond the format's
     * range, unpacks as values that are not finite: never as wrong finite ones.  NULL: a
     * format that is only read. */
    void (*pack)(void *packed, const float *x, const float *weight, int64_t n);
} g4_dtype_info;

const g4_dtype_info *g4_dtype_get(g4_dtype t);
int g4_dtype_by_name(const char *name);              /* a g4_dtype, or -1 */
size_t g4_dtype_row_bytes(g4_dtype t, int64_t n);    /* n a multiple of block; 0 on overflow */

#define G4_DTYPE(id, name, block, bytes, gguf, pack)                \
    void g4_unpack_##name(float *y, const void *packed, int64_t n); \
    void g4_pack_##name(void *packed, const float *x, const float *weight, int64_t n);
#include "ref/dtype/dtype.def"
#undef G4_DTYPE

#endif
