/* SPDX-License-Identifier: Apache-2.0
 * Safetensors files made in a test: good ones from a list of tensors, hostile
 * ones from any header text. */
#ifndef G4_HARNESS_CHECK_ST_FILE_H
#define G4_HARNESS_CHECK_ST_FILE_H

#include <stddef.h>
#include <stdint.h>

typedef struct st_tensor {
    const char *name, *dtype;      /* "BF16" */
    int rank;
    int64_t shape[8];
    const void *data;
    size_t bytes;
} st_tensor;

/* The bytes of a file, malloc'ed with exactly *size of them.  Tensors lie in the
 * order given; pad spaces behind the header put them at any address. */
uint8_t *st_file_make(const st_tensor *t, size_t n, size_t pad, size_t *size);

/* Header text, the length it claims (-1: its own), and data_bytes bytes 0, 1, 2... */
uint8_t *st_file_raw(const char *header, size_t header_bytes, int64_t claim, size_t data_bytes,
                     size_t *size);

#endif
