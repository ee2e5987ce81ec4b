/* SPDX-License-Identifier: Apache-2.0 */
#include "golden/array.h"

#include "ref/base/half.h"

#include <string.h>

int g4_array_is_real(const g4_array *a)
{
    return a->kind == 'f' || a->kind == 'B';
}

static uint64_t bits_at(const g4_array *a, size_t i)
{
    const uint8_t *p = a->data + i * (size_t)a->size;
    uint64_t v = 0;
    for (int b = 0; b < a->size; b++) v |= (uint64_t)p[b] << (8 * b);
    return v;
}

static double real_at(const g4_array *a, size_t i)
{
    uint64_t v = bits_at(a, i);
    double d;
    if (a->kind == 'B') return g4_bf16_to_f32((uint16_t)v);
    if (a->size == 2) return g4_f16_to_f32((uint16_t)v);
    if (a->size == 4) return g4_f32_from_bits((uint32_t)v);
    memcpy(&d, &v, sizeof d);
    return d;
}

/* 0: beyond int64 */
static int int_at(const g4_array *a, size_t i, int64_t *out)
{
    uint64_t v = bits_at(a, i);
    if (a->kind != 'i') {
        *out = (int64_t)(v & INT64_MAX);
        return v <= INT64_MAX;
    }
    uint64_t sign = (uint64_t)1 << (8 * a->size - 1);
    *out = (int64_t)((v ^ sign) - sign);
    return 1;
}

static g4_status read_ints(const g4_array *a, g4_golden_type to, size_t n, void *out, g4_err *err)
{
    int64_t low = to == G4_GOLDEN_U8 ? 0 : to == G4_GOLDEN_I8 ? INT8_MIN : INT32_MIN;
    int64_t high = to == G4_GOLDEN_U8 ? UINT8_MAX : to == G4_GOLDEN_I8 ? INT8_MAX : INT32_MAX;
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        if (!int_at(a, i, &v) || v < low || v > high)
            return g4_fail(err, G4_EINPUT, "%s: %s: value %zu does not fit %s", a->file, a->name, i,
                           g4_golden_type_name(to));
        if (to == G4_GOLDEN_I32) ((int32_t *)out)[i] = (int32_t)v;
        else ((uint8_t *)out)[i] = (uint8_t)v;
    }
    return G4_OK;
}

g4_status g4_array_read(const g4_array *a, g4_golden_type to, size_t n, void *out, g4_err *err)
{
    if (to != G4_GOLDEN_F32 && to != G4_GOLDEN_F64) return read_ints(a, to, n, out, err);
    for (size_t i = 0; i < n; i++) {
        double d = real_at(a, i);
        if (to == G4_GOLDEN_F32) ((float *)out)[i] = (float)d;
        else ((double *)out)[i] = d;
    }
    return G4_OK;
}
