/* SPDX-License-Identifier: Apache-2.0
 * The cache of keys (rotated) and values of one layer.  Token i lies in row
 * i mod slots: with as many slots as the context that is linear, with fewer a
 * ring.  Rows are F32, F16 or Q8_0; what was stored in 16 or 8 bits is read
 * back rounded also within the call that stored it, so chunks cannot matter. */
#ifndef G4_MODEL_KV_H
#define G4_MODEL_KV_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/dtype/mat.h"

typedef struct g4_kv {
    g4_dtype dtype;
    int64_t slots, width;           /* width K*H values a row */
    size_t row_bytes;
    unsigned char *key, *value;     /* [slots][row_bytes] */
} g4_kv;

/* float32 rows for reading: token i at key + (i mod slots) * width. */
typedef struct g4_kv_view {
    const float *key, *value;
    int64_t slots, width;
} g4_kv_view;

/* Errors: width not a multiple of the format's block; out of memory. */
g4_status g4_kv_init(g4_kv *kv, g4_dtype dtype, int64_t slots, int64_t width, g4_arena *arena,
                     g4_err *err);
void g4_kv_put(g4_kv *kv, int64_t token, const float *key, const float *value /* [width] */);
/* Rows [lo, hi), hi - lo <= slots.  scratch: 2 * (hi - lo) * width floats where
 * dtype is not F32, else unused. */
g4_kv_view g4_kv_read(const g4_kv *kv, int64_t lo, int64_t hi, float *scratch);

#endif
