/* SPDX-License-Identifier: Apache-2.0
 * Importance matrices: for each weight matrix the sums, over the tokens of some text, of the
 * squares of the activations that meet its columns.  llama.cpp's two formats [N61]:
 *   GGUF    <matrix>.in_sum2 [columns] and <matrix>.counts [1], F32; keys imatrix.datasets,
 *           imatrix.chunk_count, imatrix.chunk_size
 *   .dat    | matrices i32 | each: length i32, name, calls i32, columns i32, F32 values |
 *           calls i32 | length i32, dataset |   little-endian; the tail may be missing;
 *           a value is mean of squares * calls */
#ifndef G4_FILE_IMATRIX_H
#define G4_FILE_IMATRIX_H

#include "ref/base/arena.h"
#include "ref/file/gguf_write.h"

typedef struct g4_importance {
    const char *name;         /* ggml's, of the matrix */
    int64_t cols;
    double count;             /* tokens (.dat: calls); sum / count is the mean of squares */
    float *sum;               /* [cols], finite and >= 0 */
} g4_importance;

typedef struct g4_imatrix {
    g4_arena arena;
    g4_importance *list;      /* [count], sorted by name */
    size_t count;
    uint32_t chunks, chunk_size;   /* 0 where the file does not say */
    const char *dataset;      /* the last one's name, or "" */
    const char *source;       /* what ours says it was made of, or "" */
    int old;                  /* read from a .dat */
} g4_imatrix;

g4_status g4_imatrix_open(g4_imatrix **im, const char *path, g4_err *err);
/* From memory; file is for messages. */
g4_status g4_imatrix_parse(g4_imatrix **im, const char *file, const uint8_t *data, size_t size,
                           g4_err *err);
void g4_imatrix_close(g4_imatrix *im);

/* NULL: none of that name. */
const g4_importance *g4_imatrix_find(const g4_imatrix *im, const char *matrix);

/* Replaces path; a name that ends in .dat gets the older format. */
g4_status g4_imatrix_write(const g4_imatrix *im, const char *path, g4_err *err);

#endif
