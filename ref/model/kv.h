/* SPDX-License-Identifier: Apache-2.0
 * The cache of keys (rotated) and values of one layer.  Token i lies in row
 * i mod slots: with as many slots as the context that is linear, with fewer a
 * ring.  Rows are F32, F16 or Q8_0; what was stored in 16 or 8 bits is read
 * back rounded also within the call that stored it, so chunks cannot matter.
 *
 * Where key = k_norm * value, rotated (full layers without v_proj, PAPER_NOTES [N4]), a
 * cache may keep values alone: half the memory.  Its keys are made when they are read. */
#ifndef G4_MODEL_KV_H
#define G4_MODEL_KV_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/dtype/mat.h"

typedef struct g4_kv {
    g4_dtype dtype;
    int64_t slots, width;           /* width K*H values a row */
    size_t row_bytes;
    unsigned char *key, *value;     /* [slots][row_bytes]; key NULL: made from values */
    const float *key_norm;          /* [H] then, and */
    const float *turn;              /* [slots][2][pairs] cosines, sines of each token */
    int64_t head_dim, pairs;        /* pairs (i, i + H/2), i < pairs, are rotated */
} g4_kv;

/* float32 rows for reading: token i at key + (i mod slots) * width. */
typedef struct g4_kv_view {
    const float *key, *value;
    int64_t slots, width;
} g4_kv_view;

/* halved: values alone; key_norm, turn, head_dim and pairs are for the caller to set.
 * Errors: width not a multiple of the format's block; out of memory. */
g4_status g4_kv_init(g4_kv *kv, g4_dtype dtype, int64_t slots, int64_t width, int halved,
                     g4_arena *arena, g4_err *err);
void g4_kv_put(g4_kv *kv, int64_t token, const float *key, const float *value /* [width] */);
/* Rows [lo, hi), hi - lo <= slots.  scratch: 2 * (hi - lo) * width floats where
 * dtype is not F32, else unused. */
g4_kv_view g4_kv_read(const g4_kv *kv, int64_t lo, int64_t hi, float *scratch);

#endif
