/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a .npy file.  What is accepted must lie inside the file, end
 * where the file ends, and be read to the last value. */
#include "golden/array.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g4_err err = { 0 };
    g4_array a = { .name = "x" };
    if (g4_npy_parse(&a, "fuzz", data, size, &err) != G4_OK) {
        require(strncmp(err.msg, "fuzz: ", 6) == 0);
        return 0;
    }
    size_t n = 1;
    require(a.rank >= 0 && a.rank <= G4_ARRAY_RANK);
    for (int i = 0; i < a.rank; i++) n *= (size_t)a.dims[i];
    require(a.data >= data && a.data + n * (size_t)a.size == data + size);
    double *out = malloc(n * sizeof *out + 1);
    if (!out) return 0;
    g4_golden_type to = g4_array_is_real(&a) ? G4_GOLDEN_F64 : G4_GOLDEN_I32;
    g4_status s = g4_array_read(&a, to, n, out, &err);
    require(s == G4_OK || to == G4_GOLDEN_I32);
    free(out);
    return 0;
}
