/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/kv.h"

#include "ref/dtype/dtype.h"

#include <assert.h>

g4_status g4_kv_init(g4_kv *kv, g4_dtype dtype, int64_t slots, int64_t width, int halved,
                     g4_arena *arena, g4_err *err)
{
    const g4_dtype_info *info = g4_dtype_get(dtype);
    if (width % info->block != 0)
        return g4_fail(err, G4_EINPUT,
                       "--kv %s needs key rows in blocks of %lld, this model's have %lld",
                       info->name, (long long)info->block, (long long)width);
    *kv = (g4_kv){ .dtype = dtype, .slots = slots, .width = width };
    kv->row_bytes = g4_dtype_row_bytes(dtype, width);
    kv->value = g4_arena_alloc(arena, (size_t)slots, kv->row_bytes);
    if (!halved) kv->key = g4_arena_alloc(arena, (size_t)slots, kv->row_bytes);
    return kv->value && (halved || kv->key) ? G4_OK : g4_nomem(err, "key/value cache");
}

void g4_kv_put(g4_kv *kv, int64_t token, const float *key, const float *value)
{
    size_t at = (size_t)(token % kv->slots) * kv->row_bytes;
    const g4_dtype_info *info = g4_dtype_get(kv->dtype);
    if (kv->key) info->pack(kv->key + at, key, NULL, kv->width);
    info->pack(kv->value + at, value, NULL, kv->width);
}

g4_kv_view g4_kv_read(const g4_kv *kv, int64_t lo, int64_t hi, float *scratch)
{
    int64_t n = hi - lo;
    assert(n <= kv->slots && kv->key);
    if (kv->dtype == G4_F32)
        return (g4_kv_view){ (const float *)(const void *)kv->key,
                             (const float *)(const void *)kv->value, kv->slots, kv->width };
    const g4_dtype_info *info = g4_dtype_get(kv->dtype);
    float *key = scratch, *value = scratch + n * kv->width;
    for (int64_t i = lo; i < hi; i++) {
        size_t at = (size_t)(i % kv->slots) * kv->row_bytes;
        info->unpack(key + i % n * kv->width, kv->key + at, kv->width);
        info->unpack(value + i % n * kv->width, kv->value + at, kv->width);
    }
    return (g4_kv_view){ key, value, n, kv->width };
}
