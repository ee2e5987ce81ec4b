/* SPDX-License-Identifier: Apache-2.0
 * g4_mat: a non-owning view of a row-major matrix in some number format.  It
 * never owns: a mapping or an arena does.  Row r starts at data + r * row_bytes
 * with no alignment promised (weights lie where their file put them). */
#ifndef G4_DTYPE_MAT_H
#define G4_DTYPE_MAT_H

#include <stddef.h>
#include <stdint.h>

/* Number formats by their ggml names; rows in ref/dtype/dtype.def. */
typedef enum g4_dtype {
#define G4_DTYPE(id, name, block, bytes, gguf, pack) G4_##id,
#include "ref/dtype/dtype.def"
#undef G4_DTYPE
    G4_DTYPE_COUNT
} g4_dtype;

typedef struct g4_mat {
    g4_dtype dtype;
    int64_t rows, cols;   /* a linear layer: [outputs][inputs]; a vector: rows 1 */
    size_t row_bytes;
    const void *data;     /* NULL: no such tensor in this model */
    const unsigned char *panels;   /* the same values as some kernels read them, or NULL */
} g4_mat;

static inline const void *g4_mat_row(const g4_mat *m, int64_t r)
{
    return (const unsigned char *)m->data + (size_t)r * m->row_bytes;
}

#endif
