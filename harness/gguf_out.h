/* SPDX-License-Identifier: Apache-2.0
 * A model as a GGUF file, as llama.cpp's converter and quantizer would make it from the same
 * folder: names and keys, which tensors keep more bits, what rows take that no block divides.
 * Text only, as there: media tensors go to a projector file of their own.  Written as a
 * stream, a few MB in memory, into a temporary name. */
#ifndef G4_HARNESS_GGUF_OUT_H
#define G4_HARNESS_GGUF_OUT_H

#include "harness/shape.h"
#include "ref/base/par.h"
#include "ref/file/gguf_names.h"

#include <stdio.h>

/* What rows become in the file: under which name, in which order and format. */
typedef struct g4_gguf_row_kind {
    const char *name;       /* ggml's */
    g4_gguf_change change;
    g4_dtype dtype;
} g4_gguf_row_kind;

/* Where packed rows come from. */
typedef struct g4_gguf_source {
    /* Says which tensor, and as what, the next rows are of. */
    g4_status (*begin)(void *ctx, const g4_shape_tensor *t, const g4_gguf_row_kind *kind,
                       g4_err *err);
    /* Packed rows [row, row + count) to dst; workers call it at once. */
    void (*rows)(void *ctx, int64_t row, int64_t count, uint8_t *dst, int worker);
    void *ctx;
} g4_gguf_source;

typedef struct g4_gguf_job {
    const char *dir;        /* folder with config.json, tokenizer.json and so on */
    const char *name;       /* general.name */
    const char *out, *type; /* type: a mix of formats (gguf_mix.h) */
    struct g4_recipe *recipe;   /* what goes before the mix; NULL: nothing */
    const struct g4_imatrix *imatrix;   /* that the source weighs by, and its file; NULL: none */
    const char *imatrix_file;
    int media;              /* the projector file: media tensors alone */
    FILE *list;             /* a line for each tensor is written there, and no file; or NULL */
    g4_gguf_source source;
    g4_par *par;
    FILE *progress;         /* a line every ten seconds; NULL: none */
} g4_gguf_job;

typedef struct g4_gguf_result {
    size_t tensors;
    uint64_t parameters, bytes;   /* of the tensors */
} g4_gguf_result;

g4_status g4_gguf_make(const g4_gguf_job *job, g4_gguf_result *result, g4_err *err);

/* gguf_keys.c: every key but the tensors' own. */
struct g4_gguf_writer;
g4_status g4_gguf_keys(struct g4_gguf_writer *w, const g4_gguf_job *job, const g4_config *c,
                       uint32_t file_type, g4_err *err);
/* gguf_media.c: those of a projector file. */
g4_status g4_gguf_media_keys(struct g4_gguf_writer *w, const g4_gguf_job *job, const g4_config *c,
                             uint32_t file_type, g4_err *err);

#endif
