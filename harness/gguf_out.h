/* SPDX-License-Identifier: Apache-2.0
 * A model as a GGUF file, as llama.cpp's converter and quantizer would make it from the same
 * folder: names and keys, which tensors keep more bits, what rows take that no block divides.
 * Text only, as there: media tensors go to a file of their own.  Written as a stream, a few
 * MB in memory, into a temporary name. */
#ifndef G4_HARNESS_GGUF_OUT_H
#define G4_HARNESS_GGUF_OUT_H

#include "harness/shape.h"
#include "ref/base/par.h"

#include <stdio.h>

/* Where packed rows come from. */
typedef struct g4_gguf_source {
    /* Says which tensor, and as what, the next rows are of. */
    g4_status (*begin)(void *ctx, const g4_shape_tensor *t, g4_dtype dtype, g4_err *err);
    /* Packed rows [row, row + count) to dst; workers call it at once. */
    void (*rows)(void *ctx, int64_t row, int64_t count, uint8_t *dst, int worker);
    void *ctx;
} g4_gguf_source;

typedef struct g4_gguf_job {
    const char *dir;        /* folder with config.json, tokenizer.json and so on */
    const char *name;       /* general.name */
    const char *out, *type; /* type: a packed format or a mix of them */
    g4_gguf_source source;
    g4_par *par;
    FILE *progress;         /* a line every ten seconds; NULL: none */
} g4_gguf_job;

typedef struct g4_gguf_result {
    size_t tensors;
    uint64_t parameters, bytes;   /* of the tensors */
} g4_gguf_result;

g4_status g4_gguf_make(const g4_gguf_job *job, g4_gguf_result *result, g4_err *err);

/* What --type may say, as a list for messages; 0: type is none of them. */
int g4_gguf_type_known(const char *type);
extern const char g4_gguf_types_text[];

/* gguf_keys.c: every key but the tensors' own. */
struct g4_gguf_writer;
g4_status g4_gguf_keys(struct g4_gguf_writer *w, const g4_gguf_job *job, const g4_config *c,
                       uint32_t file_type, g4_err *err);

#endif
