/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/dtype/dtype.h"

#include <string.h>

static const g4_dtype_info table[G4_DTYPE_COUNT] = {
#define G4_DTYPE(id, name, block, bytes, gguf, pack) \
    [G4_##id] = { #name, block, bytes, gguf, g4_unpack_##name, pack },
#include "ref/dtype/dtype.def"
#undef G4_DTYPE
};

const g4_dtype_info *g4_dtype_get(g4_dtype t)
{
    return &table[t];
}

int g4_dtype_by_name(const char *name)
{
    for (int t = 0; t < G4_DTYPE_COUNT; t++)
        if (strcmp(name, table[t].name) == 0) return t;
    return -1;
}

size_t g4_dtype_row_bytes(g4_dtype t, int64_t n)
{
    size_t bytes;
    if (n < 0 || __builtin_mul_overflow((size_t)(n / table[t].block), table[t].bytes, &bytes))
        return 0;
    return bytes;
}
