/* SPDX-License-Identifier: Apache-2.0
 * A named array of numbers as other programs write them, lying in memory as in
 * its file, and the .npy format (NumPy's lib/format.py, versions 1 to 3):
 *
 *   | 93 4E 55 4D 50 59 | major | minor | n u16; from version 2 u32 | n bytes | values |
 *
 * The n bytes are a Python literal, {'descr': '<f4', 'fortran_order': False,
 * 'shape': (3, 4), }.  Read are plain little-endian numbers in C order, with
 * exactly the bytes behind the header that they need. */
#ifndef G4_GOLDEN_ARRAY_H
#define G4_GOLDEN_ARRAY_H

#include "golden/golden.h"

enum { G4_ARRAY_RANK = 8 };

typedef struct g4_array {
    const char *file, *name;      /* for messages */
    char kind;                    /* f float, B bfloat16, i signed, u unsigned, b bool */
    int size;                     /* bytes a value */
    int rank;
    int64_t dims[G4_ARRAY_RANK];
    const uint8_t *data;          /* any alignment */
} g4_array;

int g4_array_is_real(const g4_array *a);
/* n values as `to`, real ones as a real type, integers as one that holds each of them. */
g4_status g4_array_read(const g4_array *a, g4_golden_type to, size_t n, void *out, g4_err *err);

/* One .npy file; a->name is left alone, a->data points into data. */
g4_status g4_npy_parse(g4_array *a, const char *file, const uint8_t *data, size_t size,
                       g4_err *err);

#endif
