/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: an importance matrix, in either format.  What is accepted has names in order,
 * and sums of squares that may be divided by their count. */
#include "ref/file/imatrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g4_imatrix *im;
    g4_err err = { 0 };
    if (g4_imatrix_parse(&im, "fuzz", data, size, &err) != G4_OK) {
        require(im == NULL && strncmp(err.msg, "fuzz: ", 6) == 0);
        return 0;
    }
    require(im->count > 0);
    for (size_t i = 0; i < im->count; i++) {
        const g4_importance *e = &im->list[i];
        require(g4_imatrix_find(im, e->name) == e && e->cols > 0 && e->count >= 0);
        require(i == 0 || strcmp(im->list[i - 1].name, e->name) < 0);
        for (int64_t k = 0; k < e->cols; k++) require(isfinite(e->sum[k]) && e->sum[k] >= 0);
    }
    g4_imatrix_close(im);
    return 0;
}
